"""A tree of run directories as typed rows: nothing is fatal, and recipes are told apart by their settings."""

import json
import os
import subprocess
import sys

import pytest
from filelock import FileLock
from test_runs import new_run

from cifar_lit import runs


def finished(folder, seed=0, config=None, **more):
    folder.mkdir(parents=True)
    summary = {
        "status": "finished",
        "seed": seed,
        "experiment": "e",
        "validation": "holdout",
        "test/acc": 0.5,
        "config": config or {},
    }
    runs.write_summary(folder, summary | more)
    return folder


def test_settings_are_what_a_recipe_is():
    config = {
        "choices": {"model": "resnet8", "mix": "none", "logger": "csv", "callbacks": "ema", "callbacks/standard": "standard"},
        "seed": 3, "name": "e", "run_dir": "/somewhere", "overrides": ["seed=3"], "resume": None, "params": 5, "git": "abc",
        "logger": {"csv": None}, "mix": None, "evaluate": "auto",
        "data": {"_target_": "a.B", "root": "/mine", "batch_size": 50, "batch_sizes": {0.0: 128}},
        "optimizer": {"_partial_": True, "lr": 0.1, "betas": [0.9, 0.99]},
        "callbacks": {"prune": {"run_dir": "/somewhere", "n_startup_trials": 5}},
    }  # fmt: skip
    assert runs.settings(config) == {
        "model": "resnet8", "mix": "none", "callbacks": "ema", "evaluate": "auto", "data.batch_size": 50,
        "data.batch_sizes.0.0": 128, "optimizer.lr": 0.1, "optimizer.betas": [0.9, 0.99], "callbacks.prune.n_startup_trials": 5,
    }  # fmt: skip


def test_every_run_becomes_a_row_and_nothing_is_fatal(tmp_path):
    finished(tmp_path / "a" / "0", seed=4, validation="test", **{"test/acc": 0.25, "train/acc": None, "stopped": True})
    new_run(tmp_path / "a" / "1")
    new_run(tmp_path / "b" / "2", status="failed")
    known = {"schema": 1, "status": "finished"}
    absurd = [
        json.dumps(known | {"test/images": 10**400}).encode(),
        json.dumps(known | {"config": {"optimizer.lr": -(10**400)}}).encode(),
        json.dumps(known).replace("1", "1" * 5000).encode(),
    ]
    for number, content in enumerate(
        [b"", b"[1]", b'{"schema": 1}', b'{"schema": 2, "status": "finished"}', b"[" * 100_000, *absurd]
    ):
        (tmp_path / "c" / str(number)).mkdir(parents=True)
        (tmp_path / "c" / str(number) / "summary.json").write_bytes(content)
    rows, broken = runs.collect([tmp_path, tmp_path / "a", tmp_path / "none"])
    assert [(row.path.name, row.status) for row in rows] == [("0", "finished"), ("1", "killed"), ("2", "failed")]
    assert [item.path.name for item in broken] == ["0", "1", "2", "3", "4", "5", "6", "7"]
    assert "test/images is a number too large" in broken[5].reason and "optimizer.lr is" in broken[6].reason
    assert all(item.reason.startswith("summary.json: ") and "\n" not in item.reason for item in broken)
    assert rows[0].values["test/acc"] == 0.25 and "train/acc" not in rows[0].values and "stopped" not in rows[0].values
    assert rows[0].watched and not rows[1].watched and rows[0].seed == 4
    assert rows[0].facts["experiment"] == "e" and rows[0].curves() == []


def test_a_running_run_is_told_from_a_killed_one(tmp_path):
    run = new_run(tmp_path / "a")
    with FileLock(run / ".lock"):
        code = "import sys, pathlib; from cifar_lit import runs; print(runs.collect([pathlib.Path(sys.argv[1])])[0][0].status)"
        done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True, cwd=os.getcwd())
    assert done.stdout == "running\n" and runs.collect([run])[0][0].status == "killed"


def test_runs_of_one_recipe_differ_in_their_seeds(tmp_path):
    for number, (lr, seed) in enumerate([(0.1, 0), (0.1, 1), (0.01, 0), (0.1, 2)]):
        finished(tmp_path / str(number), seed=seed, config={"model": "resnet8", "optimizer.lr": lr})
    found = runs.recipes(runs.collect([tmp_path])[0])
    assert [(one.label, [row.seed for row in one.runs]) for one in found] == [
        ("optimizer.lr=0.1", [0, 1, 2]),
        ("optimizer.lr=0.01", [0]),
    ]
    [alone] = runs.recipes(found[1].runs)
    assert alone.label == "e"


