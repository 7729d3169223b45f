"""How the loss lies around a network, trained and untrained, on one scale: contours, surfaces, and the numbers."""

import csv
import sys
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.axes3d import Axes3D

from cifar_lit.atomic import writing
from cifar_lit.explain import draw, landscape, verdicts
from cifar_lit.explain.landscape import NETS, Grid, Probe
from cifar_lit.explain.request import Request
from cifar_lit.model.registry import build
from cifar_lit.seeding import derive, numpy_generator

# Points along each direction, and images at each: 48 thousand images through each network, 220 thousand, and 5 million.
BUDGETS = {"minutes": (11, 400), "hour": (21, 500), "full": (51, 2000)}
RANGE = 1.0
_SAVE_SECONDS = 5.0
_ALONG = ("first direction (filter lengths)", "second direction (filter lengths)")
_HIGHEST = 1e4  # losses above are drawn as this: far from the weights they grow without limit
_MOST_IMAGES = 50_000


def run(request: Request) -> list[Path]:
    """Measure what is not measured yet, and draw. Returns the files. A command that is stopped goes on where it was."""
    predictor = request.predictor
    points, count = BUDGETS[request.budget]
    points, span, count = request.points or points, request.span or RANGE, _count(request) or count
    split = request.tests.test if predictor.facts.data == "synthetic" else request.tests.train
    kind = "drawn" if predictor.facts.data == "synthetic" else "training"
    count = min(count, len(split.labels))
    chosen = np.sort(numpy_generator(request.seed, "landscape").permutation(len(split.labels))[:count])
    seen = predictor.normalise(np.stack([predictor.prepare(split.images[index]) for index in chosen]))
    truth = np.asarray(split.labels)[chosen]
    origin = predictor.facts.origin.get("seed")
    began = origin if isinstance(origin, int) else request.seed
    file = request.out / "loss_landscape.npz"
    name = landscape.identity(predictor.net, seen, truth, points=points, span=span, seed=request.seed, began=began)
    grid = landscape.opened(file, name, points, span)
    if grid.left:
        images = torch.from_numpy(seen).to(predictor.device)
        labels = torch.from_numpy(truth).long().to(predictor.device)
        network = predictor.facts.network
        fresh = landscape.untrained(lambda: build(network), predictor.net, images, derive(began, "weights"))
        _measure(grid, [Probe(net, request.seed, images, labels) for net in (predictor.net, fresh)], file)
    about = f"{draw.plain(predictor.facts.title, 60)}: {count} {kind} images, {points}x{points} points, seed {request.seed}"
    return [
        file,
        _write_table(grid, request.out / "loss_landscape.csv"),
        draw.write(_losses(grid, about), request.out / "loss_landscape.png"),
        draw.write(_accuracies(grid, about), request.out / "accuracy_landscape.png"),
        verdicts.write(f"Landscape of {about}", verdicts.landscape(grid.steps, grid.loss), request.out / "loss_landscape.md"),
    ]


def _count(request: Request) -> int | None:
    """How many images were asked for: --images takes a number here."""
    if not request.images:
        return None
    value = request.images[0]
    if len(request.images) > 1 or not value.isdecimal() or not 1 <= int(value) <= _MOST_IMAGES:
        raise ValueError(f"--images {' '.join(request.images[:3])}: for loss_landscape give how many, 1 to {_MOST_IMAGES}")
    return int(value)


