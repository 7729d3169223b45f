"""Runs that end before their last step: by an option, which they name, or by a power cut, after which the history is whole."""

import pytest
from running import TINY

from cifar_lit import runs


def test_validation_every_other_epoch_and_early_stopping(train):
    early = ["callbacks=early_stopping", "callbacks.early_stopping.patience=1"]
    ran = train(*TINY, "trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2", *early)
    assert ran.code == 0, ran.err


@pytest.mark.parametrize(
    ("options", "by", "said"),
    [
        (
            ["callbacks=early_stopping", "callbacks.early_stopping.patience=1", "optimizer.lr=1e-9"],
            "callbacks.early_stopping",
            "0 of 50",
        ),
        (["callbacks.target.value=0.001", "optimizer.lr=1e-9"], "callbacks.target", "10 of 50"),
        (["trainer.max_time=00:00:00:00", "trainer.max_epochs=5"], "trainer.max_time", "of 50"),
        (["trainer.max_epochs=1"], None, None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_that_stops_early_says_so(train, options, by, said):
    ran = train(*TINY, "trainer.max_epochs=5", *options)
    assert ran.code == 0, ran.err
    summary = runs.read_summary(ran.folder)
    assert summary["stopped_by"] == by and (summary["steps"] < summary["planned_steps"]) == bool(by)
    assert (f"{said} steps, by {by}" if by else "Stopped") in ran.out or not by
    assert bool(by) == ("has not come to its end" in ran.out)


def test_what_a_power_cut_took_of_the_history_comes_from_the_checkpoint(train):
    run = train(*TINY, "callbacks.checkpoints.every_epochs=1").folder
    whole = runs.read_metrics(run)
    (run / "summary.json").unlink()
    head, first, *_ = (run / "metrics.csv").read_text().splitlines()
    (run / "metrics.csv").write_text(f"{head}\n{first[: len(first) // 2]}")
    assert train(f"resume={run / 'checkpoints' / 'epoch=000.ckpt'}", folder="").code == 0
    rows, clock = runs.read_metrics(run), dict.fromkeys(("seconds", "images_per_second"))
    assert len(rows) == len(whole) == 2 and "seconds" not in rows[0] and "seconds" in rows[1]
    assert [row | clock for row in rows] == [row | clock for row in whole]
