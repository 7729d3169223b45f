"""What a run says at its end: of which weights, how they were chosen, and what it gives away."""

import logging

import pytest
from running import TINY

from cifar_lit import outcome, runs
from cifar_lit.runs import records

pytestmark = pytest.mark.slow  # trains


def test_a_flipped_best_checkpoint_costs_a_warning_not_the_run(train, monkeypatch):
    original = outcome._take_weights

    def flipping(task, trainer, folder, which):
        best = folder / "checkpoints" / "best.ckpt"
        contents = bytearray(best.read_bytes())
        contents[len(contents) // 2] ^= 1
        best.write_bytes(contents)
        return original(task, trainer, folder, which)

    monkeypatch.setattr(outcome, "_take_weights", flipping)
    ran = train(*TINY)
    assert ran.code == 0, ran.err
    assert "testing the last weights instead" in ran.out
    assert runs.read_summary(ran.folder)["evaluated"] == "last"


def test_time_flip_is_named_wherever_the_accuracy_is(train):
    ran = train(*TINY, "trainer.max_epochs=1", "test_time_flip=true")
    assert ran.code == 0, ran.err
    assert runs.read_summary(ran.folder)["test_time_flip"] is True
    assert records.calibration(ran.folder).calibrated is None, "the temperature is one view's"
    assert "each averaged with its mirror image" in ran.out
    assert "mean of each image and its mirror image" in (ran.folder / "model" / "README.md").read_text()


def test_a_run_validated_after_its_last_epoch_only_says_so(train):
    ran = train(*TINY, "data.validation=test", "trainer.check_val_every_n_epoch=2")
    assert ran.code == 0, ran.err
    assert runs.read_summary(ran.folder)["validations"] == 1
    assert "looked at after it, and not before" in ran.out


@pytest.mark.parametrize(
    ("typed", "away"),
    [
        ("data.root=/home/me/x", True), ("data.root=../me", True), ("data.root='~/x'", True), ("data.root=C:/x", True),
        ("+callbacks.x={dir: /home/me}", True), ("data.root=${oc.env:HOME}", True), ("resume=auto", True),
        ("data.root=me/images", True), ("hydra.sweep.dir=mine", True), ("+logger.x.tracking_uri=https://me@host", True),
        ("logger.wandb.save_dir='/home/me'", True), ("+a=[b,/home/me]", True), ("augment=ablation/no_flip", False),
        ("objective=train/acc", False), ("callbacks.early_stopping.monitor=val/loss", False), ("+study/budget=a/minutes", False),
        ("model.drop_path=0.1", False),
        ("hydra/launcher=joblib", False), ("callbacks=[ema,lookahead]", False), ("optimizer.lr=1e-3", False),
    ],
)  # fmt: skip
def test_what_a_bundle_does_not_say(typed, away):
    assert bool(outcome._OF_THIS_MACHINE.search(typed)) == away


@pytest.mark.parametrize(
    ("gap", "noted"), [(0.1078, True), (0.101, True), (0.099, False), (0.011, False), (-0.2, False), (None, False)]
)
def test_over_fitting_is_noted_from_ten_points_on(gap, noted, tmp_path, caplog):
    """R1's 10.78 points are, R5's 1.1 are not."""
    summary = {
        "experiment": "ft3", "seed": 0, "data": "cifar100", "validation": "test", "evaluated": "last", "evaluated_epoch": 29,
        "val/acc_best": 0.74, "val/best_epoch": 27, "train_seconds": 1.0, "gap": gap,
    }  # fmt: skip
    with caplog.at_level(logging.INFO, "cifar_lit"):
        outcome.say(summary, tmp_path)
    assert ("Over-fitting" in caplog.text) == ("augment=enhanced" in caplog.text) == noted
    assert not noted or f"{100 * gap:.1f} points above" in caplog.text
