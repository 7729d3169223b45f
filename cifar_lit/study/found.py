"""What a study's folder holds: its finished runs by what the study varied, and what is missing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cifar_lit import runs
from cifar_lit.report import ranking
from cifar_lit.report.ranking import Kind, by_seed
from cifar_lit.report.words import several
from cifar_lit.runs import Run
from cifar_lit.study.block import Block

# What each study varies, as settings of a run. `optimizer` is the option with all that comes with it.
FACTORS = {
    "learning_rate": ("optimizer.lr",),
    "sensitivity": ("data.batch_size", "optimizer.weight_decay", "trainer.gradient_clip_val"),
    "augmentation": ("augment",),
    "optimizer": ("optimizer",),
    "schedule": ("scheduler",),
}
_PAIRS = ("optim", "experiment")  # options that only stand for others


class StudyError(ValueError):
    """A folder that no verdict can be given on, and why."""


@dataclass(frozen=True, eq=False)
class Level:
    """Runs that differ in their seeds only. values: of the factors, in their order."""

    label: str
    values: tuple[Any, ...]
    runs: tuple[Run, ...]

    def of(self, name: str) -> dict[Any, float]:
        """A number of the runs' summaries by seed."""
        return by_seed(self.runs, name)


@dataclass(frozen=True)
class Strand:
    """Levels that differ in the study's factors only. title: what sets the strand apart from others of the folder, if any."""

    kind: Kind
    levels: tuple[Level, ...]
    factors: tuple[str, ...]
    title: str = ""

    @property
    def score(self) -> str:
        """What is chosen by: validation accuracy, or test accuracy where the test images were watched."""
        return self.kind.score

    def block(self, name: str) -> Block:
        """A number of every level, to compare them by; levels without it are left out."""
        values = {level: level.of(name) for level in self.levels}
        return Block({level.label: sample for level, sample in values.items() if sample})

    @cached_property
    def scores(self) -> Block:
        """The score of every level."""
        return self.block(self.score)

    @property
    def runs(self) -> list[Run]:
        """Every run."""
        return [run for level in self.levels for run in level.runs]

    def level(self, label: str) -> Level:
        """The level of a label."""
        return next(level for level in self.levels if level.label == label)

    def fact(self, name: str, otherwise: Any = None) -> Any:
        """A setting that all runs share; the default where they differ or have none."""
        found = {str(run.settings.get(name)): run.settings.get(name) for run in self.runs}
        value = next(iter(found.values())) if len(found) == 1 else None
        return otherwise if value is None else value


@dataclass(frozen=True)
class Found:
    """A study's folder. missing: a line for each job without a result."""

    study: str
    folder: Path
    strands: tuple[Strand, ...]
    missing: tuple[str, ...]


def read(folder: Path, study: str | None = None) -> Found:
    """The runs of a study under a folder. study: where runs of several lie there. Raises StudyError."""
    if not folder.is_dir():
        raise StudyError(f"{folder}: no such folder")
    rows, broken = runs.collect([folder])
    typed = {run.path: run.settings.get("study") or _typed(run.path).get("study") for run in rows}
    names = sorted({str(name) for name in typed.values() if name in FACTORS})
    if study is None and len(names) > 1:
        raise StudyError(f"{folder} holds runs of {' and '.join(names)}: choose with --study")
    study = study or next(iter(names), None)
    if study not in FACTORS:
        known = ", ".join(FACTORS)
        raise StudyError(f"{folder}: no runs of a study in it; they come from python train.py -m +study=<name>, one of {known}")
    mine = [run for run in rows if typed[run.path] == study]
    if not mine:
        raise StudyError(f"{folder}: no runs of {study} in it")
    reasons = {run.path: ranking.why_not(run) for run in mine}
    missing = [_lacking(run, study, reason) for run in mine if (reason := reasons[run.path]) is not None]
    missing += [f"{place.path.name}: cannot be read ({place.reason})" for place in broken]
    never = _planned(folder) - len(mine) - len(broken)
    if never > 0:
        missing.append(f"{several(never, 'job')} of the sweep never began")
    strands = tuple(_strands([run for run in mine if reasons[run.path] is None], study))
    told = {_repeated(run.path) for run in mine if reasons[run.path] is not None}
    for strand in strands:
        seeds = sorted({run.seed for run in strand.runs if run.seed is not None})
        for level in strand.levels:
            there = {run.seed for run in level.runs}
            of_level = {_repeated(run.path)[0] for run in level.runs}
            # Of a job that failed, a line says so already.
            absent = [seed for seed in seeds if seed not in there and not told & {(own, str(seed)) for own in of_level}]
            if absent:
                missing.append(f"{level.label} has no result of seed {' and '.join(map(str, absent))}")
    return Found(study, folder, strands, tuple(missing))


