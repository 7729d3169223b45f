"""What the three studies that need no training come to, in words, computed from what they measured."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cifar_lit.atomic import writing
from cifar_lit.terminal import one_line

_DEAD = 0.01  # a filter is dead whose largest weight is less than this share of the layer's largest
_HALF = 0.5


def write(title: str, sentences: Sequence[str], path: Path) -> Path:
    """Write a verdict as Markdown, a sentence a line; it is printed, too, and names in it may come from a foreign bundle."""
    lines = [f"# {title}", "", *(f"- {sentence}" for sentence in sentences)]
    with writing(path) as part:
        part.write_text("".join(f"{one_line(line, 2000)}\n" for line in lines))
    return path


def ring(steps: np.ndarray, values: np.ndarray, radius: float) -> float:
    """The mean of values (n, n) on a grid of steps (n,), over the points about `radius` away from the middle; NaN for none."""
    away = np.hypot(*np.meshgrid(steps, steps))
    near = values[np.abs(away - radius) <= (steps[1] - steps[0]) / 2]
    near = near[np.isfinite(near)]
    return float(near.mean()) if near.size else float("nan")


def landscape(steps: np.ndarray, loss: np.ndarray) -> list[str]:
    """steps (n,) along both directions, in lengths of the network's filters; loss (2, n, n) in nats, trained and untrained."""
    middle, radius = len(steps) // 2, float(steps[-1]) / 2
    sentences, rises = [], []
    for name, values in zip(("trained", "untrained"), loss, strict=True):
        centre = float(values[middle, middle])
        row, column = np.unravel_index(np.where(np.isfinite(values), values, np.inf).argmin(), values.shape)
        rises.append(ring(steps, values, radius) - centre)
        doubled = next((step for step in steps[middle + 1 :] if ring(steps, values, float(step)) >= 2 * centre), None)
        lies = "which is the middle" if (row, column) == (middle, middle) else f"at ({steps[column]:.3g}, {steps[row]:.3g})"
        far = f"has doubled at a radius of {doubled:.3g}" if doubled else f"has not doubled within a radius of {steps[-1]:.3g}"
        sentences.append(
            f"The {name} network: loss {centre:.3g} nats in the middle; the lowest of {values.size} points is"
            f" {values[row, column]:.3g}, {lies}; {far} (the mean on a ring; a step of 1 is as long as the filters)."
        )
    steep, flat = rises
    if np.isfinite(rises).all() and steep > 0 and flat > 0:
        times = max(steep, flat) / min(steep, flat)
        steeper = "trained" if steep > flat else "untrained"
        compared = f"the landscape around the {steeper} network is {times:.2g} times as steep"
    else:
        compared = "the two cannot be compared by a ratio, since one of them does not rise"
    sentences.append(
        f"At a radius of {radius:.3g} the mean loss is {steep:+.3g} nats from the middle's when trained,"
        f" {flat:+.3g} when untrained: {compared}. One pair of random directions, one sample of images: no interval is known."
    )
    return sentences


def stride_padding(size: tuple[int, int], kernel: int, maps: Sequence[tuple[int, int, np.ndarray]]) -> list[str]:
    """size (H, W) of the image; maps: stride, padding and values (h, w) of each feature map."""
    kept = [f"stride {stride} with padding {padding}" for stride, padding, values in maps if values.shape == size]
    sentences = [
        f"{' and '.join(kept) or 'Nothing tried'} keeps the size of {size[0]}x{size[1]} (a kernel of {kernel}x{kernel})."
    ]
    for stride in sorted({stride for stride, _, _ in maps}):
        sides = [values.shape[0] for other, _, values in maps if other == stride]
        shares = [values.size / (size[0] * size[1]) for other, _, values in maps if other == stride]
        more = (max(sides) - min(sides)) / max(1, len(sides) - 1)
        sentences.append(
            f"Stride {stride}: {min(sides)} to {max(sides)} rows of {size[0]}, and {100 * min(shares):.0f}% to"
            f" {100 * max(shares):.0f}% of the values; each pixel of padding adds {more:.2g} rows."
        )
    fits = sum(values.shape[0] == (size[0] + 2 * padding - kernel) // stride + 1 for stride, padding, values in maps)
    sentences.append(f"{fits} of {len(maps)} maps have the height that floor((n + 2p - k) / s) + 1 gives.")
    framed = [(values, padding) for stride, padding, values in maps if stride == 1 and padding and min(values.shape) > 2]
    for values, padding in framed:
        edge = np.ones(values.shape, bool)
        edge[padding:-padding, padding:-padding] = False
        inside, outside = float(np.abs(values[~edge]).mean()), float(np.abs(values[edge]).mean())
        if inside > 0:
            sentences.append(
                f"Padding {padding} at stride 1: the answers within {padding} of the border are {outside / inside:.2g} times"
                " as strong as those inside, since the frame is black."
            )
    return sentences


def filters(weight: np.ndarray, layers: Sequence[tuple[str, np.ndarray]]) -> list[str]:
    """weight (n, 3, h, w) of the first layer; layers: names and maps (N, C, h, w) of the layers looked at."""
    largest = np.abs(weight).max(axis=(1, 2, 3))
    alive = weight[largest >= _DEAD * largest.max()] if largest.max() > 0 else weight[:0]
    sentences = [
        f"{len(weight) - len(alive)} of the first layer's {len(weight)} filters are nearly dead: their largest weight is under"
        f" {100 * _DEAD:.0f}% of the layer's."
    ]
    if len(alive):
        grey = alive.mean(axis=1, keepdims=True)
        energy = (alive**2).sum(axis=(1, 2, 3))
        coloured = ((alive - grey) ** 2).sum(axis=(1, 2, 3)) > _HALF * energy
        flat = alive.mean(axis=(2, 3), keepdims=True)
        even = alive.shape[2] * alive.shape[3] * (flat**2).sum(axis=(1, 2, 3)) > _HALF * energy
        sentences.append(
            f"Of the other {len(alive)}, {coloured.sum()} answer to colour rather than to brightness, and {(~even).sum()} to"
            f" differences from place to place (edges, stripes) rather than to a whole patch: by where most of their energy lies."
        )
    for name, maps in layers:
        varies = maps.std(axis=(2, 3)).mean(axis=0)
        silent = int((varies == 0).sum())
        share = float(np.sort(varies)[::-1][: max(1, len(varies) // 10)].sum() / varies.sum()) if varies.sum() > 0 else 0.0
        sentences.append(
            f"Layer {name}: {silent} of {len(varies)} maps are the same everywhere on these {len(maps)} images; the liveliest"
            f" tenth, first map {int(varies.argmax())}, makes up {100 * share:.0f}% of all variation."
        )
    return sentences
