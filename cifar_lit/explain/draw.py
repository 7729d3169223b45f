"""Figures as files: one way to write them, and words that are safe to draw."""

import warnings
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cifar_lit.atomic import writing

DPI = 150
# Okabe and Ito's green and vermilion, which the colour-blind tell apart; a mark says the same in black and white.
RIGHT, WRONG = "#00795c", "#c44e00"


def write(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as part, open(part, "wb") as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of a class's or a file's name: a box is drawn
        FigureCanvasAgg(figure).print_png(file)
    return path


def plain(text: str, most: int = 22) -> str:
    """A name from outside as one line of `most` letters, in which nothing is taken for a formula."""
    line = "".join(letter if letter.isprintable() else "?" for letter in text)
    line = line if len(line) <= most else f"{line[: most - 1]}…"
    return line.replace("$", r"\$")


def picture(axes: Axes, pixels: np.ndarray, **options: str) -> None:
    """An image without ticks."""
    axes.imshow(pixels, **options)  # type: ignore[arg-type]
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def percent(share: float) -> str:
    """A share as people read it: 87%, and never 100% or 0% of what is only nearly so."""
    if 0 < share < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= share < 1 else f"{100 * share:.0f}%"
