"""What is typed and what it will be given to: values of the wrong type are found without a call."""

import re

import pytest
import torch
from omegaconf import OmegaConf
from running import REPOSITORY

from cifar_lit.cli import types
from cifar_lit.cli.errors import UsageError


class Bare(torch.optim.SGD):
    """An optimizer without annotations, as libraries have them."""

    def __init__(self, params, lr=0.1, weight_decay=0, momentum=0, adaptive=False, betas=(0.9, 0.999), form="a", other=None):
        super().__init__(params, lr=lr)


def option(group, name, **typed):
    node = OmegaConf.load(REPOSITORY / "conf" / group / f"{name}.yaml")
    return OmegaConf.create({group: OmegaConf.merge(node, typed)})


BARE = {"algorithm": f"{__name__}.Bare"}


@pytest.mark.parametrize(
    ("group", "name", "typed", "message"),
    [
        ("optimizer", "sgd", {"nesterov": "no"}, "optimizer.nesterov=no: allowed is true or false"),
        ("optimizer", "sgd", {"momentum": "abc"}, "optimizer.momentum=abc: allowed is a number"),
        ("optimizer", "sgd", {"foreach": "no"}, "optimizer.foreach=no: allowed is true or false or null"),
        ("optimizer", "adam", {"betas": "abc"}, "optimizer.betas=abc: allowed is a list of 2 numbers in brackets"),
        ("optimizer", "adam", {"betas": ["a", 0.9]}, "optimizer.betas=['a', 0.9]: allowed is a list of 2 numbers"),
        ("optimizer", "adam", {"betas": [0.9]}, "optimizer.betas=[0.9]: allowed is a list of 2 numbers"),
        ("optimizer", "adam", {"betas": [True, 0.9]}, "optimizer.betas=[True, 0.9]: allowed is a list of 2 numbers"),
        ("optimizer", "sam", {"adaptive": "no"}, "optimizer.adaptive=no: allowed is true or false"),
        ("optimizer", "sam", {"nesterov": "no"}, "optimizer.nesterov=no: allowed is true or false"),
        ("optimizer", "muon_sgd", {"normalize": "no"}, "optimizer.normalize=no: allowed is true or false"),
        ("optimizer", "muon_sgd", {"steps": 2.5}, "optimizer.steps=2.5: allowed is a whole number"),
        ("optimizer", "sgd", BARE | {"momentum": "abc"}, "optimizer.momentum=abc: allowed is a number"),
        ("optimizer", "sgd", BARE | {"adaptive": "no"}, "optimizer.adaptive=no: allowed is true or false"),
        ("optimizer", "sgd", BARE | {"betas": [0.9, "x"]}, "optimizer.betas=[0.9, 'x']: allowed is a list of 2 numbers"),
        ("optimizer", "sgd", {"algorithm": "torch.optim.SGDD"}, "optimizer.algorithm=torch.optim.SGDD: module 'torch.optim'"),
        ("optimizer", "sam", {"base": "torchh.SGD"}, "optimizer.base=torchh.SGD: No module named 'torchh'"),
        ("scheduler", "multistep", {"milestones_fraction": "abc"}, "milestones_fraction=abc: allowed is a list of numbers"),
        ("scheduler", "multistep", {"milestones_fraction": 0.5}, "milestones_fraction=0.5: allowed is a list of numbers"),
        ("trainer", "auto", {"limit_train_batches": "abc"}, "trainer.limit_train_batches=abc: allowed is a number or null"),
        ("trainer", "auto", {"limit_val_batches": "abc"}, "trainer.limit_val_batches=abc: allowed is a number or null"),
        ("trainer", "auto", {"limit_test_batches": True}, "trainer.limit_test_batches=True: allowed is a number or null"),
        ("trainer", "auto", {"strategy": 5}, "trainer.strategy=5: allowed is a word"),
        ("trainer", "auto", {"detect_anomaly": "no"}, "trainer.detect_anomaly=no: allowed is true or false"),
    ],
)
def test_values_of_another_type(group, name, typed, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        types.check(option(group, name, **typed))


def test_options_that_a_class_hands_on_to_the_one_that_it_derives_from():
    """As W&B's logger does, of whose annotations one names what only type checkers import."""
    wandb = {"_target_": "cifar_lit.logger.Wandb", "run_dir": "run", "project": "cifar", "offline": "no"}
    with pytest.raises(UsageError, match=r"logger.wandb.offline=no: allowed is true or false"):
        types.check(OmegaConf.create({"logger": {"wandb": wandb}}))


@pytest.mark.parametrize(
    ("group", "name", "typed"),
    [
        ("optimizer", "sgd", {"momentum": 0, "foreach": None, "maximize": False}),
        ("optimizer", "adam", {"betas": [0, 0.99]}),
        ("optimizer", "sgd", BARE | {"weight_decay": 0.1, "form": 3, "other": "x", "betas": [0.1, 0.2]}),
        ("scheduler", "multistep", {"milestones_fraction": []}),
        ("trainer", "auto", {"limit_train_batches": 3, "limit_val_batches": None, "profiler": "simple"}),
        ("trainer", "auto", {"max_time": None, "val_check_interval": 0.5}),
        *(("optimizer", "sgd", {"algorithm": name}) for name in ("os.system", "math.hypot", "math.pi", "torch.optim")),
    ],
)
def test_values_that_fit_or_are_left_to_whatever_is_called(group, name, typed):
    types.check(option(group, name, **typed))


@pytest.mark.parametrize("value", ["no", {"decay": 0.9}])
def test_what_is_no_callback(value):
    """Lightning would ask it for the methods of one, when the run has begun."""
    cfg = OmegaConf.create({"_target_": "cifar_lit.experiment.Experiment", "callbacks": {"target": None, "ema": value}})
    with pytest.raises(UsageError, match=re.escape("callbacks.ema=") + ".*allowed is null, or a mapping with a _target_"):
        types.check(cfg)


def test_a_function_as_a_value_is_left_to_who_is_given_it():
    """Lightning's averaging of weights takes one, annotated with the types of its parameters in a list."""
    target = "lightning.pytorch.callbacks.StochasticWeightAveraging"
    types.check(OmegaConf.create({"swa": {"_target_": target, "swa_lrs": 0.01, "avg_fn": None}}))
