"""`repeat=N`: a sweep over N seeds in one process, and what its jobs come to."""

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from cifar_lit import runs
from cifar_lit.atomic import writing
from cifar_lit.cli.errors import UsageError

FILE = "seeds.json"
# Of a summary, what is summed up over the seeds.
_SCORES = (
    "test/acc",
    "val/acc",
    "train/acc",
    "prepare_seconds",
    "compile_seconds",
    "train_seconds",
    "trained_seconds",
    "fit_seconds",
)


def expanded(arguments: list[str]) -> list[str]:
    """The arguments with `repeat=N` written out: a sweep over the N seeds from `seed` (0 where none is given)."""
    given = [item for item in arguments if item.startswith("repeat=")]
    if not given:
        return arguments
    value = given[-1].removeprefix("repeat=")
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(f"repeat={value}: allowed is a whole number from 1")
    if "hydra/sweeper=optuna" in arguments:
        raise UsageError(f"repeat={value} is a sweep over seeds, and hydra/sweeper=optuna would search for the best one: use one")
    typed = [item for item in arguments if item.startswith("seed=")]
    first = typed[-1].removeprefix("seed=") if typed else "0"
    if not first.isdecimal():
        raise UsageError(f"repeat={value} counts up from one seed: give seed=<number>, not seed={first}")
    rest = [item for item in arguments if item not in (*given, *typed, "-m", "--multirun")]
    return ["-m", *rest, f"seed=range({int(first)},{int(first) + int(value)})"]


def over_seeds(summaries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each set of finished runs that differ in nothing but the seed, where there are two or more of them.

    Every score is given as mean, sample standard deviation and minimum. Runs of one seed on two machines count twice.
    """
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for summary in summaries:
        if summary["status"] == "finished":
            groups[tuple(item for item in runs.identity(summary["overrides"]) if not item.startswith("seed="))].append(summary)
    return [_row(list(overrides), group) for overrides, group in groups.items() if len(group) > 1]


def _row(overrides: list[str], group: list[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"overrides": overrides, "runs": len(group), "seeds": sorted(summary["seed"] for summary in group)}
    for name in _SCORES:
        values = [summary[name] for summary in group if summary.get(name) is not None]
        if len(values) > 1:
            row[name] = {"mean": statistics.mean(values), "std": statistics.stdev(values), "min": min(values)}
    return row


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write seeds.json into the folder of a sweep."""
    with writing(folder / FILE) as part:
        part.write_text(json.dumps(rows, indent=2) + "\n")
