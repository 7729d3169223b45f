"""What stride and padding do to the size of a feature map: one convolution over one image, nine ways."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from cifar_lit.atomic import writing
from cifar_lit.explain import draw, verdicts
from cifar_lit.explain.request import Request, samples

STRIDES, PADDINGS = (1, 2, 3), (0, 1, 2)
# Sobel's filter, over the mean of the colours: bright where the image gets lighter from left to right, dark where it gets darker.
KERNEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)


@dataclass(frozen=True)
class Map:
    """What one convolution made of an image: (h, w)."""

    stride: int
    padding: int
    values: np.ndarray


def side(pixels: int, kernel: int, stride: int, padding: int) -> int:
    """The side of a feature map by the formula: floor((n + 2p - k) / s) + 1."""
    return (pixels + 2 * padding - kernel) // stride + 1


def maps(pixels: np.ndarray) -> list[Map]:
    """An image (H, W, 3) uint8 through a network of one layer, with every stride and padding."""
    image = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    kernel = torch.from_numpy(KERNEL / 3).expand(1, 3, -1, -1)
    return [
        Map(stride, padding, F.conv2d(image, kernel, stride=stride, padding=padding)[0, 0].numpy())
        for stride in STRIDES
        for padding in PADDINGS
    ]


def run(request: Request) -> list[Path]:
    """Write stride_padding.png, stride_padding.csv and stride_padding.md. Returns the files."""
    if len(request.images) > 1:
        raise ValueError(f"--images: {len(request.images)} are given, stride_padding shows one")
    (sample,) = samples(request, 1)
    facts = request.predictor.facts
    name = sample.name if sample.truth is None else f"{sample.name}, {facts.classes[sample.truth]}"
    found = maps(sample.pixels)
    height, width = sample.pixels.shape[:2]
    words = verdicts.stride_padding((height, width), len(KERNEL), [(made.stride, made.padding, made.values) for made in found])
    return [
        draw.write(_figure(sample.pixels, found, name), request.out / "stride_padding.png"),
        _table(sample.pixels.shape[:2], found, request.out / "stride_padding.csv"),
        verdicts.write(f"Stride and padding, on {name}", words, request.out / "stride_padding.md"),
    ]


def _table(size: Sequence[int], found: Sequence[Map], path: Path) -> Path:
    kernel = len(KERNEL)
    with writing(path) as part, open(part, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            ("stride", "padding", "kernel", "height", "width", "map height", "map width", "height by formula", "formula")
        )
        for made in found:
            formula = f"floor(({size[0]} + 2*{made.padding} - {kernel}) / {made.stride}) + 1"
            by_formula = side(size[0], kernel, made.stride, made.padding)
            rows.writerow((made.stride, made.padding, kernel, *size, *made.values.shape, by_formula, formula))
    return path


def _figure(pixels: np.ndarray, found: Sequence[Map], name: str) -> Figure:
    figure = Figure(figsize=(10, 7.4), dpi=draw.DPI, layout="constrained")
    grid = figure.add_gridspec(len(STRIDES), len(PADDINGS) + 1)
    original = figure.add_subplot(grid[:, 0])
    draw.picture(original, pixels, interpolation="nearest")
    height, width = pixels.shape[:2]
    original.set_title(f"{draw.plain(name, 34)}\n{height}x{width}", fontsize=10)
    largest = max(max(made.values.shape) for made in found)
    bright = max(float(np.abs(made.values).max()) for made in found) or 1.0
    for place, made in enumerate(found):
        axes = figure.add_subplot(grid[place // len(PADDINGS), 1 + place % len(PADDINGS)])
        rows, columns = made.values.shape
        # One pixel is as large in every map, so that a smaller map is seen to be smaller.
        left, top = (largest - columns) / 2, (largest - rows) / 2
        axes.imshow(made.values, cmap="gray", vmin=-bright, vmax=bright, interpolation="nearest",
                    extent=(left, left + columns, top + rows, top))  # fmt: skip
        axes.set(xlim=(0, largest), ylim=(largest, 0), xticks=[], yticks=[])
        axes.spines[:].set_color("#bbbbbb")
        axes.set_title(f"stride {made.stride}, padding {made.padding}: {rows}x{columns}", fontsize=10)
    kernel = len(KERNEL)
    figure.suptitle(
        f"One convolution, {kernel}x{kernel}, which finds edges: grey is none, bright where it gets lighter to the right\n"
        "side = floor((n + 2 padding - kernel) / stride) + 1; padding puts a black frame around the image, whose edge shows",
        fontsize=11,
    )
    return figure
