"""The five recipes are those of RECIPES, the document of the systems that they reproduce: every number is from there.

What it does not name is the default of torch, or none.
"""

from functools import cache

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from test_conf import composed

from cifar_lit.augment.choice import OneOf
from cifar_lit.augment.colour import Jitter, Noise
from cifar_lit.augment.erase import Erase
from cifar_lit.augment.geometry import Affine, Crop, Flip
from cifar_lit.mix import Mix

TORCHS_CYCLE = {"scheduler.pct_start": 0.3, "scheduler.div_factor": 25.0, "scheduler.final_div_factor": 1e4}
# (key, value) of the composed configuration.
FACTS = {
    "ft3": {
        "model._target_": "cifar_lit.model.resnet.resnet34", "model.dropout": 0.0,
        "trainer.max_epochs": 30, "data.batch_size": 128,
        "scheduler._target_": "cifar_lit.schedule.onecycle", **TORCHS_CYCLE,
        "loss.smoothing": 0.1,  # that of its sisters: its own document does not name the loss
    },
    "resnet18_sgd": {
        "model._target_": "cifar_lit.model.resnet.resnet18", "model.dropout": 0.0,
        "trainer.max_epochs": 100, "data.batch_size": 128,
        "scheduler._target_": "cifar_lit.schedule.cosine", "scheduler.final_fraction": 0.0, "scheduler.warmup_epochs": 5,
        "loss.smoothing": 0.1, "callbacks.checkpoints.every_epochs": 10,
    },
    "resnet44v2": {
        "model._target_": "cifar_lit.model.preact.resnet44v2", "model.dropout": 0.1, "model.block_dropout": 0.0,
        "trainer.max_epochs": 100, "data.batch_size": 128,
        "scheduler._target_": "cifar_lit.schedule.cosine", "scheduler.final_fraction": 0.0, "scheduler.warmup_epochs": 0,
        "loss.smoothing": 0.0,
    },
    "resnet34_onecycle": {
        "model._target_": "cifar_lit.model.resnet.resnet34", "model.dropout": 0.0,
        "trainer.max_epochs": 120, "data.batch_size": 400,
        "scheduler._target_": "cifar_lit.schedule.onecycle", **TORCHS_CYCLE,
        "trainer.gradient_clip_val": 0.1, "trainer.gradient_clip_algorithm": "value",
        "loss.smoothing": 0.0,
    },
    "resnet34_enhanced": {
        "model._target_": "cifar_lit.model.resnet.resnet34_deep", "model.dropout": 0.3,
        "trainer.max_epochs": 200, "data.batch_size": 128,
        "scheduler._target_": "cifar_lit.schedule.onecycle", "scheduler.div_factor": 25, "scheduler.pct_start": 0.2,
        "scheduler.final_div_factor": 1000, "scheduler.anneal_strategy": "cos",
        "trainer.gradient_clip_val": 1.0, "trainer.gradient_clip_algorithm": "norm",
        "loss.smoothing": 0.1, "callbacks.target.value": 0.75, "callbacks.checkpoints.every_epochs": 5,
    },
}  # fmt: skip
# Of them all: they watched the test images; 3x3 stems of stride 1. What some of them name (16-mixed on CUDA; the device that is
# there; channels_last) all of them have.
COMMON = {
    "data.validation": "test", "data.drop_last": False, "data.batch_sizes": None, "data.sizes": None, "model.stem": "cifar",
    "model.drop_path": 0.0, "trainer.accelerator": "auto", "trainer.precision": "auto", "trainer.channels_last": True,
    "trainer.accumulate_grad_batches": 1, "loss._target_": "cifar_lit.loss.CrossEntropy", "test_time_flip": False,
}  # fmt: skip

BASIC = {"crop": Crop(padding=4, mode="constant"), "flip": Flip(p=0.5)}
HOLE_OR_NOISE = {"erase": Erase(size=[8, 16], inside=True), "noise": Noise(std=[0.0125, 0.0278])}
AUGMENT = {
    "ft3": BASIC,  # its sisters'
    "resnet18_sgd": BASIC | {"erase": Erase(size=[16, 16], inside=False, p=1.0)},
    "resnet44v2": BASIC,
    "resnet34_onecycle": BASIC | {"jitter": Jitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.02, p=1.0)},
    "resnet34_enhanced": BASIC | {
        "affine": Affine(translate=0.1, scale=[0.85, 1.15], degrees=15, p=0.5),
        "corrupt": OneOf(p=0.3, ops=HOLE_OR_NOISE),
    },
}  # fmt: skip
MIX = {"resnet34_enhanced": Mix(cutmix=1.0, mixup=0.0, p=0.3, alpha=1.0, per_sample=False)}  # the others have none

