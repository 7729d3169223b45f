"""Accuracy against training time, and the recipes that nothing beats in both: the Pareto front."""

from typing import Any

from matplotlib.axes import Axes

from cifar_lit import compare
from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.subject import Subject
from cifar_lit.report.words import listed

COLUMNS = ("rank", "recipe", "train_seconds", "score", "on_front")
_WIDE = 8.0  # times: beyond it, seconds on a logarithmic scale
_MOST_NUMBERS = 24


def draw_all(subject: Subject) -> list[Drawn | str]:
    """Every recipe's mean time and score."""
    score = subject.board.kind.score
    entries = [entry for entry in subject.board.entries if (entry.mean("train_seconds") or 0) > 0]
    if not entries:
        return ["Accuracy against seconds: no run recorded its time."]
    points = [(entry.columns["train_seconds"].mean, entry.columns[score].mean) for entry in entries]
    front = compare.pareto(points)
    unit, words = (3600, "h") if max(points)[0] > 7200 else (60, "min") if max(points)[0] > 600 else (1, "s")
    title = f"{subject.board.kind.score_words.capitalize()} against training time"
    figure, axes = draw.sheet(title, 2.7, legend=1)
    handles: list[Any] = []
    xs, ys = [[points[i][0] / unit for i in front], [100 * points[i][1] for i in front]]
    others = [i for i in range(len(points)) if i not in set(front)]
    if others:
        handles += axes.plot([points[i][0] / unit for i in others], [100 * points[i][1] for i in others], "o", color=draw.QUIET,
                             markerfacecolor=draw.GROUND, alpha=0.9)  # fmt: skip
    handles = axes.plot(xs, ys, "D-", color=draw.PALETTE[0], drawstyle="steps-post", linewidth=1.2, markersize=6) + handles
    if max(points)[0] > _WIDE * min(points)[0]:
        draw.logarithmic(axes, "x")
    axes.margins(0.08)
    wanted = sorted(front) + (others if len(points) <= _MOST_NUMBERS else [])
    for i in _apart(axes, [(points[i][0] / unit, 100 * points[i][1]) for i in wanted], wanted):
        place = (points[i][0] / unit, 100 * points[i][1])
        above, side, weight = ((-5, 4), "right", "bold") if i in front else ((5, 4), "left", "normal")
        axes.annotate(str(entries[i].rank), place, above, textcoords="offset points", fontsize=8, ha=side, fontweight=weight)
    axes.set(xlabel=f"training time ({words})", ylabel=f"{subject.board.kind.score_words} (%)")
    draw.keys(figure, handles, ["Pareto front", "others"][: len(handles)], 2)
    table = [
        [entry.rank, entry.label, *point, int(i in front)] for i, (entry, point) in enumerate(zip(entries, points, strict=True))
    ]
    best = listed([f"#{entries[i].rank}" for i in front], 8)
    caption = f"Means over seeds; numbers are places in the ranking. On the front, beaten by no recipe in both: {best}."
    devices = sorted({run.facts.get("device", "unknown") for entry in entries for run in entry.recipe.runs})
    if len(devices) > 1:
        caption += f" Measured on different devices ({listed(devices)}): their seconds are not comparable."
    else:
        caption += f" Measured on {devices[0]}."
    return [draw.finish(subject.name("seconds"), figure, title, caption, COLUMNS, table)]


def _apart(axes: Axes, places: list[tuple[float, float]], which: list[int]) -> list[int]:
    """Those of some points whose numbers do not lie on each other, the first ones before the others."""
    kept: list[tuple[float, float]] = []
    chosen = []
    axes.autoscale_view()
    for i, (x, y) in zip(which, axes.transData.transform(places), strict=True):  # in pixels, a hundred to the inch
        if all(abs(x - a) > 24 or abs(y - b) > 13 for a, b in kept):
            kept.append((x, y))
            chosen.append(i)
    return chosen
