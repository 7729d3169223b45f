"""Numbers of the report that are computed again here, from the run directories alone: intervals, differences, counts, images."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from report.fake_runs import make_run
from report.read_back import held_out, table
from scipy import stats

from cifar_lit.report import figures, write
from cifar_lit.report.figures import gap, scores

pytestmark = pytest.mark.slow

MEASURES = {"validation": "val/acc", "test": "test/acc"}
ESTIMATES = ("val/acc", "test/acc", "test/acc5", "train/acc", "gap", "train_seconds", "params")


def student(values) -> list[float]:
    """The 95% interval of a mean; empty where one value or equal ones say nothing of the next."""
    if len(values) < 2 or np.ptp(values) < 1e-12:
        return []
    return list(stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values)))


def told(row, *names: str) -> list[float]:
    """The cells of a row that are not empty."""
    return [float(row[name]) for name in names if row[name] != ""]


def of_recipe(runs: list[tuple[Path, dict]], name: str) -> list[float]:
    return [summary[name] for _, summary in runs]


def ranking(out: Path, slug: str) -> list[dict[str, str]]:
    with open(out / "ranking.csv", newline="") as file:
        return [row for row in csv.DictReader(file) if row["ranking"] == slug]


def confusion(path: Path) -> tuple[list[str], np.ndarray]:
    with open(path / "confusion.csv", newline="") as file:
        head, *rows = csv.reader(file)
    return head[1:], np.array([row[1:] for row in rows], int)


def test_intervals_of_scores_and_gaps_are_students(written):
    root, out, _ = written
    runs = held_out(root)
    rows = table(out, "held-out-scores")
    assert len(rows) == 8 * 2 * 3
    for row in rows:
        assert told(row, "low", "high") == pytest.approx(student(of_recipe(runs[row["recipe"]], MEASURES[row["measure"]])))
    for row in table(out, "held-out-gap"):
        assert told(row, "gap low", "gap high") == pytest.approx(student(of_recipe(runs[row["recipe"]], "gap")))


def test_drawn_intervals_means_and_seeds_are_those_of_the_table(written, kept):
    rows = table(written[1], "held-out-scores")
    [axes] = kept["held-out-scores"].axes
    lines = [line for line in axes.get_lines() if line.get_transform() == axes.transData]
    seeds, intervals, means = lines[0::3], lines[1::3], lines[2::3]
    expected = [rows[start : start + 3] for start in range(0, len(rows), 3)]  # one after another, three seeds each
    for own, ticks, bar, dot in zip(expected, seeds, intervals, means, strict=True):
        assert bar.get_xdata() == pytest.approx([100 * bound for bound in told(own[0], "low", "high")])
        assert ticks.get_xdata() == pytest.approx([100 * float(row["value"]) for row in own])
        assert dot.get_xdata() == pytest.approx([100 * float(own[0]["mean"])])


@pytest.mark.parametrize(("slug", "n"), [("held-out", 18), ("watched", 2)])
def test_the_ranking_is_that_of_scipy(written, slug, n):
    root, out, _ = written
    watched = slug == "watched"
    runs = held_out(root)
    if watched:
        folders = {"model=resnet20": "watched-a?", "model=resnet34": "watched-b?"}
        paths = {name: sorted(root.glob(pattern)) for name, pattern in folders.items()}
        runs = {name: [(path, json.loads((path / "summary.json").read_text())) for path in own] for name, own in paths.items()}
    rows = ranking(out, slug)
    score = "test/acc" if watched else "val/acc"
    order = sorted(runs, key=lambda name: -np.mean(of_recipe(runs[name], score)))
    assert len(rows) == n and [row["recipe"] for row in rows] == order
    assert [row["rank"] for row in rows] == [str(place) for place in range(1, n + 1)]
    raw = []
    for row in rows:
        own = runs[row["recipe"]]
        assert int(row["seeds"]) == int(row["runs"]) == len(own)
        for name in ESTIMATES:
            values = of_recipe(own, name)
            assert float(row[f"{name} mean"]) == pytest.approx(np.mean(values))
            assert told(row, f"{name} low", f"{name} high") == pytest.approx(student(values)), name
        for which, name in (("test", "test/acc"), ("score", score)):
            cells = told(row, *(f"{which} difference {part}" for part in ("mean", "low", "high", "p", "n", "paired")))
            if row["rank"] == "1":
                assert cells == [] and row["test difference p holm"] == ""
                continue
            one, best = of_recipe(own, name), of_recipe(runs[order[0]], name)
            test = stats.ttest_rel(one, best)
            expected = [np.mean(one) - np.mean(best), *test.confidence_interval(0.95), test.pvalue, len(own), 1]
            assert cells == pytest.approx(expected)
            raw += [test.pvalue] if which == "test" else []
    by_size = np.argsort(raw)
    holm = np.minimum(1, np.maximum.accumulate(np.array(raw)[by_size] * np.arange(len(raw), 0, -1)))
    assert [float(rows[1:][place]["test difference p holm"]) for place in by_size] == pytest.approx(holm.tolist())


def test_one_seed_has_no_interval_and_other_seeds_are_not_paired(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "SECTIONS", {"Some": (scores.draw_all, gap.draw_all)})
    values = {"a": {1: 0.70, 2: 0.72, 3: 0.69}, "b": {4: 0.60, 5: 0.64, 6: 0.61}, "c": {1: 0.50}}
    for model, by_seed in values.items():
        for seed, value in by_seed.items():
            folder, settings = tmp_path / "runs" / f"{model}{seed}", {"model": model}
            known = {"val/acc": value, "test/acc": value - 0.01, "gap": value / 10}
            make_run(folder, seed=seed, settings=settings, epochs=1, extras=False, **known)
    out = tmp_path / "out"
    write.write(write.read([tmp_path / "runs"], "t", 8), out)
    one = {row["recipe"]: row for row in table(out, "held-out-gap")}["model=c"]
    assert float(one["gap"]) == pytest.approx(0.05) and told(one, "gap low", "gap high") == []
    alone = [row for row in table(out, "held-out-scores") if row["recipe"] == "model=c"]
    assert len(alone) == 2 and all(told(row, "low", "high") == [] for row in alone)
    _, other, last = ranking(out, "held-out")
    welch = stats.ttest_ind([*values["b"].values()], [*values["a"].values()], equal_var=False)
    mean = np.mean([*values["b"].values()]) - np.mean([*values["a"].values()])
    expected = [mean, *welch.confidence_interval(0.95), welch.pvalue, 3, 0]
    parts = [f"score difference {part}" for part in ("mean", "low", "high", "p", "n", "paired")]
    assert told(other, *parts) == pytest.approx(expected)
    assert [last[name] for name in parts[1:]] == ["", "", "", "1", "0"]
    assert float(last[parts[0]]) == pytest.approx(0.5 - np.mean([*values["a"].values()]))


def test_classes_hold_every_run(written, kept):
    root, out, _ = written
    runs = held_out(root)
    rows = table(out, "held-out-classes")
    ranks = {row["recipe"]: row["rank"] for row in ranking(out, "held-out")}
    assert len(rows) == 8 * 10
    seen = {}
    for name in {row["recipe"] for row in rows}:
        known = [confusion(path) for path, _ in runs[name]]
        seen[name] = known[0][0], np.array([np.diag(own) / own.sum(1) for _, own in known]), known[0][1].sum(1)
    for row in rows:
        classes, share, images = seen[row["recipe"]]
        own = share[:, classes.index(row["class"])]
        cells = told(row, "acc mean", "acc low", "acc high")
        assert cells == pytest.approx([own.mean(), own.min(), own.max()], abs=5.1e-5)  # four digits in per_class.csv
        assert int(row["images"]) == images[classes.index(row["class"])] and int(row["runs"]) == 3
        assert row["superclass"] == row["class"].split("_")[0] and row["rank"] == ranks[row["recipe"]]
    [bars] = [one for one in kept["held-out-classes"].axes[0].collections if isinstance(one, LineCollection)]
    first = sorted((row for row in rows if row["rank"] == "1"), key=lambda row: -float(row["acc mean"]))
    ends = np.array([told(row, "acc low", "acc high") for row in first])
    assert np.array([segment[:, 0] for segment in bars.get_segments()]) == pytest.approx(100 * ends)


def test_confusions_are_shares_of_the_true_class(written, kept):
    root, out, _ = written
    first = ranking(out, "held-out")[0]["recipe"]
    known = [confusion(path) for path, _ in held_out(root)[first]]
    classes, total = known[0][0], sum(own for _, own in known)
    rows = table(out, "held-out-confusions")
    for row in rows:
        true, predicted = classes.index(row["true"]), classes.index(row["predicted"])
        assert int(row["of"]) == total[true].sum() and int(row["runs"]) == 3
        assert float(row["share"]) == pytest.approx(total[true, predicted] / total[true].sum())
    widths = [bar.get_width() for bar in kept["held-out-confusions"].axes[0].patches]
    assert widths == pytest.approx([100 * float(row["share"]) for row in rows[:12]])


def test_superclasses_count_their_classes_and_images(written):
    root, out, _ = written
    runs = held_out(root)
    for row in table(out, "held-out-superclasses"):
        classes, own = confusion(runs[row["recipe"]][0][0])
        inside = [name.startswith(row["superclass"]) for name in classes]
        assert int(row["classes"]) == sum(inside) and int(row["images"]) == own[inside].sum()


def test_parallel_coordinates_end_at_the_score(written, kept):
    root, out, _ = written
    means = {name: np.mean(of_recipe(own, "val/acc")) for name, own in held_out(root).items()}
    rows = table(out, "held-out-parallel")
    assert [(row["recipe"], int(row["rank"])) for row in rows] == [
        (name, place) for place, name in enumerate(sorted(means, key=lambda name: -means[name]), 1)
    ]
    assert [float(row["score"]) for row in rows] == pytest.approx(sorted(means.values(), reverse=True))
    [axes] = kept["held-out-parallel"].axes
    [others] = axes.collections
    named = sorted((line.get_ydata()[-1] for line in axes.get_lines() if len(line.get_xdata()) == 4), reverse=True)
    ends = [*named, *(segment[-1, 1] for segment in others.get_segments())]
    low, high = min(means.values()), max(means.values())
    assert ends == pytest.approx([(value - low) / (high - low) for value in sorted(means.values(), reverse=True)])


def test_mistakes_are_images_of_the_first_recipe(written, kept):
    root, out, _ = written
    path, _ = held_out(root)[ranking(out, "held-out")[0]["recipe"]][0]
    with np.load(path / "mistakes.npz") as file:
        found = dict(file)
    pairs = list(dict.fromkeys(zip(found["true"].tolist(), found["predicted"].tolist(), strict=True)))[:8]
    where = [i for true, predicted in pairs
             for i in np.flatnonzero((found["true"] == true) & (found["predicted"] == predicted))[:3]]  # fmt: skip
    rows = table(out, "held-out-mistakes")
    assert len(rows) == len(where) > 8
    for row, index in zip(rows, where, strict=True):
        assert row["true"] == found["classes"][found["true"][index]]
        assert row["predicted"] == found["classes"][found["predicted"][index]] and row["run"] == path.name
        assert float(row["probability"]) == pytest.approx(found["probability"][index], rel=1e-5)
    [axes] = kept["held-out-mistakes"].axes
    assert all(np.array_equal(one.get_array(), found["images"][i]) for one, i in zip(axes.images, where, strict=True))
    said = [text.get_text() for text in axes.texts if text.get_text().endswith("%")]
    assert said == [f"{100 * float(row['probability']):.0f}%" for row in rows]