ADAM = {"betas": (0.9, 0.999), "eps": 1e-8, "amsgrad": False}
SGD = {"momentum": 0.9, "dampening": 0}
OPTIMIZER = {
    "ft3": (torch.optim.Adam, ADAM | {"lr": 0.001, "weight_decay": 0}),  # the rate: chosen by a sweep, see the recipe
    "resnet18_sgd": (torch.optim.SGD, SGD | {"lr": 0.1, "weight_decay": 5e-4, "nesterov": True}),
    "resnet44v2": (torch.optim.SGD, SGD | {"lr": 0.1, "weight_decay": 5e-4, "nesterov": False}),
    "resnet34_onecycle": (torch.optim.Adam, ADAM | {"lr": 0.01, "weight_decay": 1e-4}),
    "resnet34_enhanced": (torch.optim.SGD, SGD | {"lr": 0.1, "weight_decay": 5e-4, "nesterov": True}),
}
ONE_CYCLE = ("ft3", "resnet34_onecycle", "resnet34_enhanced")
every_recipe = pytest.mark.parametrize("recipe", sorted(FACTS))


@cache
def of(recipe):
    return composed(f"experiment={recipe}")


@every_recipe
def test_recipes_are_faithful(recipe):
    for key, value in (COMMON | FACTS[recipe]).items():
        assert OmegaConf.select(of(recipe), key) == value, key
    standard = {"progress_bar", "metrics_file", "epoch_table", "target", "checkpoints"}
    assert set(of(recipe).callbacks) == standard, "no average of the weights, no early stopping"


@every_recipe
def test_their_augmentation_in_order_and_their_mix(recipe):
    augment = instantiate(of(recipe).augment, _convert_="all")
    assert list(augment.ops.items()) == list(AUGMENT[recipe].items())
    assert instantiate(of(recipe).mix) == MIX.get(recipe)


@every_recipe
def test_their_optimizer(recipe):
    """As it is made: one group, so that norms and biases decay too, and every number that the algorithm has."""
    optimizer = instantiate(of(recipe).optimizer, _convert_="all")(torch.nn.Linear(2, 2))
    algorithm, options = OPTIMIZER[recipe]
    assert type(optimizer) is algorithm
    [group] = optimizer.param_groups
    assert {name: tuple(group[name]) if name == "betas" else group[name] for name in options} == options


@pytest.mark.parametrize("recipe", ONE_CYCLE)
def test_one_cycle_moves_the_momentum_as_torch_does(recipe):
    """The documents say OneCycleLR and nothing of this: so 0.95 down to 0.85 and back, whatever the optimizer was given."""
    cfg = of(recipe)
    optimizer = instantiate(cfg.optimizer, _convert_="all")(torch.nn.Linear(2, 2))
    schedule = instantiate(cfg.scheduler)(optimizer, total_steps=101, steps_per_epoch=1)
    plain = instantiate(cfg.optimizer, _convert_="all")(torch.nn.Linear(2, 2))
    named = {name: cfg.scheduler[name] for name in ("pct_start", "div_factor", "final_div_factor")}
    torchs = torch.optim.lr_scheduler.OneCycleLR(plain, max_lr=cfg.optimizer.lr, total_steps=101, **named)
    for _ in range(100):
        for stepped in (optimizer, plain, schedule, torchs):
            stepped.step()
        own, other = optimizer.param_groups[0], plain.param_groups[0]
        for name in ("lr", "momentum", "betas"):
            assert own.get(name) == other.get(name), name


@pytest.mark.parametrize(
    ("recipe", "parameters"),
    [("ft3", 21_328_292), ("resnet18_sgd", 11_220_132), ("resnet44v2", 2_647_684), ("resnet34_onecycle", 21_328_292),
     ("resnet34_enhanced", 30_032_292)],
)  # fmt: skip
def test_recipes_have_the_published_number_of_parameters(recipe, parameters):
    with torch.device("meta"):
        net = instantiate(of(recipe).model, _convert_="all")(num_classes=100)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


def test_the_learning_rate_of_r5_at_its_milestones():
    """The composed recipe, on 50,000 images in batches of 128: RECIPES' rates at the ends of epochs, to 1e-6."""
    cfg = of("resnet34_enhanced")
    optimizer = instantiate(cfg.optimizer)(torch.nn.Linear(2, 2))
    steps = -(-50_000 // cfg.data.batch_size)
    schedule = instantiate(cfg.scheduler)(optimizer, total_steps=steps * cfg.trainer.max_epochs, steps_per_epoch=steps)
    published = {
        0: 0.004148, 10: 0.020829, 25: 0.073797, 39: 0.100000, 50: 0.098838, 80: 0.084653, 110: 0.058789, 140: 0.029963,
        157: 0.016061, 165: 0.010736,
    }  # fmt: skip
    for epoch in range(166):
        for _ in range(steps):
            optimizer.step()
            schedule.step()
        if epoch in published:
            assert abs(optimizer.param_groups[0]["lr"] - published[epoch]) < 1e-6, epoch
