"""Learning curves: accuracy, loss and learning rate against the epoch, the mean of a recipe's seeds with their range."""

from typing import Any

import numpy as np

from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.history import METRICS
from cifar_lit.report.subject import Subject

COLUMNS = ("rank", "recipe", "epoch", *(f"{name} {part}" for name in METRICS for part in ("mean", "low", "high", "n")))
Band = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
DIVERGED = 1000.0  # nats: a guess among a hundred classes costs 4.6
_WIDE = 20.0  # values that differ by more than this factor are drawn on a logarithmic scale


def draw_all(subject: Subject) -> list[Drawn | str]:
    """A figure a metric; they share one table, which holds every recipe."""
    watched = subject.board.kind.watched
    seen = "Test" if watched else "Validation"
    rows = table(subject)
    wanted = (
        ("val/acc", f"{seen} accuracy", "accuracy (%)",
         "The test images, looked at after every epoch." if watched else "Held-out training images, after every epoch."),
        ("train/acc", "Training accuracy", "accuracy (%)",
         "The running mean of each epoch, on augmented images; where labels are mixed, of the larger share."),
        ("val/loss", f"{seen} loss", "loss (nats)", "Plain cross-entropy, whatever loss was trained with."),
        ("train/loss", "Training loss", "loss (nats)", "What was trained with; different losses are not to be compared."),
        ("lr", "Learning rate", "learning rate", "At the end of each epoch. Where lines coincide, their widths differ."),
    )  # fmt: skip
    drawn = [_metric(subject, name, title, unit, words, rows) for name, title, unit, words in wanted]
    found: list[Drawn | str] = [figure for figure in drawn if figure]
    return found or ["Learning curves: no run has a metrics.csv that can be read."]


def table(subject: Subject) -> list[list[Any]]:
    """The curves of every recipe: a row an epoch, fractions and nats, empty where nothing was measured."""
    rows: list[list[Any]] = subject.cache.setdefault(COLUMNS, [])
    for entry in subject.board.entries if not rows else ():
        curves = subject.curves[entry.rank]
        parts = [np.char.mod("%.6g", part) for part in (curves.mean, curves.low, curves.high, curves.n)]
        cells = np.stack(parts, axis=2).reshape(len(curves.mean), 4 * len(METRICS))
        cells[cells == "nan"] = ""
        rows += [[entry.rank, entry.label, epoch + 1, *line] for epoch, line in enumerate(cells.tolist())]
    return rows


def _metric(subject: Subject, name: str, title: str, unit: str, words: str, rows: list[list[Any]]) -> Drawn | None:
    lines = [(entry, *subject.curves[entry.rank].of(name)) for entry in subject.first]
    if name.endswith("loss") and any((line[4] > DIVERGED).any() for line in lines):
        lines = [(line[0], *within(*line[1:])) for line in lines]
        words += f" Where a seed's is above {DIVERGED:,.0f}, it diverged and is not drawn."
    lines = [line for line in lines if len(line[1])]
    if not lines:
        return None
    labels = subject.names([line[0] for line in lines])
    columns = 2 if max(len(label) for label in labels) <= 26 else 1
    left = 0.72 if name == "lr" else 0.62  # room for rates of four digits
    figure, axes = draw.sheet(title, legend=-(-len(lines) // columns), left=left)
    scale = 100 if name.endswith("acc") else 1
    handles = []
    for place, (_, epochs, mean, low, high) in enumerate(lines):
        looks = draw.look(lines[place][0].rank - 1)
        step = max(1, len(epochs) // 6)
        width = 3.2 - 0.28 * (place % 8) if name == "lr" else 1.5
        handles += axes.plot(
            epochs, scale * mean, markevery=(min(place * step // 8, len(epochs) - 1), step), linewidth=width, **looks
        )
        if len(subject.curves[lines[place][0].rank].single) > 1:
            axes.fill_between(epochs, scale * low, scale * high, color=looks["color"], alpha=0.16, linewidth=0)
    _log_where_wide(axes, name, np.concatenate([line[2] for line in lines]))
    axes.set_ylabel(unit)
    draw.whole_epochs(axes)
    draw.keys(figure, handles, labels, columns)
    band = " Line: mean over seeds; band: lowest to highest seed." if any(e.seeds > 1 for e, *_ in lines) else ""
    more = f" The first {len(lines)} of {len(subject.board.entries)} recipes; the table has all." if _more(subject) else ""
    return draw.finish(
        subject.name("curve-" + name.replace("/", "-")), figure, title, words + band + more, COLUMNS, rows, subject.name("curves")
    )


def within(epochs: np.ndarray, mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> Band:
    """A loss without the epochs in which it had diverged."""
    there = high <= DIVERGED
    return epochs[there], mean[there], low[there], high[there]


def _more(subject: Subject) -> bool:
    return len(subject.board.entries) > len(subject.first)


def _log_where_wide(axes: Any, name: str, values: np.ndarray) -> None:
    if name == "lr":  # it ends near zero; what tells recipes apart is how high it went
        return
    above = values[values > 0]
    if name.endswith("loss") and len(above) == len(values) and above.max() > _WIDE * above.min():
        draw.logarithmic(axes, "y")
