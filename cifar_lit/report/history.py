"""Learning curves: metrics.csv of many runs as arrays, and their mean and range over the seeds of a recipe."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifar_lit import runs
from cifar_lit.runs import Run

METRICS = ("train/acc", "val/acc", "val/acc5", "train/loss", "val/loss", "lr")
_DIVERGED = 1e30
_MOST_EPOCHS = 100_000  # an epoch beyond it is a broken row, not a reason to ask for terabytes


def read(folder: Path) -> np.ndarray:
    """(epochs, METRICS) of one run, NaN where nothing was measured. As `runs.read_metrics` reads it, several times as fast."""
    try:
        head, *lines = runs.metrics_lines(folder)
    except (OSError, ValueError):
        return np.empty((0, len(METRICS)))
    names = head.split(",")
    if "epoch" not in names:
        return np.empty((0, len(METRICS)))
    at_epoch, places = names.index("epoch"), [names.index(name) if name in names else -1 for name in METRICS]
    found: dict[int, list[float]] = {}
    for line in lines:
        cells = line.split(",")
        try:
            row = [float(cell) if cell else np.nan for cell in cells]
            epoch = int(row[at_epoch])
        except (ValueError, IndexError, OverflowError):
            break  # a power cut tears the last row
        if not 0 <= epoch < _MOST_EPOCHS:
            break
        found[epoch] = [row[place] if 0 <= place < len(row) else np.nan for place in places]
    table = np.full((max(found, default=-1) + 1, len(METRICS)), np.nan)
    for epoch, values in found.items():
        table[epoch] = values
    table[~(np.abs(table) < _DIVERGED)] = np.nan  # infinite, or about to be: no mean can be taken of it
    return table


@dataclass(frozen=True)
class Curves:
    """A recipe's curves, each (epochs, METRICS): over the runs that measured an epoch, NaN where none did.

    single: the runs' own tables.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray
    single: tuple[np.ndarray, ...]

    def of(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """epochs counted from 1, mean, lowest and highest of a metric, at the epochs where it was measured."""
        place = METRICS.index(name)
        there = np.flatnonzero(self.n[:, place])
        return there + 1, self.mean[there, place], self.low[there, place], self.high[there, place]


def curves(members: Sequence[Run]) -> Curves:
    """The curves of a recipe's runs together."""
    single = tuple(read(run.path) for run in members)
    longest = max((len(table) for table in single), default=0)
    stack = np.full((max(len(single), 1), longest, len(METRICS)), np.nan)
    for table, place in zip(single, stack, strict=False):
        place[: len(table)] = table
    there = ~np.isnan(stack)
    n = there.sum(0)
    total = np.where(there, stack, 0.0).sum(0)
    mean = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
    low = np.where(there, stack, np.inf).min(0)
    high = np.where(there, stack, -np.inf).max(0)
    return Curves(mean, np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan), n, single)