def test_a_whole_number_is_one_recipe_however_it_was_typed(tmp_path):
    for seed, (dropout, batch) in enumerate([(0, 125), (0.0, 125.0), (0.5, 125), (0, 125)]):
        finished(tmp_path / str(seed), seed=seed, config={"model.dropout": dropout, "data.batch_size": batch, "loud": False})
    found = runs.recipes(runs.collect([tmp_path])[0])
    assert [(one.label, [row.seed for row in one.runs]) for one in found] == [
        ("model.dropout=0", [0, 1, 3]),
        ("model.dropout=0.5", [2]),
    ]
    assert found[0].settings == {"model.dropout": 0, "data.batch_size": 125, "loud": False}
    typed, default = (runs.settings({"model": {"dropout": value}, "loud": True}) for value in (0, 0.0))
    assert json.dumps(typed) == json.dumps(default) and typed["loud"] is True
    assert runs.settings({"lr": 1e300})["lr"] == 1e300
    for seed, limit in enumerate((1.0, 1)):  # all batches, and one
        finished(tmp_path / "limited" / str(seed), seed=seed, config={"trainer.limit_train_batches": limit})
    assert len(runs.recipes(runs.collect([tmp_path / "limited"])[0])) == 2
    whole, one = (json.dumps(runs.settings({"trainer": {"limit_val_batches": limit}})) for limit in (1.0, 1))
    assert whole != one


def test_where_a_run_lies_sets_no_recipe_apart(tmp_path):
    """Older summaries name it, where pruning was told of it."""
    for seed in range(3):
        where = tmp_path / str(seed)
        finished(where, seed=seed, config={"model": "resnet8", "callbacks.prune.run_dir": str(where)})
    [alone] = runs.recipes(runs.collect([tmp_path])[0])
    assert len(alone.runs) == 3 and alone.settings == {"model": "resnet8"}


def test_summaries_of_before_settings_were_kept(tmp_path):
    for number, lr in enumerate((0.1, 0.01)):
        finished(
            tmp_path / str(number),
            config="none",
            overrides=["model=resnet8", f"optimizer.lr={lr}", f"seed={number}", "hydra.x=1"],
        )
    assert [one.label for one in runs.recipes(runs.collect([tmp_path])[0])] == ["optimizer.lr=0.1", "optimizer.lr=0.01"]


def test_the_fewest_settings_that_tell_recipes_apart():
    def config(optimizer, lr, width=1):
        return {
            "optim": f"{optimizer}_onecycle",
            "optimizer": optimizer,
            "optimizer.lr": lr,
            "optimizer.k": lr,
            "data": "a",
            "w.w": width,
        }

    assert runs.varied([config("sgd", 0.1), config("adam", 0.001)]) == ["optimizer"]
    assert runs.varied([config("sgd", 0.1), config("sgd", 0.2)]) in (["optimizer.lr"], ["optimizer.k"])
    assert runs.varied([config("sgd", 0.1), config("adam", 0.1), config("sgd", 0.1, 2), config("adam", 0.1, 2)]) == [
        "optimizer",
        "w.w",
    ]
    nets = [{"model": f"resnet{depth}", "optimizer.lr": lr} for depth, lr in ((8, 0.1), (8, 0.2), (20, 0.3))]
    assert runs.varied(nets) == ["model", "optimizer.lr"], "which network it is no learning rate says"
    pairs = [
        {"optim": f"{one}_{other}", "optimizer": one, "scheduler": other}
        for one, other in (("sgd", "cosine"), ("adam", "onecycle"))
    ]
    assert runs.varied(pairs) == ["optim"]
    assert runs.varied([*pairs, pairs[0] | {"scheduler": "step"}]) == ["optimizer", "scheduler"], "optim says what was replaced"
    studies = [
        {"study": study, "augment": augment, "optimizer.lr": lr}
        for study, augment, lr in (("a", "x", 1), ("b", "x", 2), ("b", "y", 2))
    ]
    assert runs.varied(studies) == ["augment", "optimizer.lr"], "a study is no setting"
    assert runs.varied([config("sgd", 0.1)]) == [] == runs.varied([])
    assert runs.varied([{"a.b": 1}, {}]) == ["a.b"]


@pytest.mark.parametrize(
    ("value", "word"), [(1, "1"), (1.0, "1.0"), (0.5, "0.5"), (3e-4, "0.0003"), (None, "none"), (True, "True"), ("a", "a")]
)
def test_a_value_is_written_as_it_is_typed(value, word):
    assert runs.word(value) == word


def test_run_of(tmp_path):
    run = tmp_path / "run"
    for folder in ("model", "checkpoints", ".hydra"):
        (run / folder).mkdir(parents=True)
    (run / ".hydra" / "overrides.yaml").touch()
    (run / "checkpoints" / "best.ckpt").touch()
    assert {runs.run_of(run / name) for name in ("", "model", "checkpoints/best.ckpt")} == {run}
    assert runs.run_of(run / "nothing") is runs.run_of(tmp_path / "user" / "name") is runs.run_of(tmp_path) is None


def test_a_setting_that_had_no_key_yet_sets_no_recipe_apart(tmp_path):
    known = {"model": "resnet8", "scheduler.cycle_momentum": True}
    keys = {"scheduler.max_momentum": 0.95, "scheduler.base_momentum": 0.85}
    for seed, settings in enumerate((known, known | keys, known | keys | {"scheduler.max_momentum": 0.9})):
        (tmp_path / str(seed)).mkdir()
        runs.write_summary(tmp_path / str(seed), {"status": "finished", "seed": seed, "config": settings})
    found, _ = runs.collect([tmp_path])
    assert [[run.seed for run in recipe.runs] for recipe in runs.recipes(found)] == [[0, 1], [2]]
