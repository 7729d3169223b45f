"""repeat=N: N seeds in one process, each as if it ran alone."""

import json

import pytest
import torch
from running import TINY
from safetensors.torch import load_file

from cifar_lit.cli.errors import UsageError
from cifar_lit.cli.repeat import expanded, over_seeds

SMALL = [*TINY, "trainer.max_epochs=1"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["model=resnet8"], ["model=resnet8"]),
        (["a=1", "repeat=3"], ["-m", "a=1", "seed=range(0,3)"]),
        (["repeat=2", "seed=7", "a=1"], ["-m", "a=1", "seed=range(7,9)"]),
        (["-m", "a=1,2", "repeat=2"], ["-m", "a=1,2", "seed=range(0,2)"]),
    ],
)
def test_it_is_short_for_a_sweep_over_seeds(typed, expected):
    assert expanded(typed) == expected


@pytest.mark.parametrize("typed", [["repeat=0"], ["repeat=-1"], ["repeat=many"], ["repeat="], ["repeat=2", "seed=1,2"]], ids=str)
def test_what_cannot_be_repeated(typed):
    with pytest.raises(UsageError, match="repeat="):
        expanded(typed)


def finished(acc, seed, *overrides, **more):
    return {"status": "finished", "seed": seed, "overrides": [*overrides, f"seed={seed}"], "test/acc": acc, **more}


def test_mean_deviation_and_minimum_over_seeds_alone():
    rows = over_seeds([
        finished(0.5, 0, "lr=1"), finished(0.6, 1, "lr=1"), finished(0.7, 2, "lr=1"),
        finished(0.1, 0, "lr=2"), finished(0.9, 1, "lr=2") | {"status": "failed"},
    ])  # fmt: skip
    (row,) = rows
    assert (row["overrides"], row["runs"], row["seeds"]) == (["lr=1"], 3, [0, 1, 2])
    assert row["test/acc"] == pytest.approx({"mean": 0.6, "std": 0.1, "min": 0.5})
    assert "val/acc" not in row


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


@pytest.mark.slow
def test_a_repeat_is_the_run_alone(train):
    """Nothing is left of the run before: the same seed gives the same weights, after any other."""
    options = [*SMALL, "model.dropout=0.1", "callbacks=[ema,lookahead]", "trainer=fast"]
    ran = train(*options, "repeat=2", folder="many")
    assert ran.code == 0, ran.err
    alone = train(*options, "seed=1", folder="alone")
    again, other = weights(alone.folder), weights(ran.folder / "0")
    found = weights(ran.folder / "1")
    assert all(torch.equal(found[name], again[name]) for name in again)
    assert not all(torch.equal(found[name], other[name]) for name in again)
    (row,) = json.loads((ran.folder / "seeds.json").read_text())
    assert row["seeds"] == [0, 1] and {"mean", "std", "min"} == set(row["test/acc"])
    assert row["train_seconds"]["mean"] > 0 and row["prepare_seconds"]["mean"] >= 0
    assert "Over seeds" in ran.out and "all of them" in ran.out


@pytest.mark.slow
def test_it_composes_with_a_sweep(train):
    ran = train("-m", *SMALL, "optimizer.lr=0.1,0.2", "repeat=2")
    assert ran.code == 0, ran.err
    rows = json.loads((ran.folder / "seeds.json").read_text())
    assert [(row["runs"], [item for item in row["overrides"] if "lr" in item]) for row in rows] == [
        (2, ["optimizer.lr=0.1"]),
        (2, ["optimizer.lr=0.2"]),
    ]
