"""The pairs of classes most often confused as one picture: a row a pair, with images of it that were mistaken."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_lit.bundle import Facts
from cifar_lit.explain import draw

MISTAKES = 4  # images of each pair
_SMALL = 8.5  # points


@dataclass(frozen=True)
class Pair:
    """Images of class `true` that were taken for class `predicted`; `reverse`: how many the other way round."""

    true: int
    predicted: int
    images: int
    reverse: int


@dataclass(frozen=True, eq=False)
class Seen:
    """The test images (n, H, W, 3) of one class, and the probabilities (n, C) that the network gives them."""

    images: np.ndarray
    chances: np.ndarray


def draw_pairs(pairs: list[Pair], table: np.ndarray, facts: Facts, seen: dict[int, Seen], words: str) -> Figure:
    """A row a pair: its counts, images of the one class taken for the other, and of each class one that is recognised."""
    columns = MISTAKES + 2
    figure = Figure(figsize=(13, 1.95 * len(pairs) + 1.2), dpi=draw.DPI, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.09)  # type: ignore[union-attr,call-arg]
    grid = figure.subplots(len(pairs), columns + 1, squeeze=False, width_ratios=[2.1, *[1] * columns])
    for number, (pair, axes) in enumerate(zip(pairs, grid, strict=True), start=1):
        axes[0].text(0, 0.5, f"{number}.\n{_words(pair, table, facts)}", va="center", fontsize=10, linespacing=1.35)
        for cell, index in zip(axes[1:], mistakes(seen[pair.true], pair.predicted), strict=False):
            _mistake(cell, seen[pair.true], int(index), pair, facts)
        for cell, label in zip(axes[-2:], (pair.true, pair.predicted), strict=True):
            _recognised(cell, seen[label], label, facts)
        for cell in axes:
            if not cell.images:
                cell.set_axis_off()
    most = f"the {len(pairs)} pairs of classes" if len(pairs) > 1 else "the pair of classes"
    figure.suptitle(
        f"{draw.plain(facts.title, 60)}: {most} most often confused\n{words}\n"
        "✗ images of the first class that are taken for the second, the surest mistakes first;"
        " ✓ the most surely recognised of each class",
        fontsize=11,
    )
    return figure


def mistakes(own: Seen, predicted: int) -> np.ndarray:
    """Which images of a class are taken for another one, the surest first."""
    wrong = np.flatnonzero(own.chances.argmax(1) == predicted)
    return wrong[np.argsort(-own.chances[wrong, predicted], kind="stable")][:MISTAKES]


def _mistake(cell: Axes, own: Seen, index: int, pair: Pair, facts: Facts) -> None:
    draw.picture(cell, own.images[index], interpolation="nearest")
    lines = [
        f"{draw.plain(facts.classes[label], 18)} {draw.percent(float(own.chances[index, label]))}"
        for label in (pair.predicted, pair.true)
    ]
    cell.set_title("✗ " + "\n".join(lines), fontsize=_SMALL, color=draw.WRONG)


def _recognised(cell: Axes, own: Seen, label: int, facts: Facts) -> None:
    """The image of a class that is recognised most surely, where one is at all."""
    right = np.flatnonzero(own.chances.argmax(1) == label)
    if len(right):
        best = right[own.chances[right, label].argmax()]
        draw.picture(cell, own.images[best], interpolation="nearest")
        title = f"✓ {draw.plain(facts.classes[label], 18)}\n{draw.percent(float(own.chances[best, label]))}"
        cell.set_title(title, fontsize=_SMALL, color=draw.RIGHT)


def _words(pair: Pair, table: np.ndarray, facts: Facts) -> str:
    lines = []
    for true, predicted, images in ((pair.true, pair.predicted, pair.images), (pair.predicted, pair.true, pair.reverse)):
        whole = int(table[true].sum())
        share = f" of {whole} ({100 * images / whole:.0f}%)" if whole else ""
        lines.append(f"{draw.plain(facts.classes[true], 18)} → {draw.plain(facts.classes[predicted], 18)}: {images}{share}")
    one, other = facts.superclass(pair.true), facts.superclass(pair.predicted)
    if one is not None and other is not None:
        lines.append(f"same superclass: {draw.plain(one, 32)}" if one == other else "superclasses differ:")
        lines += [] if one == other else [f"{draw.plain(one, 36)},", draw.plain(other, 36)]
    return "\n".join(lines)
