import logging
from types import SimpleNamespace

import pytest
import torch

from cifar_lit.callbacks.epoch_table import EpochTable

METRICS = {
    "train/loss": 4.5, "train/acc": 0.03125, "val/loss": 4.0, "val/acc": 0.1, "val/acc5": 0.305,
    "lr": 0.0041, "seconds": 2.5, "images_per_second": 12_345.6,
}  # fmt: skip


@pytest.fixture(autouse=True)
def lines(caplog):
    caplog.set_level(logging.INFO, "cifar_lit")
    return caplog.messages


def after_epoch(table, epoch=0, total=200, main=True, **changes):
    values = {name: torch.tensor(value) for name, value in {**METRICS, **changes}.items() if value is not None}
    trainer = SimpleNamespace(callback_metrics=values, max_epochs=total, current_epoch=epoch, is_global_zero=main, max_steps=-1)
    table.on_train_epoch_end(trainer, None)


def test_a_line_says_percent_and_counts_from_one(caplog):
    after_epoch(EpochTable())
    assert caplog.messages[0].split() == ["1/200", "4.5000", "3.12", "4.0000", "10.00", "30.50", "0.0041", "2.5", "12,346", "*"]


def test_columns_stand_under_their_names(caplog):
    table = EpochTable()
    table.on_train_start(SimpleNamespace(is_global_zero=True), None)
    after_epoch(table, epoch=8)
    after_epoch(table, epoch=99, **{"val/loss": None, "val/acc": None, "val/acc5": None})
    header, full, short = caplog.messages
    assert len(full.removesuffix("  *")) == len(short) == len(header)
    for name, cell in (
        ("train loss", "4.5000"),
        ("val loss", "4.0000"),
        ("top-5", "30.50"),
        ("seconds", "2.5"),
        ("images/s", "12,346"),
    ):
        assert header.index(name) + len(name) == full.index(cell) + len(cell), name
    assert short.split()[3:6] == ["-", "-", "-"]


def test_a_star_marks_a_new_best(caplog):
    table = EpochTable()
    for epoch, acc in enumerate([0.1, 0.3, 0.3, 0.2, 0.4, None]):
        after_epoch(table, epoch, **{"val/acc": acc})
    assert [line.endswith("*") for line in caplog.messages] == [True, True, False, False, True, False]


def test_the_best_is_remembered_over_a_resume(caplog):
    table, resumed = EpochTable(), EpochTable()
    after_epoch(table)
    resumed.load_state_dict(table.state_dict())
    after_epoch(resumed, 1)
    assert not caplog.messages[-1].endswith("*")


@pytest.mark.parametrize("total", [None, -1])
def test_runs_without_a_number_of_epochs(caplog, total):
    after_epoch(EpochTable(), total=total)
    assert caplog.messages[0].split()[0] == "1/-"


def test_only_the_first_process_speaks(caplog):
    table = EpochTable()
    table.on_train_start(SimpleNamespace(is_global_zero=False), None)
    after_epoch(table, main=False)
    assert not caplog.messages
