"""Reliability: how often the first recipe is right where it says that it is sure, before and after temperature scaling."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.subject import Subject
from cifar_lit.report.words import several
from cifar_lit.runs import records
from cifar_lit.runs.records import Calibration

FEW = 30  # images: the accuracy of fewer is off by ten points or more
COLUMNS = records.CALIBRATION
Bins = tuple[np.ndarray, np.ndarray, np.ndarray]  # images, confidence, accuracy


def pooled(members: list[Bins]) -> Bins:
    """The bins of several runs as one's: sums of images, and means weighted by them."""
    images = np.sum([own[0] for own in members], axis=0, dtype=float)
    means = [
        np.divide(
            np.sum([own[0] * np.nan_to_num(own[part]) for own in members], axis=0),
            images,
            out=np.full(len(images), np.nan),
            where=images > 0,
        )
        for part in (1, 2)
    ]
    return images, means[0], means[1]


def error(bins: Bins) -> float:
    """Expected calibration error: confidence against accuracy, weighted by images."""
    images, confidence, accuracy = bins
    return float(np.nansum(images * np.abs(confidence - accuracy)) / images.sum()) if images.sum() else float("nan")


def draw_all(subject: Subject) -> list[Drawn | str]:
    """The reliability diagram over a histogram of the confidences."""
    found: list[Calibration] = subject.of_runs(subject.best, records.calibration)
    found = [record for record in found if np.array_equal(record.low, found[0].low)]
    if not found or not sum(record.images.sum() for record in found):
        return [f"Calibration: {subject.lacking('calibration.csv', records.calibration) or 'no test images in its bins.'}"]
    before = pooled([(record.images, record.confidence, record.accuracy) for record in found])
    fitted = [record.calibrated for record in found if record.calibrated]
    after = pooled(fitted) if fitted and len(fitted) == len(found) else None
    title = "Calibration"
    figure = Figure(figsize=(draw.WIDTH, 4.6))
    draw.title_at(figure, title)
    axes = figure.add_axes((0.124, 0.40, 0.844, 0.52))
    below = figure.add_axes((0.124, 0.165, 0.844, 0.17), sharex=axes)
    axes.plot([0, 100], [0, 100], color=draw.INK, linewidth=0.9, linestyle=(0, (2, 2)))
    axes.text(84, 90, "as sure as right", fontsize=7.5, rotation=29, ha="center", va="center")
    handles, labels = [], []
    sets = [(before, "as trained", draw.PALETTE[1], "s", "--", False)]
    sets += [(after, "with its temperature", draw.PALETTE[0], "o", "-", True)] if after else []
    for bins, words, colour, marker, dash, fill in sets:
        sure, few = bins[0] >= FEW, (bins[0] > 0) & (bins[0] < FEW)
        face = colour if fill else draw.GROUND
        handles += axes.plot(100 * bins[1][sure], 100 * bins[2][sure], dash, color=colour, marker=marker, markerfacecolor=face)
        axes.plot(100 * bins[1][few], 100 * bins[2][few], marker, color=colour, markerfacecolor=face, alpha=0.35, markersize=4)
        labels.append(f"{words} (error {100 * error(bins):.2f} points)")
        edges = np.append(found[0].low, found[0].high[-1])
        below.stairs(bins[0] / bins[0].sum() * 100, 100 * edges, color=colour, linestyle=dash, linewidth=1.3, baseline=None)
    axes.set(xlim=(0, 100), ylim=(0, 100), ylabel="right (%)")
    axes.tick_params(labelbottom=False)
    below.set(xlabel="confidence in the guess (%)", ylabel="images (%)")
    draw.keys(figure, handles, labels, 1)
    rows: list[list[Any]] = [
        [*cells[:2], int(cells[2]), *cells[3:5], "" if cells[5] == "" else int(cells[5]), *cells[6:]]
        for cells in zip(
            *(draw.flat(column) for column in (found[0].low, found[0].high, *before)),
            *(draw.flat(column) for column in after or (np.full(len(found[0].low), np.nan),) * 3),
            strict=True,
        )
    ]
    caption = f"Of #1, {several(len(found), 'run')} together. Below the dotted line it is surer than it is right."
    caption += f" Pale: bins of fewer than {FEW} images."
    caption += (
        " The temperature was fitted on held-out images."
        if after
        else " No temperature was fitted: there were no held-out images."
    )
    lacking = subject.lacking("calibration.csv", records.calibration)
    return [draw.finish(subject.name("calibration"), figure, title, f"{caption} {lacking}".strip(), COLUMNS, rows)]
