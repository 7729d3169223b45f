"""The page and the tables: the same numbers everywhere, everything escaped, nothing from outside, nothing half-written."""

import csv
import json
import re
from datetime import datetime
from html import unescape
from html.parser import HTMLParser

import pytest
from report.fake_runs import make_run

from cifar_lit.report import figures, page, tables, write
from cifar_lit.report.figures import confusions
from cifar_lit.report.tables import tex

pytestmark = pytest.mark.slow

EVIL = '<script>alert(1)</script>"><img src=http://evil.example/x onerror=alert(1)>'


@pytest.fixture
def few_figures(monkeypatch):
    """Where figures are not what is tested: drawing all takes seconds."""
    monkeypatch.setattr(figures, "SECTIONS", {"Some": (confusions.draw_all,)})


class Tags(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def ranking_of(text: str, place: int) -> list[list[str]]:
    """The cells of the ranking table in a place of the page."""
    found = re.findall(r"<table class='ranking'>.*?<tbody>(.*?)</tbody>", text, re.DOTALL)[place]
    return [
        [unescape(re.sub("<.*?>", "", cell)) for cell in re.findall(r"<t[dh].*?</t[dh]>", row)]
        for row in found.split("</tr>")[:-1]
    ]


def test_the_page_and_every_table_hold_the_numbers_of_the_csv(written):
    _, out, contents = written
    text = (out / "index.html").read_text()
    with open(out / "ranking.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for place, board in enumerate(contents.boards):
        own = [row for row in rows if row["ranking"] == board.slug]
        shown = ranking_of(text, place)
        assert len(shown) == len(own) == len(board.entries)
        for row, cells in zip(own, shown, strict=True):
            named = dict(zip(tables._shown(board, list(tables.HEADS)), cells, strict=True))
            test = f"{100 * float(row['test/acc mean']):.2f}"
            if row["test/acc high"]:
                test += f" ± {100 * (float(row['test/acc high']) - float(row['test/acc mean'])):.2f}"
            assert named["test (%)"] == test
            assert named["#"] == row["rank"] and named["seeds"] == row["seeds"]
            if row["test difference mean"]:
                told = named["to #1, test (points)"]
                assert told.startswith(f"{100 * float(row['test difference mean']):+.2f} (")
            line = next(
                line for line in (out / "ranking.md").read_text().splitlines() if test in line and f"| {row['rank']} |" in line
            )
            assert named["gap (points)"] in line
            assert test.replace("±", "$\\pm$") in (out / "ranking.tex").read_text()
    assert {row["watched_test"] for row in rows if row["ranking"] == "watched"} == {"1"}


def test_csv_holds_the_mean_of_the_summaries(written):
    root, out, _ = written
    with open(out / "ranking.csv", newline="") as file:
        rows = {row["recipe"]: row for row in csv.DictReader(file) if row["ranking"] == "watched"}
    for name in ("a", "b"):
        summaries = [json.loads((root / f"watched-{name}{seed}" / "summary.json").read_text()) for seed in (1, 2)]
        row = rows[f"model={summaries[0]['config']['model']}"]
        for column in ("test/acc", "gap", "train_seconds"):
            assert float(row[f"{column} mean"]) == pytest.approx(sum(one[column] for one in summaries) / 2)


def test_watched_runs_are_marked_with_a_sentence(written):
    text = (written[1] / "index.html").read_text()
    section = text[text.index("<section class='watched'>") :]
    assert "⚠ watched the test" in section and "validated on the test images" in section and "not comparable" in section
    assert "⚠ watched the test" not in text[: text.index("<section class='watched'>")]


def test_runs_that_are_not_ranked_are_listed_with_their_reason(written):
    text = unescape((written[1] / "index.html").read_text())
    assert "RuntimeError: out of <b>memory</b>" in text and "summary.json: Expecting property name" in text
    assert "1 failed" in text and "1 unreadable" in text


def test_the_page_is_self_contained(written):
    _, out, _ = written
    text = (out / "index.html").read_text()
    tags = Tags(text).tags
    assert not {tag for tag, _ in tags} & {"script", "iframe", "object", "embed", "form", "base", "img", "video"}
    for tag, attributes in tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            link = attributes.get(name)
            if link and not link.startswith(("#", "data:image/")):
                assert tag == "a" and (out / link).is_file(), link
    style = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
    assert "url(" not in style and "@import" not in style
    assert 'http-equiv="refresh"' not in text
    assert "default-src 'none'" in text


def test_everything_from_files_is_escaped(tmp_path):
    root = tmp_path / "<script>runs"
    for number, name in enumerate((EVIL, "$x^2$ {} \\ % & _ \x1b[31m \u202e", "漢字" * 90)):
        make_run(
            root / f"<img src=x>{number}",
            seed=number,
            settings={"model": name, "optimizer.lr": number},
            experiment=EVIL,
            data=EVIL,
        )
    make_run(root / "failed", status="failed", error=EVIL, data=EVIL)
    contents = write.read([root], EVIL, 8)
    write.write(contents, tmp_path / "out")
    text = (tmp_path / "out" / "index.html").read_text()
    tags = Tags(text).tags
    assert not {tag for tag, _ in tags} & {"script", "img"}
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    assert EVIL[:20] in unescape(text)
    assert "<script>" not in (tmp_path / "out" / "ranking.md").read_text().replace("\\<script\\>", "")


def test_latex_prints_names_as_they_are():
    assert tex("a_b & 5% #1 $x$ {y} ~ ^ \\") == r"a\_b \& 5\% \#1 \$x\$ \{y\} \~{} \^{} \textbackslash{}"
    assert tex("71.7 ± 0.4") == r"71.7 $\pm$ 0.4"


def test_markdown_cells_do_not_break_the_table(tmp_path, few_figures):
    make_run(tmp_path / "a", settings={"model": "a|b\nc"})
    make_run(tmp_path / "b", settings={"model": "d"})
    text = tables.markdown(write.read([tmp_path], "t", 8).boards)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {len(tables.HEADS) + 1}


def test_no_finished_run_gives_a_page_that_says_so(tmp_path):
    make_run(tmp_path / "runs" / "a", status="interrupted")
    write.write(write.read([tmp_path / "runs"], "t", 8), tmp_path / "out")
    text = (tmp_path / "out" / "index.html").read_text()
    assert "No finished run yet" in text and "stopped by hand" in text
    assert not (tmp_path / "out" / "ranking.csv").exists()


def test_one_run_with_next_to_nothing_in_it(tmp_path):
    make_run(
        tmp_path / "runs" / "a",
        seed=None,
        **dict.fromkeys(("gap", "train/acc", "test/acc5", "params", "train_seconds")),
    )
    for name in ("metrics.csv", "per_class.csv", "confusion.csv", "calibration.csv", "mistakes.npz"):
        (tmp_path / "runs" / "a" / name).unlink()
    write.write(write.read([tmp_path / "runs"], "t", 8), tmp_path / "out")
    text = (tmp_path / "out" / "index.html").read_text()
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL).lower().replace("finance", "")
    for words in ("no run has a metrics.csv", "no run recorded its training accuracy", "no run recorded its time"):
        assert words in text


def test_a_diverged_run_beside_good_ones(tmp_path):
    for seed in (1, 2):
        make_run(tmp_path / "runs" / f"a{seed}", seed=seed)
        bad = make_run(tmp_path / "runs" / f"b{seed}", seed=seed, accuracy=0.1, settings={"optimizer.lr": 10.0})
        lines = (bad / "metrics.csv").read_text().splitlines()
        rows = [re.sub(r"^((?:[^,]*,){2})[^,]*", r"\1nan", line) for line in lines[1:]]
        rows[2] = re.sub(r"^((?:[^,]*,){4})[^,]*", r"\g<1>1e300", rows[2])
        rows[3] = re.sub(r"^((?:[^,]*,){4})[^,]*", r"\g<1>12345", rows[3])
        (bad / "metrics.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    contents = write.read([tmp_path / "runs"], "t", 8)
    assert [entry.recipe.settings["optimizer.lr"] for entry in contents.boards[0].entries] == [0.1, 10.0]
    text = write.write(contents, tmp_path / "out").read_text()
    assert "it diverged and is not drawn" in text
    rows = (tmp_path / "out" / "figures" / "held-out-curves.csv").read_text().splitlines()
    assert "12345" in rows[-5] and len(rows) == 17


@pytest.mark.slow
def test_300_recipes(tmp_path):
    for number in range(300):
        settings = {"optimizer.lr": 0.001 * 1.02**number, "model": f"m{number % 4}"}
        folder = tmp_path / "runs" / f"{number}"
        make_run(folder, seed=1, settings=settings, accuracy=0.4 + number / 1000, epochs=2, extras=False)
    write.write(write.read([tmp_path / "runs"], "t", 8), tmp_path / "out")
    text = (tmp_path / "out" / "index.html").read_text()
    assert len(ranking_of(text, 0)) == 300 and len(text) < 3e6


def test_many_rankings_are_not_all_drawn(tmp_path, few_figures):
    for number in range(write.MOST_DRAWN + 2):
        make_run(tmp_path / "runs" / f"{number}", data=f"data{number}", epochs=1, extras=False)
    contents = write.read([tmp_path / "runs"], "t", 8)
    assert (len(contents.parts), len(contents.plain_boards), len(contents.boards)) == (write.MOST_DRAWN, 2, write.MOST_DRAWN + 2)
    text = page.render(contents)
    assert text.count("class='ranking'") == write.MOST_DRAWN + 2
    assert len({board.slug for board in contents.boards}) == write.MOST_DRAWN + 2


def test_a_later_report_leaves_nothing_of_an_earlier_one_and_no_file_of_others(tmp_path, few_figures):
    out = tmp_path / "out"
    run = make_run(tmp_path / "runs" / "a")
    write.write(write.read([tmp_path / "runs"], "t", 8), out)
    (out / "figures" / "mine.png").write_text("mine")
    (out / "notes.txt").write_text("mine")
    listed = json.loads((out / write.LIST).read_text())
    (out / write.LIST).write_text(json.dumps([*listed, "../runs/a/metrics.csv", "figures/../notes.txt", 5]))
    (run / "mistakes.npz").unlink()
    assert (out / "figures" / "held-out-mistakes.png").exists()
    write.write(write.read([tmp_path / "runs"], "t", 8), out)
    assert not (out / "figures" / "held-out-mistakes.png").exists()
    assert (out / "figures" / "mine.png").exists() and (out / "notes.txt").exists() and (run / "metrics.csv").exists()


def test_a_report_that_cannot_be_drawn_leaves_the_old_page(tmp_path, few_figures, monkeypatch):
    make_run(tmp_path / "runs" / "a")
    contents = write.read([tmp_path / "runs"], "t", 8)
    old = write.write(contents, tmp_path / "out").read_text()
    monkeypatch.setattr(page, "render", lambda contents: 1 / 0)
    (tmp_path / "out" / "ranking.md").write_text("old")
    with pytest.raises(ZeroDivisionError):
        write.write(contents, tmp_path / "out")
    assert (tmp_path / "out" / "index.html").read_text() == old and (tmp_path / "out" / "ranking.md").read_text() == "old"
    assert not list((tmp_path / "out").rglob("*.part"))


def test_the_page_says_when_it_was_made(written):
    _, out, contents = written
    assert isinstance(contents.made, datetime) and f"{contents.made:%Y-%m-%d %H:%M}" in (out / "index.html").read_text()
