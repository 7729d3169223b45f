"""Every number of a study's tables, worked out again from the files of its runs."""

import csv
import itertools
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from figure_checks import keeping
from scipy import stats

from cifar_lit import runs
from cifar_lit.study.conclude import conclude


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def by_level(folder: Path, *settings: str) -> dict[tuple[str, ...], list[runs.Run]]:
    """The runs of a study by the values of some settings."""
    found: dict[tuple[str, ...], list[runs.Run]] = defaultdict(list)
    for run in runs.collect([folder])[0]:
        found[tuple(str(run.settings[name]) for name in settings)].append(run)
    return found


def check_curves(rows: list[dict[str, str]], levels: dict[tuple[str, ...], list[runs.Run]]) -> None:
    assert {row["level"] for row in rows} == {level for (level,) in levels}
    for row in rows:
        own = [runs.read_metrics(run.path)[int(row["epoch"]) - 1] for run in levels[(row["level"],)]]
        for name in ("val/acc", "train/acc", "lr"):
            values = [one[name] for one in own]
            told = [float(row[f"{name} {part}"]) for part in ("mean", "low", "high", "n")]
            assert told == pytest.approx([np.mean(values), min(values), max(values), 3], rel=1e-5)


def test_rates(study_of):
    folder = study_of("learning_rate", {0.1: 0.3, 0.01: 0.2, 0.001: 0.25})
    conclude(folder)
    levels, rows = by_level(folder, "optimizer.lr"), table(folder / "study" / "rates.csv")
    assert len(rows) == 3 * 3 * 2
    for row in rows:
        [value] = [run.values[row["measure"]] for run in levels[(row["learning rate"],)] if run.seed == int(row["seed"])]
        assert float(row["value"]) == pytest.approx(value)
    check_curves(table(folder / "study" / "curves.csv"), levels)


def test_times(study_of):
    folder = study_of("optimizer", {"sgd": 0.3, "adam": 0.2})
    conclude(folder)
    levels, rows = by_level(folder, "optimizer"), table(folder / "study" / "seconds.csv")
    told = {(row["optimizer"], int(row["seed"]), float(row["seconds"])): float(row["val/acc"]) for row in rows}
    expected = {}
    for (name,), own in levels.items():
        for run in own:
            metrics = runs.read_metrics(run.path)
            for epoch, seconds in enumerate(np.cumsum([row["seconds"] for row in metrics])):
                expected[name, run.seed, float(seconds)] = metrics[epoch]["val/acc"]
    assert told == pytest.approx(expected)
    check_curves(table(folder / "study" / "curves.csv"), levels)


def test_schedules(study_of):
    folder = study_of("schedule", {"onecycle": 0.35, "cosine": 0.30})
    conclude(folder)
    check_curves(table(folder / "study" / "schedules.csv"), by_level(folder, "scheduler"))


def test_ablation(study_of):
    folder = study_of("augmentation", {"ablation/all": 0.3, "ablation/no_crop": 0.27, "none": 0.2})
    conclude(folder)
    levels = by_level(folder, "augment")
    names = {"all": "ablation/all", "without crop": "ablation/no_crop", "none": "none"}
    for file, measure in (("accuracy", "val/acc"), ("gap", "gap")):
        rows = {row["level"]: row for row in table(folder / "study" / f"{file}.csv")}
        assert rows.keys() == names.keys()
        mean = {level: np.mean([run.values[measure] for run in levels[(names[level],)]]) for level in rows}
        for level, row in rows.items():
            assert float(row["mean"]) == pytest.approx(mean[level]) and row["seeds"] == "3"
            assert float(row["difference to all"]) == pytest.approx(mean[level] - mean["all"], abs=1e-12)


@pytest.mark.parametrize("file", ["accuracy", "gap"])
def test_intervals_of_an_ablation_are_tukeys(study_of, file):
    """And are drawn as they are written: half as wide as the least difference that all pairs together can show."""
    gaps = {name: {"gap": 0.05 + 0.02 * place} for place, name in enumerate(("ablation/all", "ablation/no_crop", "none"))}
    folder = study_of("augmentation", {"ablation/all": 0.3, "ablation/no_crop": 0.29, "none": 0.2}, of=gaps)
    for number, path in enumerate(sorted(folder.glob("*/summary.json"))):  # a gap of its own for every run
        told = json.loads(path.read_text())
        path.write_text(json.dumps(told | {"gap": told["gap"] + 0.001 * (number * number % 7)}))
    figures = {}
    with keeping(figures):
        conclude(folder)
    levels = by_level(folder, "augment")
    measure = {"accuracy": "val/acc", "gap": "gap"}[file]
    order = sorted(levels)
    values = np.array([[run.values[measure] for run in sorted(levels[level], key=lambda run: run.seed)] for level in order])
    left = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    half = stats.studentized_range.ppf(0.95, 3, 4) * np.sqrt((left**2).sum() / 4 / 3)
    names = {"all": ("ablation/all",), "without crop": ("ablation/no_crop",), "none": ("none",)}
    reference, *rows = table(folder / "study" / f"{file}.csv")
    assert (reference["level"], reference["low"], reference["high"], len(rows)) == ("all", "", "", 2)
    for row in rows:
        mean = (values[order.index(names[row["level"]])] - values[order.index(names["all"])]).mean()
        assert [float(row["low"]), float(row["high"])] == pytest.approx([mean - half, mean + half])
    drawn = [line.get_xdata() for line in figures[file].axes[0].get_lines() if line.get_linewidth() == 1.6]
    assert np.array(drawn) == pytest.approx(np.array([[100 * float(row["low"]), 100 * float(row["high"])] for row in rows]))


