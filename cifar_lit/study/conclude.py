"""A study's folder -> verdict.md, figures as PNG with their numbers as CSV, and the words for the screen.

Also the command: `python -m cifar_lit.study runs/<study>/<time>`.
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from cifar_lit import compare, terminal
from cifar_lit.atomic import writing
from cifar_lit.report.draw import Drawn
from cifar_lit.report.words import MISSING, percent_interval, points, seconds, several
from cifar_lit.study import augmentation, learning_rate, optimizer, schedule, sensitivity, words
from cifar_lit.study.found import FACTORS, Found, Level, Strand, StudyError, read

STUDIES: dict[str, ModuleType] = {
    "learning_rate": learning_rate, "sensitivity": sensitivity, "augmentation": augmentation, "optimizer": optimizer,
    "schedule": schedule,
}  # fmt: skip
FILE = "verdict.md"
PICTURES = "study"  # folder, beside the verdict
_MOST_MISSING = 12


def sentences(found: Found, strand: Strand) -> list[str]:
    """The verdict on one strand, without how sure it is."""
    return STUDIES[found.study].verdict(strand)


def missing(found: Found) -> list[str]:
    """What has no result, and what that means."""
    if not found.missing:
        return []
    lines = [f"Missing, and in none of the numbers: {several(len(found.missing), 'entry', 'entries')}."]
    lines += [f"- {line}" for line in found.missing[:_MOST_MISSING]]
    if len(found.missing) > _MOST_MISSING:
        lines.append(f"- and {len(found.missing) - _MOST_MISSING} more")
    return lines


def conclude(folder: Path, study: str | None = None) -> tuple[list[str], list[Path]]:
    """Write everything a study's folder comes to. Returns the words for the screen, and the files. Raises StudyError, OSError."""
    found = read(folder, study)
    said, page, files = [f"Study {found.study}: {folder}"], [f"# {found.study}", ""], []
    if not found.strands:
        nothing = "No run has finished: there is no verdict."
        said, page = [*said, nothing], [*page, nothing, ""]
    for number, strand in enumerate(found.strands, 1):
        verdict, sure = sentences(found, strand), words.power(strand)
        title = [f"## {strand.title}", ""] if strand.title else []
        about = _about(strand)
        drawn = [figure for figure in STUDIES[found.study].drawn(strand) if figure]
        places = [_write(folder / PICTURES, figure, f"-{number}" if len(found.strands) > 1 else "") for figure in drawn]
        files += [path for pair in places for path in pair]
        said += [*([strand.title] if strand.title else []), about, *verdict, *sure]
        page += [*title, about, "", "**Verdict.** " + " ".join(verdict), "", *_table(found, strand), ""]
        if sure:
            page += ["**How sure.** " + " ".join(sure), ""]
        for figure, (png, table) in zip(drawn, places, strict=True):
            page += [
                f"![{figure.title}]({PICTURES}/{png.name})",
                "",
                f"{figure.title}. {figure.caption} [Numbers]({PICTURES}/{table.name})",
                "",
            ]
    said += missing(found)
    page += missing(found)
    with writing(folder / FILE) as part:
        part.write_text("\n".join(page).rstrip() + "\n")
    return said, [folder / FILE, *files]


def _about(strand: Strand) -> str:
    """On what all this was measured."""
    runs = strand.runs
    epochs = sorted({int(run.values["epochs"]) for run in runs if "epochs" in run.values})
    steps = sorted({int(run.values["steps"]) for run in runs if "steps" in run.values})
    parts = [several(len(runs), "run"), str(strand.fact("model", "several networks"))]
    if epochs:
        parts.append(f"{_span(epochs)} epochs" + (f" of {_span(steps)} steps in all" if steps else ""))
    parts += [strand.kind.data, *sorted({run.facts["device"] for run in runs if "device" in run.facts})[:2]]
    budget = strand.fact("study/budget")
    about = ", ".join([*parts, *([f"budget {budget}"] if budget else [])]) + "."
    return about + " What holds for a run of this size need not hold for a longer one, or for a larger network."


def _span(numbers: Sequence[int]) -> str:
    return f"{numbers[0]:,}" if len(numbers) == 1 else f"{numbers[0]:,} to {numbers[-1]:,}"


def _table(found: Found, strand: Strand) -> list[str]:
    """The levels, the best first: score, difference to the best, test, gap, time; for optimizers, time to the goal."""
    block, best = strand.scores, strand.scores.order[0]
    head = ["", "seeds", strand.kind.score_words + " (%)", "less the best (points)", "test (%)", "gap (points)", "training"]
    more = found.study == "optimizer"
    head += ["epochs to the goal", "seconds to the goal"] if more else []
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in block.order:
        level = strand.level(name)
        cells = [name, str(len(block.values[name])), _estimate(level, strand.score)]
        cells.append(words.interval(block.gap(name, best)) if name != best else MISSING)
        cells += [_estimate(level, "test/acc"), _mean(level, "gap", points), _mean(level, "train_seconds", seconds)]
        cells += optimizer.columns(level, strand) if more else []
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [
        *lines,
        "",
        "± is the half-width of each level's own 95% interval (Student's t); differences, by all levels together.",
    ]


def _estimate(level: Level, name: str) -> str:
    values = list(level.of(name).values())
    return percent_interval(compare.estimate(values) if values else None)


def _mean(level: Level, name: str, form: Callable[[float | None], str]) -> str:
    values = list(level.of(name).values())
    return form(sum(values) / len(values)) if values else MISSING


def _write(folder: Path, figure: Drawn, after: str) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    png, table = folder / f"{figure.name}{after}.png", folder / f"{figure.name}{after}.csv"
    with writing(png) as part:
        part.write_bytes(figure.png)
    with writing(table) as part, open(part, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(figure.columns)
        writer.writerows(figure.rows)
    return png, table


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit status: 1 where no verdict can be given."""
    parser = argparse.ArgumentParser(
        prog="python -m cifar_lit.study", description="The verdict on a study's runs, and its figures."
    )
    parser.add_argument("folder", type=Path, help="where its sweep wrote, such as runs/learning_rate/2026-01-31_12-00-00")
    parser.add_argument("--study", choices=FACTORS, help="which one, where runs of several lie there")
    given = parser.parse_args(arguments)
    try:
        said, files = conclude(given.folder, given.study)
    except (StudyError, OSError) as error:
        return terminal.failed(error)
    print("\n" + "\n".join([*said, *(f"{path}" for path in files)]), flush=True)
    return 0
