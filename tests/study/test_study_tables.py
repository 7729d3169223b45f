"""Every number of a study's tables, worked out again from the files of its runs."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

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
