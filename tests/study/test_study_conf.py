"""The studies' configuration: each composes in every budget, and is typed as people type it."""

from collections.abc import Iterator
from dataclasses import fields

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from running import REPOSITORY

from cifar_lit.cli import budget, help_page, repeat
from cifar_lit.cli.errors import UsageError
from cifar_lit.cli.study import Concluding
from cifar_lit.experiment import Experiment
from cifar_lit.study.conclude import STUDIES
from cifar_lit.study.found import FACTORS

CONF = REPOSITORY / "conf"
NAMES = sorted(path.stem for path in (CONF / "study").glob("*.yaml"))
BUDGETS = ("full", "hour", "minutes")
OUTSIDE_HYDRA = ["name=test", "run_dir=.", "overrides=[]"]


def composed(*typed: str, whole: bool = False) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [*budget.expanded(["-m", *typed], CONF)[1:], *OUTSIDE_HYDRA]
        return compose("train", overrides=overrides, return_hydra_config=whole)


def test_every_study_has_a_file_and_a_verdict():
    assert NAMES == sorted(STUDIES) == sorted(FACTORS)
    for name in NAMES:
        assert help_page.describe(CONF / "study" / f"{name}.yaml")
        assert f"-m +study={name} study.budget=" in (CONF / "study" / f"{name}.yaml").read_text()


def jobs(name: str) -> Iterator[tuple[str, ...]]:
    """Every value of each of a study's parameters, one at a time."""
    for key, values in OmegaConf.to_container(composed(f"+study={name}", whole=True).hydra.sweeper.params).items():
        [override] = OverridesParser.create().parse_overrides([f"{key}={values}"])
        yield from ((f"{key}={value}",) for value in override.sweep_string_iterator())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_every_budget_of_every_study_composes(name):
    wanted = {field.name for field in fields(Experiment)}
    sizes = []
    for size in BUDGETS:
        cfg = composed(f"+study={name}", f"study.budget={size}")
        assert {key for key in cfg if not str(key).startswith("_")} == wanted  # a dead key would fail
        sizes.append((cfg.trainer.max_epochs, cfg.model._target_.rpartition(".")[2]))
        instantiate(cfg.augment, _convert_="all")
        instantiate(cfg.optimizer)(torch.nn.Linear(2, 2))
    assert sizes == [(120, "resnet34"), (4, "speednet_small"), (6, "speednet_small")]
    assert composed(f"+study={name}") == composed(f"+study={name}", "study.budget=minutes")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_every_value_of_every_study_is_one_that_can_be_made(name):
    seen = set()
    for typed in jobs(name):
        seen.add(typed[0].partition("=")[0])
        cfg = composed(f"+study={name}", *typed)
        instantiate(cfg.augment, _convert_="all")
        probe = instantiate(cfg.optimizer)(torch.nn.Linear(2, 2))
        instantiate(cfg.scheduler)(probe, total_steps=240, steps_per_epoch=40)
    assert seen == {*FACTORS[name], "seed"}


@pytest.mark.parametrize("name", NAMES)
def test_three_seeds_and_a_place_of_its_own(name):
    hydra = composed(f"+study={name}", whole=True).hydra
    assert hydra.sweeper.params.seed == "range(0,3)"
    assert OmegaConf.to_container(hydra.sweep)["dir"].startswith(f"runs/{name}/")
    assert hydra.callbacks.sweep._target_ == "cifar_lit.cli.study.Concluding"


def test_optimizers_differ_in_their_rates_and_themselves_only():
    found = {name: composed("+study=optimizer", f"optimizer={name}") for name in ("sgd", "adam", "rmsprop")}
    assert {cfg.optimizer.weight_decay for cfg in found.values()} == {0.0001}
    assert len({str(cfg.scheduler) for cfg in found.values()}) == 1
    assert {cfg.optimizer.lr for cfg in found.values()} == {0.1, 0.001}


def test_each_ablation_lacks_one():
    whole = set(instantiate(composed("augment=ablation/all").augment, _convert_="all").ops)
    assert whole == {"crop", "flip", "affine", "corrupt", "jitter"}
    for option, lacking in (("ablation/no_crop", "crop"), ("ablation/no_flip", "flip"), ("ablation/no_affine", "affine"),
                            ("enhanced", "jitter"), ("ablation/no_corrupt", "corrupt")):  # fmt: skip
        assert set(instantiate(composed(f"augment={option}").augment, _convert_="all").ops) == whole - {lacking}


def test_what_is_typed_takes_the_place_of_what_would_be_tried():
    params = {"optimizer.lr": "0.1,0.01", "seed": "range(0,3)"}
    for task, left in (([], params), (["seed=5"], {"optimizer.lr": "0.1,0.01"}), (["optimizer.lr=1,2", "+seed=1"], {})):
        cfg = OmegaConf.create({"hydra": {"sweeper": {"params": params}, "overrides": {"task": task}}})
        OmegaConf.set_readonly(cfg, True)
        Concluding().on_multirun_start(cfg)
        assert cfg.hydra.sweeper.params == left


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["-m", "+study=schedule", "study.budget=hour"], ["-m", "+study=schedule", "study/budget=hour"]),
        (["-m", "study=schedule"], ["-m", "+study=schedule"]),
        (
            ["-m", "study.budget=minutes", "+study=augmentation"],
            ["-m", "study/budget=augmentation/minutes", "+study=augmentation"],
        ),
        (["-m", "study.budget=full", "+study=augmentation"], ["-m", "study/budget=full", "+study=augmentation"]),
        (["--cfg", "job", "+study=optimizer"], ["--cfg", "job", "+study=optimizer"]),
        (["hydra.mode=RUN", "+study=optimizer", "seed=0"], ["hydra.mode=RUN", "+study=optimizer", "seed=0"]),
        (["model=resnet8", "experiment=ft3"], ["model=resnet8", "experiment=ft3"]),
    ],
)
def test_what_is_typed_and_what_hydra_gets(typed, expected):
    assert budget.expanded(typed, CONF) == expected


def test_repeat_is_a_sweep_too():
    assert "seed=range(0,5)" in budget.expanded(repeat.expanded(["+study=schedule", "repeat=5"]), CONF)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["+study=schedule"], r"a study is a sweep: python train.py -m \+study=schedule"),
        (["-m", "+study=shedule"], r"\+study=shedule: no such study; allowed is augmentation, learning_rate"),
        (["-m", "+study=schedule", "study.budget=days"], "study.budget=days: allowed is full, hour, minutes"),
        (["-m", "study.budget=hour"], "study.budget=hour: a budget is a study's"),
        (["-m", "+study=schedule", "experiment=ft3"], r"experiment=ft3: \+study=schedule has a recipe of its own"),
        (["experiment=ft3,quickstart", "-m", "study=schedule"], "experiment=ft3,quickstart: study=schedule has a recipe"),
    ],
)
def test_refusals(typed, message):
    with pytest.raises(UsageError, match=message):
        budget.expanded(typed, CONF)