def omega(values: np.ndarray) -> list[float]:
    """The share of the variance that each factor of a full grid (factor, ..., seeds) explains, by its sums of squares."""
    mean, total = values.mean(), ((values - values.mean()) ** 2).sum()
    sides = [values.mean(tuple(other for other in range(values.ndim) if other != axis)) for axis in range(values.ndim - 1)]
    between = [values.size / len(side) * ((side - mean) ** 2).sum() for side in sides]
    freedom = [len(side) - 1 for side in sides]
    error = (total - sum(between)) / (values.size - 1 - sum(freedom))
    return [max(0.0, (own - n * error) / (total + error)) for own, n in zip(between, freedom, strict=True)]


def test_importance_is_omega_squared(study_of):
    settings = ("data.batch_size", "optimizer.weight_decay", "trainer.gradient_clip_val")
    sizes = ((125, 500), (0.0, 0.001, 0.01), (0.1, 1.0))
    cells = list(itertools.product(*sizes))
    means = {(b, d, c): 0.3 + 0.02 * (b == 125) - 0.015 * (d == 0.01) + 0.01 * (b == 125) * (c == 1.0) for b, d, c in cells}
    folder = study_of("sensitivity", means, noise=0.006)
    figures = {}
    with keeping(figures):
        conclude(folder)
    runs_of = {tuple(map(float, cell)): own for cell, own in by_level(folder, *settings).items()}
    flat = [[run.values["val/acc"] for run in sorted(runs_of[cell], key=lambda run: run.seed)] for cell in cells]
    values = np.array(flat).reshape(*map(len, sizes), 3)
    rows = {row["setting"]: row for row in table(folder / "study" / "importance.csv")}
    whole, single = omega(values), [omega(values[..., [seed]]) for seed in range(3)]
    assert min(whole[:2]) > 0.1
    for place, name in enumerate(settings):
        told = [float(rows[name][part]) for part in ("share", "single seeds low", "high")]
        ends = [own[place] for own in single]
        assert told == pytest.approx([whole[place], min(ends), max(ends)], abs=1e-9)
    assert list(rows)[:-1] == sorted(settings, key=lambda name: -whole[settings.index(name)])
    joint = rows["only together"]
    pure = ((values - values.mean(3, keepdims=True)) ** 2).sum() / 24  # 36 runs less 12 cells
    total = ((values - values.mean()) ** 2).sum()
    sides = [values.mean(tuple(other for other in range(4) if other != axis)) for axis in range(3)]
    additive = sum(values.size / len(side) * ((side - values.mean()) ** 2).sum() for side in sides)
    acting = total - 24 * pure - additive - 7 * pure  # 12 cells less 1, less 4 of the settings
    assert float(joint["share"]) == pytest.approx(acting / (total + pure)) and joint["high"] == ""
    [axes] = figures["importance"].axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([100 * float(row["share"]) for row in rows.values()])
    spans = [line.get_xdata() for line in axes.get_lines() if line.get_marker() == "|"]
    expected = [[100 * float(row["single seeds low"]), 100 * float(row["high"])] for row in rows.values() if row["high"]]
    assert np.array(spans) == pytest.approx(np.array(expected))


def test_cells_of_the_grid(study_of):
    settings = ("data.batch_size", "optimizer.weight_decay", "trainer.gradient_clip_val")
    means = {(batch, decay, 1.0): 0.3 - decay + batch / 1e4 for batch in (125, 500) for decay in (0, 0.01)}
    folder = study_of("sensitivity", means)
    conclude(folder)
    cells = {tuple(map(float, cell)): own for cell, own in by_level(folder, *settings).items()}
    rows = table(folder / "study" / "grid.csv")
    assert len(rows) == len(cells) == 4
    for row in rows:
        own = cells[tuple(float(row[name]) for name in ("batch size", "weight decay", "gradient clipping"))]
        assert float(row["val/acc"]) == pytest.approx(np.mean([run.values["val/acc"] for run in own]))
