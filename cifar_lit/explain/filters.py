"""What the layers compute: the first layer's filters, and images as two layers see them."""

from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from cifar_lit.explain import draw, verdicts
from cifar_lit.explain.layers import Layer, last_spatial, trace, twin
from cifar_lit.explain.request import Request, samples

MOST_FILTERS = 64
COLUMNS = 8
MAPS = 5  # of each layer
IMAGES = 4
MOST_IMAGES = 12


def run(request: Request) -> list[Path]:
    """Write filters.png, feature_maps.png and filters.md. Returns the files."""
    if len(request.images) > MOST_IMAGES:
        raise ValueError(f"--images: {len(request.images)} are given, allowed are {MOST_IMAGES} in one picture")
    predictor = request.predictor
    net, title = twin(predictor.net), draw.plain(predictor.facts.title, 60)
    shown = samples(request, IMAGES)
    pixels = np.stack([sample.pixels for sample in shown])
    images = torch.from_numpy(predictor.normalise(pixels)).to(predictor.device)
    first = first_layer(net, images[:1])
    if first is None:
        raise ValueError(f"filters: {title} has no layer of filters over the three colours; there is nothing to draw")
    later = later_layer(net, images[:1], first)
    layers = [first] if later is None else [first, later]
    names = [sample.name if sample.truth is None else predictor.facts.classes[sample.truth] for sample in shown]
    weight = net.get_submodule(first.name).weight
    assert isinstance(weight, Tensor)
    seen = outputs(net, layers, images)
    words = verdicts.filters(
        weight.detach().float().cpu().numpy(), [(layer.name, maps) for layer, maps in zip(layers, seen, strict=True)]
    )
    return [
        draw.write(_filters(weight, first, title), request.out / "filters.png"),
        draw.write(_maps(seen, layers, pixels, names, title), request.out / "feature_maps.png"),
        verdicts.write(f"Filters of {title}", words, request.out / "filters.md"),
    ]


def first_layer(net: nn.Module, images: Tensor) -> Layer | None:
    """The first layer with filters over the picture's channels: a convolution, or a patch whitening."""
    for layer in trace(net, images):
        weight = getattr(net.get_submodule(layer.name), "weight", None)
        if isinstance(weight, Tensor) and weight.ndim == 4 and weight.shape[1] == images.shape[1]:
            return layer
    return None


def later_layer(net: nn.Module, images: Tensor, first: Layer) -> Layer | None:
    """A layer half-way, with maps of about half the picture's side, or else a quarter; None where none comes later."""
    height, width = images.shape[2:]
    for part in (2, 4):
        # A whitening stem costs a row and a column before the halving, and halving rounds down.
        layer = last_spatial(net, images, (height // part - 1, width // part - 1))
        if layer is not None and layer.depth > first.depth + 2:
            return layer
    return None


def outputs(net: nn.Module, layers: list[Layer], images: Tensor) -> list[np.ndarray]:
    """What leaves each layer, (N, C, h, w)."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        # Cloned: the next module may work in place.
        return net.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: kept.update({name: output.clone()}))

    handles = [keep(layer.name) for layer in layers]
    try:
        with torch.no_grad():
            net(images)
    finally:
        for handle in handles:
            handle.remove()
    return [kept[layer.name].float().cpu().numpy() for layer in layers]


def tiles(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Filters (n, 3, h, w) as RGB tiles (n, h, w, 3) in 0..1, in which grey is 0, and each one's largest weight (n,)."""
    largest = np.abs(weight).max(axis=(1, 2, 3))
    scale = np.where(largest > 0, largest, 1)[:, None, None, None]
    return (0.5 + weight / (2 * scale)).transpose(0, 2, 3, 1), largest


def liveliest(maps: np.ndarray, most: int) -> np.ndarray:
    """The channels of maps (N, C, h, w) that differ most from place to place, the liveliest first."""
    return np.argsort(-maps.std(axis=(2, 3)).mean(axis=0), kind="stable")[:most]


def _filters(weight: Tensor, layer: Layer, title: str) -> Figure:
    total = len(weight)
    coloured, largest = tiles(weight[:MOST_FILTERS].detach().float().cpu().numpy())
    rows = ceil(len(coloured) / COLUMNS)
    figure = Figure(figsize=(1.25 * COLUMNS, 1.38 * rows + 0.75), dpi=draw.DPI, layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for number, axes in enumerate(grid.flat):
        if number < len(coloured):
            draw.picture(axes, coloured[number], interpolation="nearest")
            axes.set_title(f"{number}: ±{largest[number]:.2g}", fontsize=9)
        else:
            axes.set_axis_off()
    height, width = weight.shape[2:]
    which = f"all {total}" if total == len(coloured) else f"the first {len(coloured)} of {total}"
    figure.suptitle(
        f"{title}: {which} filters of layer {draw.plain(layer.name, 40)}, {height}x{width} in red, green and blue\n"
        "Grey is 0; each is scaled by its largest weight, which stands above it",
        fontsize=11,
    )
    return figure


def _maps(seen: list[np.ndarray], layers: list[Layer], pixels: np.ndarray, names: list[str], title: str) -> Figure:
    chosen = [liveliest(maps, MAPS) for maps in seen]
    widths = [1.0]
    for channels in chosen:
        widths += [0.12, *[1.0] * len(channels)]  # a gap before each layer
    figure = Figure(figsize=(1.25 * sum(widths), 1.12 * len(pixels) + 0.9), dpi=draw.DPI, layout="constrained")
    grid = figure.subplots(len(pixels), len(widths), squeeze=False, width_ratios=widths)
    for row, (axes, name) in enumerate(zip(grid, names, strict=True)):
        draw.picture(axes[0], pixels[row], interpolation="nearest")
        axes[0].set_ylabel(draw.plain(name, 16), fontsize=9)
        column = 1
        for maps, channels in zip(seen, chosen, strict=True):
            axes[column].set_axis_off()
            for offset, channel in enumerate(channels, start=1):
                draw.picture(axes[column + offset], maps[row, channel], cmap="gray", interpolation="nearest")
                if row == 0:
                    axes[column + offset].set_title(f"map {channel}", fontsize=9)
            column += 1 + len(channels)
    grid[0, 0].set_title("original", fontsize=9)
    about = "; ".join(
        f"{len(channels)} of {layer.shape[1]} maps of layer {draw.plain(layer.name, 40)} ({layer.shape[2]}x{layer.shape[3]})"
        for layer, channels in zip(layers, chosen, strict=True)
    )
    figure.suptitle(
        f"{title}: {about}\nThe maps that vary most; each from its lowest (black) to its highest value (white)", fontsize=11
    )
    return figure
