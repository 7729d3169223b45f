"""Parallel coordinates: every recipe as a line through its settings, to its score."""

import re
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap

from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.figures.importance import shares
from cifar_lit.report.figures.settings import Scale, scale, titled, word
from cifar_lit.report.subject import Subject
from cifar_lit.report.words import plain

_MOST_AXES = 6
_MOST_LINES = 300
_NAMED = 3
# Middle tones, which can be seen on white and on black: vermilion for low scores, grey, blue for high ones.
_SCORES = LinearSegmentedColormap.from_list("scores", ["#c8603a", "#8d8d8d", "#2f86c9"])


def draw_all(subject: Subject) -> list[Drawn | str]:
    """One figure, where at least two settings differ between at least three recipes."""
    names = list(shares(subject))[:_MOST_AXES]
    entries = subject.board.entries[:_MOST_LINES]
    if len(names) < 2 or len(entries) < 3:
        return []
    score = subject.board.kind.score
    values = [entry.columns[score].mean for entry in entries]
    axes_of: list[Scale] = [scale([entry.recipe.settings.get(name) for entry in entries], name) for name in names]
    ends = scale([100 * value for value in values])
    lines = np.array([[*(axis.places[i] for axis in axes_of), ends.places[i]] for i in range(len(entries))])
    title = "Settings and scores"
    labels = ["\n".join(part for line in titled(name, 40) for part in _wrapped(line, 72 // len(lines[0]))) for name in names]
    most = max(label.count("\n") + 1 for label in labels)
    figure, axes = draw.sheet(title, 2.9, below=0.16 + 0.12 * max(3, most), left=0.35, legend=1)
    shade = 0.8 if len(entries) <= 40 else 0.4
    where = np.arange(len(names) + 1)
    for i in range(len(entries) - 1, -1, -1):
        named = i < _NAMED
        looks = draw.look(i) if named else {"color": _SCORES(ends.places[i])}
        if named:
            axes.plot(where, lines[i], linewidth=2.2, zorder=3, clip_on=False, **looks)
    rest = [np.column_stack([where, line]) for line in lines[_NAMED:]]
    colours = [_SCORES(place) for place in ends.places[_NAMED:]]
    axes.add_collection(LineCollection(rest, colors=colours, linewidths=1.0, alpha=shade, zorder=2))
    axes.set(xlim=(-0.12, len(names) + 0.12), ylim=(-0.05, 1.05), yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.grid(visible=False)
    for place, axis in enumerate([*axes_of, ends]):
        axes.axvline(place, color=draw.INK, linewidth=0.8, zorder=1)
        last = place == len(names)
        ticks = [(at, f"{float(text):.1f}") for at, text in _few(axis.ticks)] if last else axis.ticks
        for at, text in ticks:
            side: dict[str, Any] = {"ha": "right" if last else "left", "va": "center", "fontsize": 7}
            axes.text(place + (-0.05 if last else 0.05), at, plain(text, 14), **side, zorder=4,
                      bbox={"facecolor": draw.GROUND, "alpha": 0.75, "pad": 0.8, "edgecolor": "none"})  # fmt: skip
    axes.set_xticks(where, [*labels, "score (%)"], fontsize=7)
    axes.tick_params(axis="x", length=0)
    named_lines = sorted(axes.get_lines(), key=lambda line: -line.get_linewidth())[: min(_NAMED, len(entries))]
    named_lines.sort(key=lambda line: [draw.MARKERS.index(str(line.get_marker()))])
    draw.keys(figure, named_lines, [f"#{i + 1}" for i in range(len(named_lines))], len(named_lines))
    caption = f"Each line a recipe; the right axis is its mean {subject.board.kind.score_words} in percent, its colour the same."
    caption += f" The first {len(named_lines)} with marks."
    if len(entries) < len(subject.board.entries):
        caption += f" The first {len(entries)} of {len(subject.board.entries)} recipes."
    rows: list[list[Any]] = [
        [entry.rank, entry.label, *(word(entry.recipe.settings.get(name), 200) for name in names), value]
        for entry, value in zip(entries, values, strict=True)
    ]
    return [draw.finish(subject.name("parallel"), figure, title, caption, ("rank", "recipe", *names, "score"), rows)]


def _wrapped(name: str, most: int) -> list[str]:
    """A name in lines of about so many letters, broken behind a `_` or a dot; shorter than its neighbours' distance."""
    lines = [""]
    for part in re.findall(r"[^_.]*[_.]?", name):
        if lines[-1] and len(lines[-1]) + len(part) > most:
            lines.append("")
        lines[-1] += part
    return lines


def _few(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Ticks that do not lie on each other."""
    kept: list[tuple[float, str]] = []
    for at, text in ticks:
        if not kept or at - kept[-1][0] >= 0.08:
            kept.append((at, text))
    return kept