def _measure(grid: Grid, probes: list[Probe], file: Path) -> None:
    from rich.console import Console  # drawn while measuring only
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    left, total = grid.left, grid.loss.size
    if len(left) < total:
        print(f"Going on with {file}: {total - len(left)} of {total} points are there", file=sys.stderr)
    saved = time.monotonic()
    columns = (TextColumn("loss landscape"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("", total=total, completed=total - len(left))
            for net, row, column in left:
                place = net, row, column
                grid.loss[place], grid.accuracy[place] = probes[net](grid.steps[column], grid.steps[row])
                progress.advance(bar)
                if time.monotonic() - saved > _SAVE_SECONDS:
                    landscape.save(file, grid)
                    saved = time.monotonic()
    finally:  # Ctrl-C too
        landscape.save(file, grid)


def _write_table(grid: Grid, path: Path) -> Path:
    with writing(path) as part, open(part, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("network", "first direction", "second direction", "loss", "acc"))
        for net, row, column in np.ndindex(*grid.loss.shape):
            numbers = (grid.steps[column], grid.steps[row], grid.loss[net, row, column], grid.accuracy[net, row, column])
            rows.writerow((NETS[net], *(f"{number:.6g}" for number in numbers)))
    return path


def shown(loss: np.ndarray) -> np.ndarray:
    """Losses as they are drawn: what is no number, or above what can be drawn, as the highest."""
    return np.clip(np.nan_to_num(loss, nan=_HIGHEST, posinf=_HIGHEST), 1e-3, _HIGHEST)


def _losses(grid: Grid, about: str) -> Figure:
    values = shown(grid.loss)
    least, most = float(values.min()), max(float(values.max()), 1.01 * float(values.min()))
    norm = LogNorm(least, most)
    figure = Figure(figsize=(10, 8.6), dpi=draw.DPI)
    places = figure.subplot_mosaic(
        [["c0", "c1"], ["s0", "s1"]],
        per_subplot_kw={("s0", "s1"): {"projection": "3d"}},
        # By hand: constrained layout does not see the labels of a surface, and cuts off others for it.
        gridspec_kw={"left": 0.08, "right": 0.85, "top": 0.88, "bottom": 0.03, "wspace": 0.26, "hspace": 0.18},
    )
    lines = np.geomspace(least, most, 15)
    logs, low, high = np.log10(values), np.log10(least), np.log10(most)
    for net, name in enumerate(NETS):
        axes = places[f"c{net}"]
        _contours(axes, grid, values[net], lines, norm, "%.3g")
        axes.set_title(f"{name}: loss {grid.loss[net][_middle(grid)]:.3g} in the middle, {_span(grid.loss[net])}", fontsize=10)
        solid = places[f"s{net}"]
        assert isinstance(solid, Axes3D)
        across, down = np.meshgrid(grid.steps, grid.steps)
        colours = ScalarMappable(norm, "viridis").to_rgba(values[net])
        solid.plot_surface(
            across, down, logs[net], facecolors=colours, rstride=1, cstride=1, linewidth=0, antialiased=True, shade=False
        )
        solid.set_zlim(low, high)
        ticks = np.linspace(low, high, 5)
        solid.set_zticks(ticks, [f"{10**tick:.3g}" for tick in ticks])
        solid.set_xlabel(_ALONG[0], fontsize=8, labelpad=6)
        solid.set_ylabel(_ALONG[1], fontsize=8, labelpad=8)
        solid.set_zlabel("cross-entropy (nats)", fontsize=8, labelpad=6)
        solid.tick_params(labelsize=7, pad=1)
        for axis in "xy":
            solid.locator_params(axis, nbins=5)
        solid.view_init(elev=28, azim=-58)
        solid.set_box_aspect(None, zoom=0.9)
    ends = np.geomspace(least, most, 7)
    beside = figure.add_axes((0.885, 0.5, 0.018, 0.38))
    bar = figure.colorbar(ScalarMappable(norm, "viridis"), cax=beside, ticks=ends, format="%.3g")
    bar.ax.minorticks_off()
    bar.set_label("cross-entropy (nats), one scale for all")
    figure.suptitle(f"{about}\nBoth directions are random, each filter scaled to the length of the network's own")
    return figure


def _accuracies(grid: Grid, about: str) -> Figure:
    figure = Figure(figsize=(10, 4.6), dpi=draw.DPI, layout="constrained")
    norm = Normalize(0, 100 * max(grid.accuracy.max(), 0.01))
    lines = np.linspace(norm.vmin or 0.0, norm.vmax or 1.0, 11)
    left = figure.subplots(1, 2)
    for net, name in enumerate(NETS):
        _contours(left[net], grid, 100 * grid.accuracy[net], lines, norm, "%.0f%%" if lines[-1] >= 20 else "%.1f%%")
        left[net].set_title(f"{name}: {100 * grid.accuracy[net][_middle(grid)]:.1f}% in the middle", fontsize=10)
    figure.colorbar(ScalarMappable(norm, "viridis"), ax=list(left), label="accuracy (%), one scale for both")
    figure.suptitle(about)
    return figure


def _contours(axes: Axes, grid: Grid, values: np.ndarray, lines: np.ndarray, norm: Normalize, form: str) -> None:
    axes.contourf(grid.steps, grid.steps, values, levels=lines, norm=norm, cmap="viridis", extend="both")
    inside = lines[(lines > values.min()) & (lines < values.max())]
    if len(inside):
        drawn = axes.contour(grid.steps, grid.steps, values, levels=inside, colors="white", linewidths=0.6)
        axes.clabel(drawn, fmt=form, fontsize=7)
    axes.plot(0, 0, "+", color="#d55e00", markersize=10, markeredgewidth=2)
    axes.locator_params(nbins=5)
    axes.set(xlabel=_ALONG[0], ylabel=_ALONG[1], aspect="equal")


def _middle(grid: Grid) -> tuple[int, int]:
    return len(grid.steps) // 2, len(grid.steps) // 2


def _span(loss: np.ndarray) -> str:
    low, high = np.nanmin(loss), np.nanmax(loss)
    return f"{low:.3g} to {high:.3g}"
