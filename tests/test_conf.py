"""The configuration: every option composes, pairs are what they are called, recipes are faithful to the five systems."""

import re
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from running import REPOSITORY

from cifar_lit.cli import help_page

CONF = REPOSITORY / "conf"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("hydra", "study"))
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
CHOOSING = ("experiment", "optim")  # which make choices of other groups
# What a run knows of itself only while Hydra runs it.
OUTSIDE_HYDRA = ["name=test", "run_dir=.", "overrides=[]"]


def composed(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=[*overrides, *OUTSIDE_HYDRA])


@pytest.mark.parametrize(("group", "option"), [(group, option) for group, option in OPTIONS if group not in CHOOSING])
@pytest.mark.slow
def test_every_option_composes(group, option):
    """Those of CHOOSING in tests of their own: pairs, and recipes that train."""
    if group == "callbacks" and option == "standard":
        return  # always part of the configuration
    with suppress(Exception):  # which may be that of another group's option: alone it tells
        assert together(names(group).index(option))
        return
    assert alone(group, option)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_says_what_it_is(group, option):
    """In its first comment. And its YAML is what every reader takes, also PyYAML's own, which tests/conftest.py replaces."""
    path = CONF / group / f"{option}.yaml"
    assert help_page.describe(path)
    yaml.load(path.read_text(), yaml.loader.SafeLoader)


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@cache
def together(number: int) -> DictConfig:
    """The configuration where, of each group, the option of this number is typed, all at once. For reading only."""
    wanted = [group for group in GROUPS if group not in CHOOSING and number < len(names(group))]
    return composed(*(f"{group}={names(group)[number]}" for group in wanted if names(group)[number] != "standard"))


def option_of(group: str, option: str) -> DictConfig:
    """What an option composes to, while no other choice that is typed sets its group. For reading only."""
    return together(names(group).index(option))[group]


@cache
def alone(group: str, option: str) -> DictConfig:
    """The configuration where this choice is all that is typed. For reading only."""
    return composed(f"{group}={option}")


PLAIN = [(o, s) for o in ("sgd", "adam", "adamw", "rmsprop", "lion", "muon", "sam")
         for s in ("onecycle", "cosine", "warm_restarts", "multistep", "step", "constant")]  # fmt: skip


@pytest.mark.parametrize("pair", names("optim"))
@pytest.mark.slow
def test_optim_pairs(pair):
    """A pair is what it is called: an optimizer and a schedule of these names."""
    halves = [(o, s) for o in names("optimizer") for s in names("scheduler") if f"{o}_{s}" == pair]
    assert len(halves) == 1
    optimizer, scheduler = halves[0]
    both = alone("optim", pair)
    plain = option_of("optimizer", optimizer), option_of("scheduler", scheduler)
    assert (both.optimizer, both.scheduler) == plain


def test_every_plain_pair_exists():
    assert {f"{o}_{s}" for o, s in PLAIN} <= set(names("optim"))


TURNS = 4
TYPED = ["mix", "augment", "optimizer", "scheduler", "loss", "model"]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.slow
def test_any_choice_typed_on_top_of_a_recipe_is_that_choice(recipe):
    """Nothing of the recipe's own choice is left behind in what was typed instead.

    Of each group one is typed at a time, all together, four to a recipe, as far apart as can be: what is left behind is the
    recipe's, and shows beside any option that has no such key.
    """
    for turn in range(TURNS):
        chosen = {group: names(group)[place(turn, recipe, len(names(group)))] for group in TYPED}
        cfg = composed(f"experiment={recipe}", *(f"{group}={option}" for group, option in chosen.items()))
        for group, option in chosen.items():
            typed, plain = cfg[group], option_of(group, option)
            if group == "model":  # dropout is part of the recipe, whatever the network
                typed.dropout = plain.dropout
            assert typed == plain, option


