"""The search space of a sweep as a W&B sweep configuration: the same space, and commands that train.py takes."""

import re
import sys

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from test_conf import composed
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from cifar_lit.cli import budget, wandb_sweep
from cifar_lit.cli.errors import UsageError

TYPED = [
    "model=resnet8,resnet20", "data=synthetic", "optimizer.lr=tag(log,interval(1e-4,1e-1))", "model.dropout=choice(0,0.1)",
    "trainer.max_epochs=range(1,7,2)", "data.batch_size=int(interval(8,64))", "trainer.max_time=null,'00:00:01:00'",
    "loss.smoothing=interval(0,0.2)",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_hydra():
    GlobalHydra.instance().clear()


def test_the_same_space():
    found = wandb_sweep.config(["loss=label_smoothing", *TYPED])
    assert found["parameters"] == {
        "model": {"values": ["resnet8", "resnet20"]},
        "optimizer.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
        "model.dropout": {"values": [0, 0.1]},
        "trainer.max_epochs": {"values": [1, 3, 5]},
        "data.batch_size": {"distribution": "int_uniform", "min": 8, "max": 64},
        "trainer.max_time": {"values": ["null", "'00:00:01:00'"]},
        "loss.smoothing": {"distribution": "uniform", "min": 0.0, "max": 0.2},
    }
    assert found["method"] == "bayes"
    assert found["metric"] == {"name": "val/acc", "goal": "maximize"}
    assert found["project"] == "cifar_lit"


def test_without_intervals_it_is_a_grid():
    assert wandb_sweep.config(["model=resnet8,resnet20"])["method"] == "grid"


def test_what_is_typed_of_the_objective_counts():
    assert wandb_sweep.config(["seed=1,2", "objective=val/acc_best"])["metric"]["name"] == "val/acc_best"


def test_what_an_agent_runs_is_what_train_takes():
    """By W&B's own code for its agents."""
    found = wandb_sweep.config(["loss=label_smoothing", *TYPED])
    chosen = {
        key: {"value": what["values"][-1] if "values" in what else what["max"]} for key, what in found["parameters"].items()
    }
    macros = create_sweep_command_args({"args": chosen})
    command = create_sweep_command(found["command"])
    assert command[-1] == "${args_no_hyphens}"
    cfg = composed(*[item for item in command if not item.startswith("$")], *macros["args_no_hyphens"])
    assert (cfg.trainer.max_epochs, cfg.model.dropout, cfg.data.batch_size) == (5, 0.1, 64)
    assert cfg.model._target_.endswith("resnet20")
    assert cfg.trainer.max_time == "00:00:01:00"
    assert "wandb" in cfg.logger


def test_it_is_of_wandbs_schema():
    schema = pytest.importorskip("sweeps.config", reason="no `sweeps`, which holds W&B's schema")
    jsonschema = pytest.importorskip("jsonschema")
    found = wandb_sweep.config(["loss=label_smoothing", *TYPED])
    assert not list(jsonschema.Draft7Validator(schema.schema.sweep_config_jsonschema).iter_errors(found))


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["seed=1"], "nothing to search"),
        (["seed=1,2", "logger=csv"], "use logger=wandb"),
        (["seed=glob(*)"], "glob"),
        (["seed=1,2", "experiment=ft3"], "add data.validation=holdout"),
        (["experiment=quickstart,ft3"], "add data.validation=holdout"),
        (["seed=1,2", "objective=val/loss"], "allowed is val/acc, val/acc_best, train/acc"),
        (["seed=1,2", "callbacks=[ema,prune]"], "leave it out"),
        (["callbacks=none,prune"], "leave it out"),
        (["seed=1,2", "optimizer.lr=interval(0,1)"], "a search would pick the luckiest one"),
        (["+study=learning_rate", "experiment=ft3"], "has a recipe of its own"),
    ],
)
def test_refusals(typed, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        wandb_sweep.config(typed)


def test_what_a_study_would_try():
    """Its own space, less what is typed; and the agents' commands are jobs of it, which is no sweep within a sweep."""
    found = wandb_sweep.config(["+study=learning_rate", "study.budget=hour"])
    rates, seeds = {"values": [0.1, 0.01, 0.001, 0.0001]}, {"values": [0, 1, 2]}
    assert found["parameters"] == {"optimizer.lr": rates, "seed": seeds} and found["method"] == "grid"
    one = wandb_sweep.config(["+study=learning_rate", "optimizer.lr=interval(0.01,0.1)", "++seed=3"])
    assert list(one["parameters"]) == ["optimizer.lr"] and one["method"] == "bayes" and "++seed=3" in one["command"]
    command = [item for item in found["command"] if not item.startswith("$")]
    assert {"+study=learning_rate", "study/budget=hour", "logger=wandb"} <= {*command}
    cfg = composed(*[item for item in budget.expanded(command, wandb_sweep.CONF) if not item.startswith("hydra.")], "seed=1")
    assert (cfg.trainer.max_epochs, cfg.seed) == (4, 1)


@pytest.mark.parametrize("by", ["arguments", "environment"])
def test_the_file(tmp_path, monkeypatch, capsys, by):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["wandb_sweep", *(["model=resnet8,resnet20"] if by == "arguments" else [])])
    monkeypatch.setenv("ARGS", "" if by == "arguments" else "model=resnet8,resnet20")
    wandb_sweep.main()
    assert yaml.safe_load((tmp_path / "wandb_sweep.yaml").read_text()) == wandb_sweep.config(["model=resnet8,resnet20"])
    assert "wandb sweep wandb_sweep.yaml" in capsys.readouterr().out


def test_what_is_misspelt_is_one_line_and_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["wandb_sweep", "modle=resnet8,resnet20"])
    with pytest.raises(SystemExit) as stop:
        wandb_sweep.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("wandb_sweep: modle: no such key or group; nearest: model")
    assert not list(tmp_path.iterdir())
