"""What every figure must have, asked of what was drawn: names and units on its axes, and looks that do without colour."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import same_color
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch

from cifar_lit.report import draw

UNIT = re.compile(r"\((%|s|min|h|nats|points|images|filter lengths)\)")
# Names, counts, and numbers without a unit; anything else on an axis is a quantity, and says what it is counted in.
UNITLESS = {"epoch", "images", "severity", "learning rate", "peak learning rate", "largest probability"}
_NUMBER = re.compile(r"[-\N{MINUS SIGN}]?[\d.]+(e[-+]?\d+)?%?|.*mathdefault.*")


@contextmanager
def keeping(figures: dict) -> Iterator[None]:
    """The figures of reports and studies by name, as they are finished."""
    finish = draw.finish

    def kept(name, figure, *rest):
        figures[name] = figure
        return finish(name, figure, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "finish", kept)
        yield


def check_axes(figure, *names: str) -> None:
    """Every axis with numbers has a label of its own, of a known unit or of what has none; names: more of the latter."""
    for axes in figure.axes:
        shown = getattr(axes, "_axis3don", axes.axison)  # of a surface matplotlib keeps it elsewhere
        for which in "xyz" if shown else "":
            axis = getattr(axes, f"{which}axis", None)
            label = axis.get_label_text().replace(".\n", ".") if axis else ""
            if not label and axis and _numbers(axis):
                label = _below(figure, axes) if which == "x" else ""
                assert label, f"{which} without a name beside {_numbers(axis)}"
            assert not label or UNIT.search(label) or label in UNITLESS.union(names), f"no unit: {label}"


def _numbers(axis) -> list[str]:
    """The numbers at the ticks of an axis; words need no other name."""
    return [text for label in axis.get_ticklabels() if label.get_visible() and _NUMBER.fullmatch(text := label.get_text())]


def _below(figure, axes) -> str:
    """The name under a column of panels over the same numbers."""
    place, ticks = axes.get_position(), _numbers(axes.xaxis)
    for other in figure.axes:
        box = other.get_position()
        under = box.y0 < place.y0 and (box.x0, box.x1) == (place.x0, place.x1)
        if under and other.get_xlabel() and _numbers(other.xaxis) == ticks:
            return str(other.get_xlabel())
    return ""


def check_words(figure) -> None:
    """Nothing is cut off at an edge, and no name of an axis lies over the figure's title or another name."""
    canvas = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    canvas.draw()
    drawn, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()
    assert -0.01 <= drawn.x0 < drawn.x1 <= width + 0.01, f"from {drawn.x0} to {drawn.x1}, of {width}"
    assert -0.01 <= drawn.y0 < drawn.y1 <= height + 0.01, f"from {drawn.y0} to {drawn.y1}, of {height}"
    named = [axis.label for axes in figure.axes if axes.axison for axis in (axes.xaxis, axes.yaxis) if axis.label.get_text()]
    for one, other in combinations([*figure.texts, *named], 2):
        boxes = one.get_window_extent(renderer), other.get_window_extent(renderer)
        assert not boxes[0].overlaps(boxes[1]), f"{one.get_text()!r} lies over {other.get_text()!r}"


def check_without_colour(figure) -> None:
    """What differs in colour differs in something else: line or marker, hatch, place or the words beside it."""
    legends = [legend for legend in (*figure.legends, *(axes.get_legend() for axes in figure.axes)) if legend]
    for legend in legends:
        assert legend.legend_handles
        for one, other in combinations(legend.legend_handles, 2):
            assert _look(one) != _look(other), [text.get_text() for text in legend.texts]
    for axes in figure.axes:
        for one, other in combinations(axes.get_lines(), 2):
            apart = _look(one) != _look(other) or len({_row(one), _row(other)} - {None}) == 2
            assert apart or same_color(one.get_color(), other.get_color()), _look(one)
        outlines = [patch for patch in axes.patches if isinstance(patch, StepPatch) and not patch.get_fill()]
        for one, other in combinations([patch for patch in axes.patches if not _outlined(patch, outlines)], 2):
            apart = _look(one) != _look(other) if one in outlines else one.get_extents().bounds != other.get_extents().bounds
            inks = [(patch.get_facecolor(), patch.get_edgecolor()) for patch in (one, other)]
            assert apart or all(map(same_color, *inks)), _look(one)
        for collection in axes.collections:
            if isinstance(collection, QuadMesh):
                assert len(axes.texts) + sum(bool(patch.get_hatch()) for patch in axes.patches) == collection.get_array().size
            elif isinstance(collection, PolyCollection):
                assert any(_inside(line, collection) for line in axes.get_lines()), "a band without its line"


def _outlined(patch, outlines: list[StepPatch]) -> bool:
    """Whether an area is only the ground under one of the outlines."""
    steps = isinstance(patch, StepPatch) and patch not in outlines
    return steps and any(np.array_equal(patch.get_data().values, outline.get_data().values) for outline in outlines)


def _look(artist) -> tuple:
    """Everything about a line or an area but its colour, its width and its place."""
    if not isinstance(artist, Line2D):
        return type(artist), artist.get_hatch(), artist.get_linestyle(), artist.get_fill()
    dashes = artist.get_linestyle() if artist.get_linestyle() == "None" else str(artist._unscaled_dash_pattern)
    face = artist.get_markerfacecolor()
    hollow = str(face) == "none" or same_color(face, draw.GROUND)
    marker = str(artist.get_marker())
    return dashes, marker, hollow and marker != "None"


def _row(line: Line2D) -> float | None:
    """The height of a level line or of marks side by side."""
    heights = set(np.asarray(line.get_ydata(), float).tolist())
    return heights.pop() if len(heights) == 1 else None


def _inside(line: Line2D, band: PolyCollection) -> bool:
    """Whether a band is around a line of its colour."""
    edge = band.get_paths()[0].vertices
    middle = np.column_stack([line.get_xdata(), line.get_ydata()]).astype(float)
    if not same_color(line.get_color(), band.get_facecolor()[0][:3]):
        return False
    own = [edge[edge[:, 0] == x, 1] for x, _ in middle]
    return all(len(ys) and ys.min() - 1e-9 <= y <= ys.max() + 1e-9 for ys, (_, y) in zip(own, middle, strict=True))
