"""The first recipe of a ranking at a glance: accuracy, loss, learning rate and gap (R5's 2x2 overview)."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.figures.curves import COLUMNS, table, within
from cifar_lit.report.history import METRICS
from cifar_lit.report.subject import Subject
from cifar_lit.report.words import brief, plain, several


def draw_all(subject: Subject) -> list[Drawn | str]:
    """Four small panels."""
    curves = subject.curves[subject.best.rank]
    if not len(curves.mean):
        return []
    seen = "test" if subject.board.kind.watched else "validation"
    title = "#1 at a glance"
    figure = Figure(figsize=(draw.WIDTH, 4.9))
    draw.title_at(figure, title)
    figure.text(0.08 / draw.WIDTH, 1 - 0.27 / 4.9, plain(brief(subject.best.label), 64), fontsize=8, va="top")
    panels = figure.subplots(2, 2).flat
    figure.subplots_adjust(left=0.13, right=0.975, top=0.88, bottom=0.145, hspace=0.22, wspace=0.42)
    accuracy, loss, rate, gap = panels
    train, tested = {"color": draw.PALETTE[1], "linestyle": "--"}, {"color": draw.PALETTE[0], "linestyle": "-"}
    shown: list[Any] = []
    for axes, name, looks, scale, mark in (
        (accuracy, "train/acc", train, 100, "D"), (accuracy, "val/acc", tested, 100, "o"), (loss, "train/loss", train, 1, "D"),
        (loss, "val/loss", tested, 1, "o"), (rate, "lr", {"color": draw.PALETTE[2], "linestyle": "-"}, 1, "s"),
    ):  # fmt: skip
        epochs, mean, low, high = curves.of(name)
        if axes is loss:
            epochs, mean, low, high = within(epochs, mean, low, high)
        if not len(epochs):
            continue
        lines = axes.plot(epochs, scale * mean, marker=mark, markersize=3.5, markevery=max(1, len(epochs) // 5), **looks)
        axes.fill_between(epochs, scale * low, scale * high, color=looks["color"], alpha=0.18, linewidth=0)
        shown += lines if axes is accuracy else []
    apart = 100 * (curves.mean[:, METRICS.index("train/acc")] - curves.mean[:, METRICS.index("val/acc")])
    gap.plot(range(1, len(apart) + 1), apart, "^-", color=draw.PALETTE[3], markersize=3.5, markevery=max(1, len(apart) // 5))
    gap.axhline(0, color=draw.INK, linewidth=0.8)
    for axes, words in (
        (accuracy, "accuracy (%)"), (loss, "loss (nats)"), (rate, "learning rate"), (gap, f"train less {seen} (points)"),
    ):  # fmt: skip
        axes.set_ylabel(words)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.set_xlim(left=1 - 0.02 * (axes.get_xlim()[1] - 1))  # epochs count from 1
        if axes in (rate, gap):
            axes.set_xlabel("epoch")
    if shown:
        draw.keys(figure, shown, (["train"] if len(curves.of("train/acc")[0]) else []) + [seen], 2)
    caption = f"Means over {several(len(curves.single), 'run')} of the first recipe, with the range of the seeds."
    return [draw.finish(subject.name("overview"), figure, title, caption, COLUMNS, table(subject), subject.name("curves"))]
