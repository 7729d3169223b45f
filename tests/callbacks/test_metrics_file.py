import csv
import os
from types import SimpleNamespace

import pytest
import torch

from cifar_lit.callbacks.metrics_file import COLUMNS, MetricsFile
from cifar_lit.runs import read_metrics

METRICS = {"train/loss": 4.5, "train/acc": 0.03125, "lr": 0.1, "seconds": 2.5, "images_per_second": 1000.0}
SCORES = {"val/loss": 4.0, "val/acc": 0.1, "val/acc5": 0.3}


def trainer_at(folder, epoch=0, main=True):
    return SimpleNamespace(
        default_root_dir=str(folder), current_epoch=epoch, global_step=10 * (epoch + 1), callback_metrics={}, is_global_zero=main
    )


def train(folder, epochs, scored=lambda epoch: True, main=True):
    file, trainer = MetricsFile(), trainer_at(folder, epochs[0], main)
    file.on_train_start(trainer, None)
    for epoch in epochs:
        trainer.current_epoch, trainer.global_step = epoch, 10 * (epoch + 1)
        file.on_train_epoch_start(trainer, None)
        values = METRICS | (SCORES if scored(epoch) else {}) | {"other": 1.0}
        trainer.callback_metrics |= {name: torch.tensor(value) for name, value in values.items()}
        file.on_train_epoch_end(trainer, None)
    return trainer


def test_a_row_an_epoch_in_the_promised_columns(tmp_path):
    train(tmp_path, range(3))
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == COLUMNS
    assert rows[2][:5] == ["1", "20", "4.5", "0.03125", "4"] and rows[2][8:] == ["2.5", "1000"]
    assert [float(cell) for cell in rows[2][5:8]] == pytest.approx([0.1, 0.3, 0.1], rel=1e-7)
    assert [row["epoch"] for row in read_metrics(tmp_path)] == [0, 1, 2]
    assert os.listdir(tmp_path) == ["metrics.csv"]


def test_every_row_is_on_the_disk_at_once(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    train(tmp_path, range(3))
    assert len(synced) >= 3


def test_an_epoch_without_validation_has_no_old_scores(tmp_path):
    trainer = train(tmp_path, range(2), scored=lambda epoch: epoch == 0)
    first, second = read_metrics(tmp_path)
    assert first["val/acc"] == pytest.approx(0.1) and "val/acc" not in second and second["train/acc"] == 0.03125
    assert "other" in trainer.callback_metrics and "val/acc" not in trainer.callback_metrics


def test_a_resumed_run_drops_the_rows_that_it_repeats(tmp_path):
    train(tmp_path, range(4))
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write("4,5")  # torn
    train(tmp_path, range(2, 6), scored=lambda epoch: False)
    rows = read_metrics(tmp_path)
    assert [row["epoch"] for row in rows] == list(range(6))
    assert ["val/acc" in row for row in rows] == [True, True, False, False, False, False]
    assert rows[1]["step"] == 20


def test_numbers_survive_being_written_twice(tmp_path):
    train(tmp_path, range(1))
    first = read_metrics(tmp_path)
    for _ in range(3):
        MetricsFile().on_train_start(trainer_at(tmp_path, epoch=1), None)
    assert read_metrics(tmp_path) == first and len(first) == 1


def test_only_the_first_process_writes(tmp_path):
    train(tmp_path, range(2), main=False)
    assert not os.listdir(tmp_path)
