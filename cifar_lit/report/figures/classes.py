"""Accuracy by class and by superclass, of the first recipe beside the second."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.ranking import Entry
from cifar_lit.report.subject import Subject
from cifar_lit.report.words import plain, several
from cifar_lit.runs import records
from cifar_lit.runs.records import PerClass

ENDS = 10  # classes drawn from either end
CLASS_COLUMNS = ("rank", "recipe", "class", "superclass", "images", "acc mean", "acc low", "acc high", "runs")
SUPER_COLUMNS = ("rank", "recipe", "superclass", "classes", "images", "acc class", "acc superclass")
_MOST = 24  # superclasses


def draw_all(subject: Subject) -> list[Drawn | str]:
    """The hardest and easiest classes, and all superclasses."""
    found = {entry.rank: subject.of_runs(entry, records.per_class) for entry in subject.first}
    if not found[1]:
        return [f"Accuracy by class: {subject.lacking('per_class.csv', records.per_class)}"]
    same = found[1][0].classes
    known = [entry for entry in subject.first if found[entry.rank] and found[entry.rank][0].classes == same]
    drawn: list[Drawn | str] = [_classes(subject, known, found)]
    if any(found[1][0].superclasses):
        drawn.append(_superclasses(subject, known, found))
    return drawn


def _values(members: Sequence[PerClass]) -> np.ndarray:
    return np.stack([record.accuracy for record in members])


def _classes(subject: Subject, known: list[Entry], found: dict[int, list[PerClass]]) -> Drawn:
    best = found[1][0]
    mean = _values(found[1]).mean(0)
    order = np.argsort(-mean, kind="stable")
    shown = order if len(order) <= 2 * ENDS else np.concatenate([order[:ENDS], order[-ENDS:]])
    few = len(shown) == len(order)
    title = "Accuracy by class" if few else f"The {ENDS} easiest and the {ENDS} hardest classes"
    figure, axes = _dots(subject, known, found, shown, [plain(best.classes[i].replace("_", " "), 26) for i in shown], title)
    if not few:
        axes.axhline(ENDS - 0.5, color=draw.INK, linewidth=1)
    table: list[list[Any]] = []
    for entry in known:
        values = _values(found[entry.rank])
        for i, name in enumerate(best.classes):
            table.append([entry.rank, entry.label, name, best.superclasses[i], int(best.images[i]), values[:, i].mean(),
                          values[:, i].min(), values[:, i].max(), len(values)])  # fmt: skip
    images = sorted({int(n) for n in best.images})
    caption = f"Test accuracy of #1, mean over {several(len(found[1]), 'run')}; thin bars: lowest to highest run."
    caption += (
        f" {images[0]} test images a class, so that one image is {100 / max(images[0], 1):.1f} points."
        if len(images) == 1
        else ""
    )
    caption += f" Of {len(mean)} classes; the table has all, for {several(len(known), 'recipe')}."
    lacking = subject.lacking("per_class.csv", records.per_class)
    return draw.finish(subject.name("classes"), figure, title, f"{caption} {lacking}".strip(), CLASS_COLUMNS, table)


def _dots(subject: Subject, known: list[Entry], found: dict[int, list[PerClass]], shown: np.ndarray, names: list[str],
          title: str) -> tuple[Any, Any]:  # fmt: skip
    left = 0.25 + 0.068 * max(len(name) for name in names)
    figure, axes = draw.sheet(title, 0.185 * len(names) + 0.15, left=left, legend=min(2, len(known)))
    handles = []
    for entry in known[:2]:
        values = 100 * _values(found[entry.rank])[:, shown]
        y = np.arange(len(shown))
        if entry.rank == 1 and len(values) > 1:
            axes.hlines(y, values.min(0), values.max(0), color=draw.PALETTE[0], linewidth=1.3)
        face = draw.PALETTE[0] if entry.rank == 1 else "none"
        colour = draw.PALETTE[0] if entry.rank == 1 else draw.PALETTE[1]
        handles += axes.plot(values.mean(0), y, "o" if entry.rank == 1 else "D", color=colour, markerfacecolor=face, markersize=5)
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.4, -0.6), xlabel="test accuracy (%)", xlim=(-2, 102))
    axes.tick_params(axis="y", length=0)
    draw.keys(figure, handles, subject.names(known[:2]))
    return figure, axes


def _superclasses(subject: Subject, known: list[Entry], found: dict[int, list[PerClass]]) -> Drawn:
    best = found[1][0]
    parents = sorted(set(best.superclasses))
    table: list[list[Any]] = []
    drawn: list[tuple[str, float, float]] = []
    for entry in known:
        confusions = [c for c in subject.of_runs(entry, records.confusion) if c.classes == best.classes]
        total = sum(c.table for c in confusions) if confusions else None
        for parent in parents:
            inside = np.array([own == parent for own in best.superclasses])
            images = best.images[inside]
            right = float((_values(found[entry.rank])[:, inside].mean(0) * images).sum() / max(images.sum(), 1))
            near = float(total[np.ix_(inside, inside)].sum() / max(total[inside].sum(), 1)) if total is not None else np.nan
            table.append(
                [entry.rank, entry.label, parent, int(inside.sum()), int(images.sum()), right, "" if np.isnan(near) else near]
            )
            if entry.rank == 1:
                drawn.append((parent, right, near))
    drawn.sort(key=lambda row: -row[1])
    shown = drawn[:_MOST]
    names = [plain(name.replace("_", " "), 32) for name, *_ in shown]
    title = "Accuracy by superclass"
    figure, axes = draw.sheet(title, 0.185 * len(names) + 0.15, left=0.25 + 0.068 * max(map(len, names)), legend=1)
    y = np.arange(len(shown))
    exact, loose = (100 * np.array([row[part] for row in shown]) for part in (1, 2))
    axes.hlines(y, exact, loose, color=draw.QUIET, linewidth=3, alpha=0.4)
    handles = axes.plot(exact, y, "o", color=draw.PALETTE[0], markersize=5)
    handles += axes.plot(loose, y, "D", color=draw.PALETTE[1], markerfacecolor="none", markersize=5)
    axes.set_yticks(y, names)
    axes.set(ylim=(len(names) - 0.4, -0.6), xlabel="share of the superclass's test images (%)")
    axes.tick_params(axis="y", length=0)
    draw.keys(figure, handles, ["the right class", "any class of the right superclass"], 2)
    caption = "Of #1, mean over its runs. The bar between the marks: mistakes within the superclass."
    return draw.finish(subject.name("superclasses"), figure, title, caption, SUPER_COLUMNS, table)
