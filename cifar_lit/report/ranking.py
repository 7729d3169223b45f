"""Rankings: which runs may be compared, in what order, and how far each recipe is from the first.

One ranking holds runs on the same data, with the same images held out and tested, in the same way. Runs that watched the test
images are ranked among themselves. Only finished runs with a score are ranked; the others are given back with a reason.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from cifar_lit import compare, runs
from cifar_lit.compare import Difference, Estimate
from cifar_lit.runs import Recipe, Run

TEST, VALIDATION = "test/acc", "val/acc"
_REASONS = {
    "killed": "no summary was written: it was killed, or never began",
    "running": "still running",
    "interrupted": "stopped by hand",
    "failed": "no reason recorded",
    "pruned": "stopped early by its sweep, since others did better",
}
COLUMNS = (VALIDATION, TEST, "test/acc5", "train/acc", "gap", "train_seconds", "params")


@dataclass(frozen=True, order=True)
class Kind:
    """What runs must share to be compared.

    images: how many were tested. held_out: how many training images the validation was of; 0 where that was of the test
    images, or where it was not recorded and those of all other such runs are not the same. evaluated: which weights were
    tested, where that is a choice by looking at the test images; else empty. fingerprint: of the images; empty where it was
    not recorded, and in a ranking where those of all runs on `data` are the same.
    """

    watched: bool
    data: str
    images: int
    flip: bool
    held_out: int = 0
    evaluated: str = ""
    fingerprint: str = ""

    @property
    def score(self) -> str:
        """The number that recipes are ranked by."""
        return TEST if self.watched else VALIDATION

    @property
    def score_words(self) -> str:
        """The score, for axes and tables."""
        return "test accuracy" if self.watched else "validation accuracy"

    @property
    def title(self) -> str:
        """The heading of the ranking."""
        return "Runs that watched the test images" if self.watched else "Runs with held-out validation"

    @property
    def where(self) -> str:
        """The data and the way of testing."""
        flip = ", each averaged with its mirror image" if self.flip else ""
        weights = ", weights of the best epoch" if self.evaluated == "best" else ""
        which = f" (images {self.fingerprint[:8]})" if self.fingerprint else ""
        held_out = f", {self.held_out:,} held out" if self.held_out else ""
        return f"{self.data}{which}{held_out}, {self.images:,} test images{flip}{weights}"


@dataclass(frozen=True)
class Entry:
    """A recipe in a ranking. test and score: differences to the first of the ranking, None for the first itself.

    p_test: p of `test`, corrected for the number of recipes compared with the first (Holm).
    """

    rank: int
    recipe: Recipe
    columns: dict[str, Estimate]
    test: Difference | None = None
    score: Difference | None = None
    p_test: float | None = None

    @property
    def label(self) -> str:
        """What sets the recipe apart."""
        return self.recipe.label

    @property
    def seeds(self) -> int:
        """How many seeds the test accuracy is the mean of."""
        return self.columns[TEST].n

    def mean(self, name: str) -> float | None:
        """The mean of a column over seeds; None where no run has it."""
        return self.columns[name].mean if name in self.columns else None


@dataclass(frozen=True)
class Board:
    """One ranking: entries in order, the best first."""

    kind: Kind
    entries: tuple[Entry, ...]
    slug: str
    top: int = 8

    @cached_property
    def varied(self) -> list[str]:
        """The settings in which the recipes differ, without those that only follow from another."""
        return differing([entry.recipe.settings for entry in self.entries])

    @property
    def first(self) -> tuple[Entry, ...]:
        """The entries that are drawn where there are too many for all."""
        return self.entries[: self.top]

    @property
    def runs(self) -> list[Run]:
        """Every run that is ranked here."""
        return [run for entry in self.entries for run in entry.recipe.runs]


def differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every setting that was varied. A label needs fewer: one random learning rate tells all recipes apart, and explains nothing.

    Left out is what came with a choice (`optimizer.momentum` with `optimizer`), what names several choices in one word (`optim`,
    `experiment`), and a second name for the same thing.
    """
    columns = {
        name: [json.dumps(config.get(name), default=str) for config in configs]
        for name in dict.fromkeys(name for config in configs for name in config)
    }
    columns = {name: column for name, column in columns.items() if len(set(column)) > 1}

    def follows(name: str, *others: str) -> bool:
        levels = set(zip(*(columns[other] for other in others), strict=True))
        return len(set(zip(columns[name], *(columns[other] for other in others), strict=True))) == len(levels)

    choices = [name for name in columns if "." not in name]
    for name in ("experiment", "optim"):
        rest = [other for other in choices if other != name]
        if name in choices and rest and follows(name, *rest):
            choices = rest
    kept = choices[:]
    for name in columns:
        if "." in name and not any(follows(name, choice) for choice in choices):
            kept.append(name)
    return [name for place, name in enumerate(kept) if not any(_same(columns[name], columns[other]) for other in kept[:place])]


