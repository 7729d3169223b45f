"""Grad-CAM of some images as one picture, R5's grid of 2x3: each image beside its overlay, its true and its predicted class."""

from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from cifar_lit.explain import draw, gradcam
from cifar_lit.explain.request import Request, Sample, samples
from cifar_lit.predict import Guess

COLUMNS = 3
MOST = 24  # images in one picture
_GAP = 12  # pixels between an image and its overlay


def run(request: Request) -> list[Path]:
    """Write gradcam.png: six test images, or the user's. Returns the files."""
    if len(request.images) > MOST:
        raise ValueError(f"--images: {len(request.images)} are given, allowed are {MOST} in one picture")
    predictor = request.predictor
    name = gradcam.layer_name(predictor)
    label = None if request.label is None else gradcam.class_index(predictor, request.label)
    shown = samples(request, 2 * COLUMNS)
    guesses = predictor.of_pixels(np.stack([sample.pixels for sample in shown]), top=len(predictor.facts.classes))
    columns, rows = min(COLUMNS, len(shown)), ceil(len(shown) / COLUMNS)
    high = 2.62 if label is None else 2.85  # inches: titles have a line more
    figure = Figure(figsize=(4.6 * columns + 0.5, high * rows + 0.65), dpi=draw.DPI, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, sample, ranked in zip(grid.flat, shown, guesses, strict=False):
        asked = ranked[0] if label is None else next(guess for guess in ranked if guess.index == label)
        heat = gradcam.heat_of_pixels(predictor, sample.pixels, asked.index)
        draw.picture(axes, _side_by_side(sample.pixels, heat))
        _entitle(axes, sample, ranked[0], asked, predictor.facts.classes, bool(heat.any()))
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_axis_off()
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), gradcam.COLOURS), ax=grid, fraction=0.08 / columns, pad=0.01)
    bar.set_label("share of the map's maximum", fontsize=10)
    what = "the predicted class" if label is None else draw.plain(predictor.facts.classes[label])
    figure.suptitle(f"{draw.plain(predictor.facts.title, 45)}\nGrad-CAM for {what}, layer {draw.plain(name, 28)}", fontsize=12)
    return [draw.write(figure, request.out / "gradcam.png")]


def _side_by_side(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    left, right = np.asarray(gradcam.enlarge(pixels)), np.asarray(gradcam.overlay(pixels, heat))
    gap = np.full((left.shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def _entitle(axes: Axes, sample: Sample, best: Guess, asked: Guess, classes: tuple[str, ...], drawn: bool) -> None:
    predicted = f"predicted: {draw.plain(best.label)} {draw.percent(best.probability)}"
    if sample.truth is None:
        title, colour = f"{draw.plain(sample.name, 34)}\n{predicted}", "black"
    else:
        right = sample.truth == best.index
        title = f"true: {draw.plain(classes[sample.truth])}\n{'✓' if right else '✗'} {predicted}"
        colour = draw.RIGHT if right else draw.WRONG
    if asked is not best:
        title += f"\nshown for: {draw.plain(asked.label)} {draw.percent(asked.probability)}"
    if not drawn:
        title += "\nnothing in it speaks for the class"
    axes.set_title(title, color=colour, fontsize=11)
