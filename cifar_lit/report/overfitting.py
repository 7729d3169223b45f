"""Does a recipe over-fit, and what to do: the train-test gap, when it was best, and whether its validation loss rises again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cifar_lit.report.history import METRICS, Curves
from cifar_lit.report.ranking import Entry
from cifar_lit.report.words import percent, points
from cifar_lit.runs import GAP, REMEDIES

# Training accuracy is the running mean of an epoch, on augmented images: within a point or two of the test's, nothing was
# learned by heart.
SMALL_GAP = 0.02
# From its lowest to the last epoch. Between two epochs a validation loss moves by a few percent without meaning anything.
LOSS_RISE = 0.05
# The last fifth of the epochs is where schedules bring the learning rate down: a best epoch before it is an early one.
EARLY = 0.8
# What stopping at the best epoch would have to gain to be worth saying: one point.
LOST = 0.01


@dataclass(frozen=True)
class Fit:
    """How a recipe fits, in means over its runs; epochs count from 1. None where no run measured it."""

    gap: float | None
    train: float | None
    best_epoch: float | None
    epochs: float | None
    loss_rise: float | None
    lost: float | None

    @property
    def over(self) -> bool:
        """Whether it over-fits: by the gap, or by a validation loss that rises while the best epoch is past."""
        return (self.gap or 0.0) > GAP or ((self.loss_rise or 0.0) > LOSS_RISE and self._early and (self.lost or 0.0) > 0)

    @property
    def _early(self) -> bool:
        return self.best_epoch is not None and self.epochs is not None and self.best_epoch < EARLY * self.epochs

    @property
    def verdict(self) -> str:
        """One or two words."""
        if self.over:
            return "over-fits"
        if self.gap is None:
            return "unknown"
        if self.gap < SMALL_GAP and (self.train or 0.0) < 1 - GAP:
            return "under-fits"
        return "no sign"

    @property
    def advice(self) -> str:
        """Sentences."""
        words = []
        if (self.gap or 0.0) > GAP:
            words.append(f"Training accuracy is {points(self.gap, 1).lstrip('+')} points above test accuracy: try {REMEDIES}.")
        if self._early and (self.lost or 0.0) > LOST:
            words.append(
                f"Best in epoch {self.best_epoch:.0f} of {self.epochs:.0f}, {percent(self.lost, 1)} points above the last:"
                " train fewer epochs, or use callbacks=early_stopping."
            )
        if (self.loss_rise or 0.0) > LOSS_RISE:
            words.append(
                f"Validation loss ends {100 * (self.loss_rise or 0.0):.0f}% above its lowest: the network grows sure of its"
                " mistakes; loss=label_smoothing or fewer epochs, and the temperature for its probabilities."
            )
        if self.verdict == "under-fits":
            words.append(
                f"Training accuracy is less than {100 * SMALL_GAP:.0f} points above test accuracy: more epochs, a larger network"
                " or weaker augmentation may help."
            )
        if not words:
            words.append("Nothing to do." if self.gap is not None else "No training accuracy was recorded.")
        return " ".join(words)


def fit(entry: Entry, curves: Curves) -> Fit:
    """How a recipe fits, from its curves and its summaries."""
    best, lengths, rises, lost = [], [], [], []
    accuracy, loss = METRICS.index("val/acc"), METRICS.index("val/loss")
    for table in curves.single:
        there = np.flatnonzero(~np.isnan(table[:, accuracy]))
        if len(there):
            column = table[there, accuracy]
            best.append(there[column.argmax()] + 1)
            lengths.append(len(table))
            lost.append(column.max() - column[-1])
        losses = table[~np.isnan(table[:, loss]), loss]
        if len(losses) and losses.min() > 0:
            rises.append(losses[-1] / losses.min() - 1)

    def mean(values: Sequence[float]) -> float | None:
        return float(np.mean(values)) if values else None

    return Fit(entry.mean("gap"), entry.mean("train/acc"), mean(best), mean(lengths), mean(rises), mean(lost))
