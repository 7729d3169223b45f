"""Figures with a row a recipe: the label stands above its row, so that long ones fit on a phone."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_lit.report import draw

ROW = 0.38  # inches


def sheet(title: str, labels: Sequence[str], *, legend: int = 0, row: float = ROW) -> tuple[Figure, Axes]:
    """Axes whose rows are 0, 1, 2 ... downwards, each with its label above it."""
    figure, axes = draw.sheet(title, row * len(labels) + 0.1, left=0.16, legend=legend)
    axes.set(ylim=(len(labels) - 0.38, -0.75), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    for place, label in enumerate(labels):
        axes.text(0.004, place - 0.26, label, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
        axes.axhline(place + 0.5, color=draw.INK, alpha=0.1, linewidth=0.6)
    return figure, axes
