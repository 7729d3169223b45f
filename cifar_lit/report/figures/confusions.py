"""Which classes are taken for which: the most frequent confusions, and images of them."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.figures import rows
from cifar_lit.report.subject import Subject
from cifar_lit.report.words import plain, several
from cifar_lit.runs import records
from cifar_lit.runs.records import Mistakes

COLUMNS = ("true", "predicted", "images", "of", "share", "runs")
IMAGE_COLUMNS = ("true", "predicted", "probability", "run")
_PAIRS = 12
_EACH = 3


def draw_all(subject: Subject) -> list[Drawn | str]:
    """Pairs of the first recipe, summed over its runs, and images that one of them got wrong."""
    return [*_pairs(subject), *_images(subject)]


def _pairs(subject: Subject) -> list[Drawn | str]:
    found = subject.of_runs(subject.best, records.confusion)
    if not found:
        return [f"Confusions: {subject.lacking('confusion.csv', records.confusion)}"]
    classes, total = found[0].classes, sum(record.table for record in found)
    of = total.sum(1)
    off = total - np.diag(np.diag(total))
    order = sorted(((int(off[a, b]), int(a), int(b)) for a, b in np.argwhere(off)), key=lambda pair: (-pair[0], pair[1], pair[2]))
    if not order:
        return ["Confusions: #1 mistook no test image."]
    table: list[list[Any]] = [[classes[a], classes[b], n, int(of[a]), n / int(of[a]), len(found)] for n, a, b in order]
    shown = table[:_PAIRS]
    title = "Most frequent confusions"
    figure, axes = rows.sheet(title, [f"{_name(row[0])} → {_name(row[1])}" for row in shown], row=0.33)
    for place, row in enumerate(shown):
        axes.barh(place + 0.16, 100 * row[4], height=0.22, color=draw.PALETTE[1])
        axes.text(0.997, place - 0.26, f"{row[2]:,} of {row[3]:,}", transform=axes.get_yaxis_transform(), ha="right", va="center",
                  fontsize=8)  # fmt: skip
    axes.set_xlabel("share of the true class's test images (%)")
    axes.set_xlim(0, 100 * max(row[4] for row in shown) * 1.04)
    caption = f"True class → predicted class, of #1, over {several(len(found), 'run')}. The table has all {len(order):,} pairs."
    lacking = subject.lacking("confusion.csv", records.confusion)
    return [draw.finish(subject.name("confusions"), figure, title, f"{caption} {lacking}".strip(), COLUMNS, table)]


def _name(text: str) -> str:
    return plain(text.replace("_", " "), 24)


def _images(subject: Subject) -> list[Drawn | str]:
    read = [(run, record) for run in subject.best.recipe.runs if (record := records.mistakes(run.path)) is not None]
    if not read:
        return [f"Images of confusions: {subject.lacking('mistakes.npz', records.mistakes)}"]
    run, found = read[0]
    pairs = list(dict.fromkeys(zip(found.true.tolist(), found.predicted.tolist(), strict=True)))[:8]
    title = "What they look like"
    height = 0.34 + 1.18 * -(-len(pairs) // 2) + 0.05
    figure = Figure(figsize=(draw.WIDTH, height))
    draw.title_at(figure, title)
    axes = figure.add_axes((0, 0, 1, 1))  # in inches, from the top: one for all images, since each would cost as much as a figure
    axes.set_axis_off()
    table: list[list[Any]] = []
    for place, pair in enumerate(pairs):
        table += _pair(axes, found, pair, place, run.path.name)
    axes.set(xlim=(0, draw.WIDTH), ylim=(height, 0), aspect="auto")
    which = f"seed {run.seed}" if run.seed is not None else plain(run.path.name, 30)
    caption = (
        f"Test images that #1 ({which}) mistook: true → predicted; below each, the probability that it gave the wrong class."
    )
    return [draw.finish(subject.name("mistakes"), figure, title, caption, IMAGE_COLUMNS, table)]


def _pair(axes: Axes, found: Mistakes, pair: tuple[int, int], place: int, run: str) -> list[list[Any]]:
    """Up to three images of a pair, in the left or right half of the figure."""
    x, y = 0.1 + (place % 2) * 2.48, 0.37 + 1.18 * (place // 2)
    true, predicted = (plain(found.classes[index].replace("_", " "), 17) for index in pair)
    axes.text(x, y, f"{true} → {predicted}", fontsize=8, va="top")
    own = [i for i in range(len(found.images)) if (found.true[i], found.predicted[i]) == pair][:_EACH]
    for column, i in enumerate(own):
        left, top = x + column * 0.78, y + 0.17
        axes.imshow(found.images[i], interpolation="none", extent=(left, left + 0.72, top + 0.72, top))
        axes.text(left + 0.36, top + 0.75, f"{100 * found.probability[i]:.0f}%", fontsize=7, ha="center", va="top")
    return [[found.classes[pair[0]], found.classes[pair[1]], float(f"{found.probability[i]:.6g}"), run] for i in own]
