"""The configuration: every option composes, pairs are what they are called, what is typed wins over a recipe."""

import re
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
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


def test_no_machine_paths_in_the_configuration():
    for path in [*CONF.rglob("*.yaml"), *Path(REPOSITORY).glob("*.toml")]:
        assert not re.search(r"/(home|root|mnt|tmp)/", path.read_text()), path
