"""The ranking as tables: rows of words once, then HTML, Markdown, LaTeX and CSV of them."""

import csv
import io
from html import escape
from typing import Any

from cifar_lit.report.ranking import COLUMNS, TEST, VALIDATION, Board, Entry
from cifar_lit.report.words import MISSING, brief, millions, p_value, percent, percent_interval, plain, points, seconds

HEADS = ("#", "recipe", "seeds", "validation (%)", "test (%)", "top-5 (%)", "gap (points)", "train time", "params (M)",
         "to #1, test (points)", "p", "p, Holm", "paired seeds")  # fmt: skip
CSV_HEADS = ("ranking", "watched_test", "data", "data_fingerprint", "test_images", "test_time_flip", "rank", "recipe", "seeds",
             "runs",
             *(f"{name} {part}" for name in COLUMNS for part in ("mean", "low", "high")),
             *(f"{which} difference {part}" for which in ("test", "score")
               for part in ("mean", "low", "high", "p", "n", "paired")),
             "test difference p holm")  # fmt: skip


def cells(entry: Entry) -> list[str]:
    """A row of words, under HEADS."""
    gap, seconds_mean, difference = entry.mean("gap"), entry.mean("train_seconds"), entry.test
    if difference is None:
        comparison = [MISSING] * 4
    else:
        between = "" if difference.low is None else f" ({points(difference.low)} to {points(difference.high)})"
        pairs = f"{difference.n}" if difference.paired else "none"
        comparison = [points(difference.mean) + between, p_value(difference.p), p_value(entry.p_test), pairs]
    return [
        str(entry.rank), entry.label, str(entry.seeds),
        percent_interval(entry.columns.get(VALIDATION)), percent_interval(entry.columns[TEST]),
        percent(entry.mean("test/acc5")), points(gap), seconds(seconds_mean), millions(entry.mean("params")), *comparison,
    ]  # fmt: skip


def _shown(board: Board, row: list[str]) -> list[str]:
    """Without the columns that say nothing: watched runs have no validation score but the test's own."""
    return [cell for head, cell in zip(HEADS, row, strict=True) if not (board.kind.watched and head.startswith("validation"))]


def html(board: Board, most: int = 400) -> str:
    """The table of the page. Labels are shortened, and whole in their titles."""
    heads = _shown(board, list(HEADS))
    lines = ["<thead><tr>" + "".join(f'<th scope="col">{escape(head)}</th>' for head in heads) + "</tr></thead><tbody>"]
    for entry in board.entries[:most]:
        row = _shown(board, cells(entry))
        label = f'<th scope="row" title="{escape(row[1])}">{escape(plain(brief(row[1]), 120))}</th>'
        lines.append(f"<tr><td>{row[0]}</td>{label}" + "".join(f"<td>{escape(cell)}</td>" for cell in row[2:]) + "</tr>")
    return "<table class='ranking'>" + "\n".join(lines) + "</tbody></table>"


def markdown(boards: list[Board]) -> str:
    """For papers and READMEs: a table a ranking, with what it is."""
    parts = []
    for board in boards:
        heads = _shown(board, list(HEADS))
        lines = [f"**{_cell(board.kind.title)}** ({_cell(board.kind.where)})", "", "| " + " | ".join(heads) + " |"]
        lines.append("| " + " | ".join("---" if head == "recipe" else "---:" for head in heads) + " |")
        lines += ["| " + " | ".join(_cell(cell) for cell in _shown(board, cells(entry))) + " |" for entry in board.entries]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    line = plain(text, 300)
    for letter in "\\`*_[]<>|":
        line = line.replace(letter, "\\" + letter)
    return line


_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_", "^": r"\^{}",
    "~": r"\~{}", "±": r"$\pm$", MISSING: "--", "…": r"\ldots{}", "<": "$<$", ">": "$>$", "|": r"\textbar{}", '"': "''",
}  # fmt: skip


def tex(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_TEX.get(letter, letter) for letter in plain(text, 120))


def latex(boards: list[Board]) -> str:
    """booktabs tables: recipe, seeds, accuracies with intervals, difference and corrected p."""
    parts = ["% \\usepackage{booktabs}"]
    for board in boards:
        wanted = [head for head in _shown(board, list(HEADS)) if head not in ("#", "p", "paired seeds")]
        rows = [dict(zip(HEADS, cells(entry), strict=True)) for entry in board.entries]
        numbers = "r" * (len(wanted) - 1)
        parts += [
            "\\begin{table}\n  \\centering",
            f"  \\caption{{{tex(board.kind.title)}: {tex(board.kind.where)}. Means with 95\\% intervals over seeds.}}",
            f"  \\begin{{tabular}}{{l{numbers}}}\n    \\toprule",
            "    " + " & ".join(tex(head) for head in wanted) + " \\\\\n    \\midrule",
            *("    " + " & ".join(tex(row[head]) for head in wanted) + " \\\\" for row in rows),
            "    \\bottomrule\n  \\end{tabular}\n\\end{table}",
        ]
    return "\n".join(parts) + "\n"


def table(heads: tuple[str, ...], rows: Any) -> str:
    """A CSV file's text."""
    out = io.StringIO(newline="")
    file = csv.writer(out, lineterminator="\n")
    file.writerow(heads)
    file.writerows(rows)
    return out.getvalue()


def ranking_csv(boards: list[Board]) -> str:
    """Every ranking with all digits: fractions and seconds."""
    rows = []
    for board in boards:
        kind = board.kind
        for entry in board.entries:
            estimates = [entry.columns.get(name) for name in COLUMNS]
            numbers = [part for own in estimates for part in ((own.mean, own.low, own.high) if own else ("", "", ""))]
            for gap in (entry.test, entry.score):
                numbers += [gap.mean, gap.low, gap.high, gap.p, gap.n, int(gap.paired)] if gap else [""] * 6
            head = [board.slug, int(kind.watched), kind.data, entry.recipe.runs[0].facts.get("data_fingerprint"), kind.images]
            head += [int(kind.flip), entry.rank, entry.label, entry.seeds, len(entry.recipe.runs)]
            rows.append([*head, *numbers, entry.p_test])
    return table(CSV_HEADS, [["" if cell is None else cell for cell in row] for row in rows])