def place(turn: int, recipe: str, options: int) -> int:
    return (RECIPES.index(recipe) + turn * options // TURNS) % options


@pytest.mark.parametrize("group", TYPED)
def test_every_option_has_its_turn(group):
    options = len(names(group))
    assert {place(turn, recipe, options) for turn in range(TURNS) for recipe in RECIPES} == set(range(options))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.slow
def test_any_pair_typed_on_top_of_a_recipe_is_that_pair(recipe):
    for pair in ("adam_cosine", "sgd_multistep"):
        typed, plain = composed(f"experiment={recipe}", f"optim={pair}"), alone("optim", pair)
        assert (typed.optimizer, typed.scheduler) == (plain.optimizer, plain.scheduler)


def test_halves_of_a_pair_are_overridable():
    cfg = composed("optim=adam_onecycle", "optimizer.lr=0.003", "scheduler.pct_start=0.2")
    assert (cfg.optimizer.algorithm, cfg.optimizer.lr) == ("torch.optim.Adam", 0.003)
    assert cfg.scheduler.pct_start == 0.2
    cfg = composed("optim=adam_onecycle", "scheduler=cosine")
    assert cfg.optimizer.algorithm == "torch.optim.Adam"
    assert cfg.scheduler._target_ == "cifar_lit.schedule.cosine"


def test_what_is_typed_wins_over_a_recipe():
    cfg = composed("experiment=resnet34_enhanced", "model=resnet20", "optimizer.lr=0.5", "optim=sgd_cosine")
    assert cfg.model._target_.endswith("resnet20")
    assert cfg.optimizer.algorithm == "torch.optim.SGD"
    assert cfg.optimizer.lr == 0.5


def test_debug_is_short_whatever_a_recipe_says():
    cfg = composed("experiment=resnet18_sgd", "trainer=debug")
    assert cfg.trainer.max_steps == 6 and cfg.trainer._target_ == "cifar_lit.trainer.Trainer"
    assert cfg.scheduler._target_ == "cifar_lit.schedule.cosine" and cfg.scheduler.warmup_epochs == 0


def test_several_callbacks_at_once():
    assert {"ema", "early_stopping", "checkpoints"} <= set(composed("callbacks=[ema,early_stopping]").callbacks)


def test_the_root_keys_are_the_fields_of_the_experiment():
    from dataclasses import fields

    from cifar_lit.experiment import Experiment

    assert {key for key in composed() if not str(key).startswith("_")} == {f.name for f in fields(Experiment)}


def test_files_use_no_number_of_classes_and_no_statistics():
    """A fact has one owner: the data say how many classes there are and how bright the images."""
    for path in CONF.rglob("*.yaml"):
        assert not re.search(r"num_classes|0\.5071|0\.2673", path.read_text()), path


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_has_its_header(recipe):
    text = (CONF / "experiment" / f"{recipe}.yaml").read_text()
    for line in ("# command:", "# result:", "# hardware, seconds:"):
        assert line in text


SMALL = [
    "data=synthetic", "data.train_per_class=2", "data.test_per_class=1", "data.val_size=100", "trainer=cpu",
    "trainer.max_epochs=1", "trainer.max_steps=1", "data.batch_size=8", "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1", "data.eval_batch_size=8", "callbacks.progress_bar=null", "data.validation=holdout",
]  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.slow
def test_every_recipe_trains_one_step(recipe, train):
    # Three optimizer steps in all: warm-ups and milestones of whole epochs do not fit one.
    ran = train(f"experiment={recipe}", *SMALL, "scheduler.warmup_epochs=0", "resume=null")
    assert ran.code == 0, ran.err
    assert (ran.folder / "summary.json").exists()


# Facts of RECIPES: (key, value) of the composed configuration.
FACTS = {
    "ft3": {
        "model._target_": "cifar_lit.model.resnet.resnet34", "model.dropout": 0.0, "model.stem": "cifar",
        "trainer.max_epochs": 30, "data.batch_size": 128, "optimizer.algorithm": "torch.optim.Adam",
        "scheduler._target_": "cifar_lit.schedule.onecycle",
    },
    "resnet18_sgd": {
        "model._target_": "cifar_lit.model.resnet.resnet18", "trainer.max_epochs": 100, "data.batch_size": 128,
        "optimizer.algorithm": "torch.optim.SGD", "optimizer.nesterov": True, "optimizer.momentum": 0.9,
        "optimizer.weight_decay": 5e-4, "optimizer.lr": 0.1, "scheduler._target_": "cifar_lit.schedule.cosine",
        "scheduler.warmup_epochs": 5, "loss.smoothing": 0.1, "augment.crop.padding": 4,
        "callbacks.checkpoints.every_epochs": 10, "mix": None,
    },
    "resnet44v2": {
        "model._target_": "cifar_lit.model.preact.resnet44v2", "model.dropout": 0.1, "trainer.max_epochs": 100,
        "data.batch_size": 128, "optimizer.algorithm": "torch.optim.SGD", "optimizer.momentum": 0.9,
        "optimizer.weight_decay": 5e-4, "optimizer.lr": 0.1, "scheduler._target_": "cifar_lit.schedule.cosine",
        "loss.smoothing": 0.0, "augment.crop.padding": 4,
    },
    "resnet34_onecycle": {
        "model._target_": "cifar_lit.model.resnet.resnet34", "trainer.max_epochs": 120, "data.batch_size": 400,
        "optimizer.algorithm": "torch.optim.Adam", "optimizer.lr": 0.01, "optimizer.weight_decay": 1e-4,
        "scheduler._target_": "cifar_lit.schedule.onecycle", "trainer.gradient_clip_val": 0.1,
        "trainer.gradient_clip_algorithm": "value", "augment.jitter.brightness": 0.1, "augment.jitter.hue": 0.02,
        "loss.smoothing": 0.0,
    },
    "resnet34_enhanced": {
        "model._target_": "cifar_lit.model.resnet.resnet34_deep", "model.dropout": 0.3, "trainer.max_epochs": 200,
        "data.batch_size": 128, "optimizer.algorithm": "torch.optim.SGD", "optimizer.nesterov": True,
        "optimizer.weight_decay": 5e-4, "optimizer.lr": 0.1, "scheduler.div_factor": 25, "scheduler.pct_start": 0.2,
        "scheduler.final_div_factor": 1000, "trainer.gradient_clip_val": 1.0, "trainer.gradient_clip_algorithm": "norm",
        "loss.smoothing": 0.1, "mix.p": 0.3, "mix.alpha": 1.0, "mix.cutmix": 1.0, "mix.per_sample": False,
        "callbacks.target.value": 0.75, "callbacks.checkpoints.every_epochs": 5, "data.validation": "test",
        "trainer.channels_last": True, "trainer.precision": "auto",
    },
}  # fmt: skip


@pytest.mark.parametrize("recipe", sorted(FACTS))
def test_recipes_are_faithful(recipe):
    cfg = composed(f"experiment={recipe}")
    for key, value in FACTS[recipe].items():
        assert OmegaConf.select(cfg, key) == value, key


@pytest.mark.parametrize(
    ("recipe", "parameters"),
    [("ft3", 21_328_292), ("resnet18_sgd", 11_220_132), ("resnet44v2", 2_647_684), ("resnet34_onecycle", 21_328_292),
     ("resnet34_enhanced", 30_032_292)],
)  # fmt: skip
def test_recipes_have_the_published_number_of_parameters(recipe, parameters):
    import torch

    with torch.device("meta"):
        net = instantiate(composed(f"experiment={recipe}").model, _convert_="all")(num_classes=100)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


def test_no_machine_paths_in_the_configuration():
    for path in [*CONF.rglob("*.yaml"), *Path(REPOSITORY).glob("*.toml")]:
        assert not re.search(r"/(home|root|mnt|tmp)/", path.read_text()), path


def test_the_learning_rate_of_r5_at_its_milestones():
    """The composed recipe, on 50,000 images in batches of 128: RECIPES' rates at the ends of epochs, to 1e-6."""
    import torch

    cfg = composed("experiment=resnet34_enhanced")
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
