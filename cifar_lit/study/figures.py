"""Figures that several studies share, in the report's style."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from cifar_lit.report import draw, history
from cifar_lit.report.draw import Drawn
from cifar_lit.report.figures import rows as rowed
from cifar_lit.report.words import plain, points
from cifar_lit.study import words
from cifar_lit.study.block import Block
from cifar_lit.study.found import Level, Strand

_TALL = 12  # levels beyond it are not drawn as curves


def curve(axes: Axes, level: Level, index: int, name: str, scale: float = 100.0) -> Any:
    """A level's mean curve over its seeds, and a band from the lowest to the highest. Returns its line."""
    curves = history.curves(level.runs)
    epochs, mean, low, high = curves.of(name)
    looks = draw.look(index)
    (line,) = axes.plot(epochs, scale * mean, **looks)
    if len(level.runs) > 1:
        axes.fill_between(epochs, scale * low, scale * high, color=looks["color"], alpha=0.16, linewidth=0)
    return line


def curve_rows(levels: Sequence[Level], names: Sequence[str]) -> list[list[Any]]:
    """The numbers of curves: level, epoch, and of each metric mean, lowest, highest and how many runs."""
    rows: list[list[Any]] = []
    for level in levels:
        curves = history.curves(level.runs)
        for epoch in range(len(curves.mean)):
            cells: list[Any] = [level.label, epoch + 1]
            for name in names:
                place = history.METRICS.index(name)
                parts = (curves.mean, curves.low, curves.high)
                n = int(curves.n[epoch, place])
                cells += [*(float(f"{part[epoch, place]:.6g}") if n else "" for part in parts), n]
            rows.append(cells)
    return rows


def curve_columns(names: Sequence[str]) -> tuple[str, ...]:
    """The head of `curve_rows`."""
    return ("level", "epoch", *(f"{name} {part}" for name in names for part in ("mean", "low", "high", "n")))


def learning(strand: Strand, by: str) -> Drawn | None:
    """The accuracy that levels are chosen by against the epoch, a line a level. by: what levels are, for the title."""
    title = f"{words.measured(strand).capitalize()} by {by}"
    levels = strand.levels[:_TALL]
    columns = 2 if max(len(level.label) for level in levels) <= 26 else 1
    with draw.style():
        figure, axes = draw.sheet(title, legend=-(-len(levels) // columns))
        lines = [curve(axes, level, index, "val/acc") for index, level in enumerate(levels)]
        if not any(len(line.get_xdata()) for line in lines):
            return None
        axes.set_ylabel(f"{words.measured(strand)} (%)")
        draw.whole_epochs(axes)
        draw.keys(figure, lines, [plain(level.label, 54) for level in levels], columns)
        caption = "Lines: means over seeds; bands: from the lowest seed to the highest."
        names = ("val/acc", "train/acc", "lr")
        return draw.finish("curves", figure, title, caption, curve_columns(names), curve_rows(levels, names))


def differences(name: str, title: str, label: str, block: Block, reference: str, caption: str) -> Drawn:
    """How far every level lies from one of them, with intervals."""
    others = [level for level in block.order if level != reference]
    with draw.style():
        figure, axes = rowed.sheet(title, [plain(level, 44) for level in others])
        # Not through the labels.
        places = np.arange(len(others))
        axes.vlines(0 * places, places - 0.1, places + 0.4, color=draw.INK, linewidth=0.9)
        table: list[list[Any]] = [[reference, block.means[reference], len(block.values[reference]), 0.0, "", ""]]
        for place, level in enumerate(others):
            gap = block.gap(level, reference)
            colour = draw.PALETTE[0] if gap.told else draw.QUIET
            if gap.low is not None and gap.high is not None:
                axes.plot([100 * gap.low, 100 * gap.high], [place + 0.14] * 2, color=colour, linewidth=1.6)
            face = colour if gap.told else draw.GROUND
            axes.plot(100 * gap.mean, place + 0.14, "o", color=colour, markerfacecolor=face, markersize=5.5)
            axes.text(
                0.997, place - 0.26, points(gap.mean), transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=8
            )
            bounds = ["" if bound is None else bound for bound in (gap.low, gap.high)]
            table.append([level, block.means[level], len(block.values[level]), gap.mean, *bounds])
        axes.set_xlabel(label)
        axes.margins(x=0.06)
        columns = ("level", "mean", "seeds", f"difference to {reference}", "low", "high")
        return draw.finish(name, figure, title, caption, columns, table)