def _same(one: list[str], other: list[str]) -> bool:
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))


def by_seed(rows: Iterable[Run], name: str) -> dict[Any, float]:
    """A value by seed; runs of the same seed are averaged, and a run without one stands for itself."""
    found: dict[Any, list[float]] = {}
    for run in rows:
        value = run.values.get(name)
        if value is not None and math.isfinite(value):
            found.setdefault(run.path if run.seed is None else run.seed, []).append(float(value))
    return {seed: sum(values) / len(values) for seed, values in found.items()}


def why_not(run: Run) -> str | None:
    """Why a run cannot be ranked; None where it can."""
    if run.status != "finished":
        return run.facts.get("error") or _REASONS.get(run.status, "")
    if run.facts.get("validation") not in ("holdout", "test"):
        return "finished, without a word whether it held images out for validation or watched the test images"
    for name in {kind_of(run).score, TEST}:
        value = run.values.get(name)
        if value is None or not math.isfinite(value):
            return f"finished, without {name}: it diverged, or was not measured"
        if not 0 <= value <= 1:
            return f"finished, with {name} = {value:g}, which is no fraction"
    return None


def kind_of(run: Run) -> Kind:
    """The ranking that a run belongs to."""
    return Kind(
        watched=run.watched,
        data=run.facts.get("data", "unknown data"),
        images=_count(run.values.get("test/images")),
        held_out=0 if run.watched else _held_out(run),
        # A flag is neither a number nor a word of a summary; the settings have it as the run was tested.
        flip=run.settings.get("test_time_flip") in (True, "true", "True"),
        evaluated=run.facts.get("evaluated", "") if run.watched else "",
        fingerprint=run.facts.get("data_fingerprint", ""),
    )


def _held_out(run: Run) -> int:
    """How many images were validated; 0 where the summary, of an earlier version, does not say, and its settings do not."""
    if "val/images" in run.values:
        return _count(run.values["val/images"])
    size, limit = run.settings.get("data.val_size"), run.settings.get("trainer.limit_val_batches")
    whole = limit is None or (isinstance(limit, float) and limit == 1.0)
    return int(str(size)) if whole and str(size).isdecimal() else 0


def _with_known(groups: dict[Kind, list[Run]]) -> dict[Kind, list[Run]]:
    """Runs that do not say how many images they held out, with those that do, where these agree."""
    found: dict[Kind, list[Run]] = {}
    for kind, group in groups.items():
        told = [other for other in groups if other.held_out and replace(other, held_out=0) == kind]
        found.setdefault(told[0] if len(told) == 1 else kind, []).extend(group)
    return found


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


def rank(rows: Iterable[Run], top: int = 8) -> tuple[list[Board], list[tuple[Run, str]]]:
    """Every ranking, held-out validation before watched, larger before smaller; and the runs left out, with reasons."""
    groups: dict[Kind, list[Run]] = {}
    left: list[tuple[Run, str]] = []
    for run in rows:
        reason = why_not(run)
        if reason is None:
            groups.setdefault(kind_of(run), []).append(run)
        else:
            left.append((run, reason))
    prints: dict[str, set[str]] = {}
    for kind in groups:
        prints.setdefault(kind.data, set()).add(kind.fingerprint)
    groups = _with_known(groups)
    # Said only where it tells rankings apart.
    groups = {kind if len(prints[kind.data]) > 1 else replace(kind, fingerprint=""): group for kind, group in groups.items()}
    kinds = sorted(groups, key=lambda kind: (kind.watched, -len(groups[kind]), kind))
    boards: list[Board] = []
    for kind in kinds:
        alike = sum(other.kind.watched == kind.watched for other in boards)
        slug = ("watched" if kind.watched else "held-out") + (f"-{alike + 1}" if alike else "")
        boards.append(Board(kind, tuple(_entries(kind, groups[kind])), slug, top))
    return boards, left


def _entries(kind: Kind, members: Sequence[Run]) -> list[Entry]:
    found = [(recipe, _columns(recipe)) for recipe in runs.recipes(members)]
    found.sort(key=lambda pair: (-pair[1][kind.score].mean, pair[0].label))
    best = found[0][0].runs
    tests = [compare.difference(by_seed(recipe.runs, TEST), by_seed(best, TEST)) for recipe, _ in found[1:]]
    scores = [compare.difference(by_seed(recipe.runs, kind.score), by_seed(best, kind.score)) for recipe, _ in found[1:]]
    corrected = compare.holm([test.p for test in tests])
    entries = [Entry(1, *found[0])]
    for place, (recipe, columns) in enumerate(found[1:]):
        entries.append(Entry(place + 2, recipe, columns, tests[place], scores[place], corrected[place]))
    return entries


def _columns(recipe: Recipe) -> dict[str, Estimate]:
    values = {name: list(by_seed(recipe.runs, name).values()) for name in COLUMNS}
    return {name: compare.estimate(sample) for name, sample in values.items() if sample}