def _strands(finished: Sequence[Run], study: str) -> list[Strand]:
    factors = FACTORS[study]
    groups: dict[tuple[Kind, str], list[Run]] = {}
    for run in finished:
        rest = {name: value for name, value in run.settings.items() if not _varied(name, factors)}
        groups.setdefault((ranking.kind_of(run), repr(sorted(rest.items(), key=str))), []).append(run)
    firsts = [{k: v for k, v in group[0].settings.items() if not _varied(k, factors)} for group in groups.values()]
    apart = runs.varied(firsts)
    strands = []
    for ((kind, _), group), rest in zip(groups.items(), firsts, strict=True):
        words = [f"{name}={word(rest.get(name))}" for name in apart]
        if len({other.fingerprint for other, _ in groups}) > 1:
            words.append(f"images {kind.fingerprint[:8]}" if kind.fingerprint else "on images not recorded")
        if len({other.watched for other, _ in groups}) > 1:
            words.append("watching the test images" if kind.watched else "validating on held-out images")
        strands.append(Strand(kind, tuple(_levels(group, factors)), factors, ", ".join(words)))
    return strands


def _varied(name: str, factors: tuple[str, ...]) -> bool:
    """Whether a setting is one of the factors, comes with one, or only stands for others."""
    return name in _PAIRS or any(name == factor or name.startswith(f"{factor}.") for factor in factors)


def _levels(group: Sequence[Run], factors: tuple[str, ...]) -> list[Level]:
    recipes = runs.recipes(group)
    values = [tuple(recipe.settings.get(name) for name in factors) for recipe in recipes]
    plain = [" ".join(_label(name, value) for name, value in zip(factors, own, strict=True)) for own in values]
    # Something else of a factor's was varied too, as optimizer.lr within optimizer=sgd.
    labels = plain if len(set(plain)) == len(plain) else [recipe.label for recipe in recipes]
    levels = [Level(label, own, recipe.runs) for label, own, recipe in zip(labels, values, recipes, strict=True)]
    return sorted(levels, key=lambda level: [_size(value) for value in level.values]) if len(factors) != 1 else _sorted(levels)


def _sorted(levels: list[Level]) -> list[Level]:
    """Numbers by size; options as the sweep has them."""
    numbers = all(isinstance(level.values[0], int | float) for level in levels)
    return sorted(levels, key=lambda level: level.values[0]) if numbers else levels


def _size(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else -math.inf  # none comes first


_POLICIES = {"ablation/all": "all", "none": "none", "crop_flip": "crop and flip", "jitter": "crop, flip, jitter",
             "ablation/no_corrupt": "without hole or noise", "enhanced": "without jitter (enhanced)"}  # fmt: skip
_SHORT = {"data.batch_size": "batch", "optimizer.weight_decay": "decay", "trainer.gradient_clip_val": "clip"}


def _label(name: str, value: Any) -> str:
    if name == "augment":
        return _POLICIES.get(str(value), str(value).replace("ablation/no_", "without "))
    return f"{_SHORT[name]} {word(value)}" if name in _SHORT else word(value)


def word(value: Any) -> str:
    """A setting's value as it is typed."""
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def _typed(path: Path) -> dict[str, str]:
    """What was typed for a run, by name."""
    pairs = (item.partition("=") for item in runs.read_overrides(path) or [])
    return {name.lstrip("+~"): value for name, _, value in pairs}


def _repeated(path: Path) -> tuple[tuple[str, ...], str]:
    """What was typed for a run, without its seed; and the seed."""
    typed = runs.identity(runs.read_overrides(path) or [])
    rest = tuple(item for item in typed if not item.lstrip("+").startswith("seed="))
    return rest, _typed(path).get("seed", "0")


def _lacking(run: Run, study: str, reason: str) -> str:
    typed = _typed(run.path)
    what = " ".join(f"{name}={typed[name]}" for name in (*FACTORS[study], "seed") if name in typed)
    status = {"failed": "failed", "pruned": "stopped early, since others did better", "running": "still running"}.get(run.status)
    status = status or ("interrupted" if run.status == "interrupted" else "killed" if run.status == "killed" else run.status)
    detail = f": {' '.join(reason.split())[:160]}" if run.status in ("failed", "finished") and reason else ""
    return f"job {run.path.name} ({what or 'nothing is known of it'}) {status}{detail}"


def _planned(folder: Path) -> int:
    """How many jobs the sweep was to have, by Hydra's record of it; 0 where that cannot be told."""
    from hydra.core.override_parser.overrides_parser import OverridesParser  # slow to import, as runs says of omegaconf
    from omegaconf import OmegaConf

    try:
        sweep = OmegaConf.load(folder / "multirun.yaml").hydra
        params: Mapping[str, Any] = sweep.sweeper.get("params") or {}
        if "n_trials" in sweep.sweeper:
            return int(sweep.sweeper.n_trials)
        overrides = [*(f"{name}={value}" for name, value in params.items()), *sweep.overrides.task]
        count = 1
        for override in OverridesParser.create().parse_overrides(overrides):
            count *= len(list(override.sweep_string_iterator())) if override.is_sweep_override() else 1
        return count
    except Exception:  # a record of another Hydra, or none: then nothing is said
        return 0
