"""Run directories as typed rows, and the recipes that their runs are repetitions of."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cifar_lit.runs.binding import completed
from cifar_lit.runs.files import NOT_IDENTITY, SCHEMA, STATUSES, SUMMARY, find, is_running, read_metrics

# What differs between runs of one recipe, or only says where and how they were carried out.
_NOT_SETTINGS = ("seed", "name", "overrides", "resume", "objective", "params", "git", "data.root", "data.download")
_EXACT = 2**53  # from here on a float is no longer one whole number
_NOT_RECIPE = ("logger", "choices.logger", "choices.callbacks/", "callbacks.progress_bar")


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """What makes a run's recipe, from its composed configuration: `optimizer.lr` -> 0.1, and `model` -> the option chosen."""
    flat: dict[str, Any] = {}

    def walk(value: Any, name: str) -> None:
        if not _is_setting(name):
            return
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{name}.{key}" if name else str(key))
        elif value is not None or name not in flat:  # `mix: null` says less than the option `none` that was chosen
            flat[name.removeprefix("choices.")] = _whole(name, value)

    walk(config, "")
    return flat


def _is_setting(name: str) -> bool:
    """Whether a key has a part in the recipe; what an object is told of the run's directory, as pruning is, has none."""
    last = name.rpartition(".")[2]
    return not (name in _NOT_SETTINGS or last == "run_dir" or name.startswith(_NOT_RECIPE) or last.startswith("_"))


def as_tested(recipe: dict[str, Any], summary: dict[str, Any]) -> dict[str, Any]:
    """Settings with what the summary says of the test: a run that was resumed may be tested in another way than it began."""
    flip, weights = summary.get("test_time_flip"), summary.get("evaluated")
    told = {"test_time_flip": flip} if isinstance(flip, bool) else {}
    return recipe | told | ({"evaluate": weights} if isinstance(weights, str) else {})


def _whole(name: str, value: Any) -> Any:
    """A setting's value, where 0 and 0.0 are one number, and one recipe."""
    counts = name.rpartition(".")[2].startswith("limit_")  # 1 is a batch, and 1.0 all of them
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT and not counts else value


def _too_long(value: Any) -> bool:
    """Whether a number is an integer that no float can hold."""
    return isinstance(value, int) and abs(value) > sys.float_info.max


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run as a row. settings: its recipe, by name, as it was tested; values: every number of its summary; facts: every word.

    status: one of STATUSES, or `killed` (no summary was written), or `running`.
    """

    path: Path
    status: str
    seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def watched(self) -> bool:
        """Whether the test images were watched while it trained: its results are of another kind."""
        return self.facts.get("validation") == "test"

    def curves(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, read when asked for."""
        return read_metrics(self.path)


@dataclass(frozen=True)
class Broken:
    """A run directory that cannot be read, and why."""

    path: Path
    reason: str


def collect(roots: Iterable[Path]) -> tuple[list[Run], list[Broken]]:
    """Every run under some roots, each once, in order of place; those that cannot be read apart. Nothing here is fatal."""
    rows: list[Run] = []
    broken: list[Broken] = []
    seen = set()
    for root in roots:
        for path in find(root):
            if (real := path.resolve()) in seen:
                continue
            seen.add(real)
            row = _row(path)
            if isinstance(row, Run):
                rows.append(row)
            else:
                broken.append(row)
    return rows, broken


def _row(path: Path) -> Run | Broken:
    file = path / SUMMARY
    if not file.exists():
        return Run(path=path, status="running" if is_running(path) else "killed")
    try:
        summary = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        return Broken(path, f"{SUMMARY}: {' '.join(str(error).split())[:120]}")
    if not isinstance(summary, dict) or summary.get("schema") != SCHEMA:
        return Broken(path, f"{SUMMARY}: not a summary of schema {SCHEMA}")
    if summary.get("status") not in STATUSES:
        return Broken(path, f"{SUMMARY}: status {str(summary.get('status'))[:40]!r}")
    typed, seed = summary.get("overrides"), summary.get("seed")
    recipe = summary.get("config")
    if not isinstance(recipe, dict):  # of a version before settings were kept
        pairs = (
            [str(item).partition("=") for item in typed if not str(item).startswith(NOT_IDENTITY)]
            if isinstance(typed, list)
            else []
        )
        recipe = {name.lstrip("+~"): value for name, _, value in pairs}
    # Older ones name the directory.
    recipe = {name: _whole(name, value) for name, value in completed(recipe).items() if _is_setting(name)}
    absurd = next((name for name, value in (*summary.items(), *recipe.items()) if _too_long(value)), None)
    if absurd is not None:
        return Broken(path, f"{SUMMARY}: {str(absurd)[:40]} is a number too large for anything to be computed with")
    numbers = {name: value for name, value in summary.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    return Run(
        path=path,
        status=summary["status"],
        seed=seed if isinstance(seed, int) else None,
        settings=as_tested(recipe, summary),
        values=numbers,
        facts={name: value for name, value in summary.items() if isinstance(value, str)},
    )


@dataclass(frozen=True)
class Recipe:
    """Runs that differ in nothing but their seeds. label: what sets the recipe apart from the others it came with."""

    label: str
    settings: dict[str, Any]
    runs: tuple[Run, ...]


def recipes(rows: Iterable[Run]) -> list[Recipe]:
    """Runs grouped by their settings, in the order of their first runs."""
    groups: dict[str, list[Run]] = {}
    for row in rows:
        groups.setdefault(json.dumps(row.settings, sort_keys=True, default=str), []).append(row)
    first = [members[0].settings for members in groups.values()]
    names = varied(first)
    labels = [" ".join(f"{name}={word(config.get(name))}" for name in names) for config in first]
    if not names:
        labels = [members[0].facts.get("experiment", "the runs") for members in groups.values()]
    return [Recipe(label, config, tuple(group)) for label, config, group in zip(labels, first, groups.values(), strict=True)]


def varied(configs: list[dict[str, Any]]) -> list[str]:
    """The fewest settings that tell some recipes apart, the chosen options before the numbers that came with them.

    A choice, as of the network, is left out only where other choices imply it, never since numbers tell the recipes apart.
    """
    every = dict.fromkeys(name for config in configs for name in config)
    values = {name: [json.dumps(config.get(name), default=str) for config in configs] for name in every}
    names = [name for name, column in values.items() if len(set(column)) > 1]

    def kinds(chosen: list[str]) -> int:
        return len(set(zip(*(values[name] for name in chosen), strict=True)))

    pair, sums = ("optimizer", "scheduler"), {"experiment", "study"}  # sums: words for what other settings say one by one
    paired = all(config.get("optim") == f"{config.get('optimizer')}_{config.get('scheduler')}" for config in configs)
    if paired and {"optim", *pair} <= set(names):
        names = [name for name in names if name not in pair]
    else:  # one of the two was replaced, or is the same for all
        sums.add("optim")
    asked = set(pair) if set(pair) <= set(names) else set()
    for name in sorted(set(names) - asked, key=lambda name: (0 if name in sums else 1 if "." in name else 2, names.index(name))):
        by = [other for other in names if other != name and (name in sums or "." in name or "." not in other)]
        if by and kinds(by) == kinds([*by, name]):
            names.remove(name)
    return names


def word(value: Any) -> str:
    """A setting's value as it is typed: 1.0, where it is not the same as 1."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return f"{value:.1f}"
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
