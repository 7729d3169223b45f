"""Heat maps: the score over two settings, where the recipes form a grid of them."""

from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.figures.importance import shares
from cifar_lit.report.figures.settings import levels, titled
from cifar_lit.report.subject import Subject
from cifar_lit.report.words import plain

COLUMNS = ("row", "column", "row value", "column value", "recipes", "score")
MOST = 3  # maps; of the settings that matter most
_MOST_LEVELS = 10
_FULL = 0.75  # of the cells; a failed run or two leave a grid a grid


def draw_all(subject: Subject) -> list[Drawn | str]:
    """A map for each of the first pairs of settings that form a grid."""
    entries = subject.board.entries
    configs = [entry.recipe.settings for entry in entries]
    order = [name for name in shares(subject) if name in subject.board.varied]
    found = []
    for pair in combinations(order, 2):
        (rows, down), (columns, across) = (levels(configs, name) for name in pair)
        if not (2 <= len(rows) <= _MOST_LEVELS and 2 <= len(columns) <= _MOST_LEVELS):
            continue
        filled = len(set(zip(down, across, strict=True)))
        if filled >= max(4 if len(rows) * len(columns) == 4 else 5, _FULL * len(rows) * len(columns)):
            found.append(pair)
    if not found and len(order) >= 2:
        return ["Heat maps: no two settings form a grid of at least 2 by 2 recipes."]
    return [_map(subject, *pair, number) for number, pair in enumerate(found[:MOST], 1)]


def _map(subject: Subject, one: str, other: str, number: int) -> Drawn:
    entries, score = subject.board.entries, subject.board.kind.score
    configs = [entry.recipe.settings for entry in entries]
    if len(levels(configs, one)[0]) < len(levels(configs, other)[0]):
        one, other = other, one  # tall rather than wide
    (rows, down), (columns, across) = levels(configs, one), levels(configs, other)
    total, n = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)), int)
    for entry, row, column in zip(entries, down, across, strict=True):
        total[row, column] += entry.columns[score].mean
        n[row, column] += 1
    mean = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
    names = " by ".join(plain(name.rpartition(".")[2], 13) for name in (one, other))
    title = f"{subject.board.kind.score_words.capitalize()} (%): {names}"
    beside = titled(one, 26)
    left = 0.3 + 0.15 * len(beside) + 0.075 * max(len(row) for row in rows)
    height = max(0.36 * len(rows) + 0.1, 0.075 * max(len(line) for line in beside))
    figure, axes = draw.sheet(title, height, left=left)
    low, high = np.nanmin(mean), np.nanmax(mean)
    colours = axes.pcolormesh(100 * mean, cmap="cividis", vmin=100 * low, vmax=100 * max(high, low + 1e-6), edgecolors="none")
    for row, column in np.ndindex(*mean.shape):
        value = mean[row, column]
        if np.isnan(value):
            axes.add_patch(Rectangle((column, row), 1, 1, fill=False, hatch="///", edgecolor=draw.QUIET, alpha=0.5, linewidth=0))
            continue
        red, green, blue, _ = colours.cmap(colours.norm(100 * value))
        ink = "#000000" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "#ffffff"
        axes.text(column + 0.5, row + 0.5, f"{100 * value:.2f}", color=ink, ha="center", va="center", fontsize=8,
                  fontweight="bold" if value == high else "normal")  # fmt: skip
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.set(xlabel=" ".join(titled(other, 50)).replace(". ", ".", 1), ylabel="\n".join(beside))
    axes.grid(visible=False)
    axes.tick_params(length=0)
    if sum(len(column) for column in columns) > 48:
        for label in axes.get_xticklabels():
            label.set(rotation=20, ha="right", fontsize=7)
    table: list[list[Any]] = [
        [one, other, rows[row], columns[column], int(n[row, column]), "" if np.isnan(mean[row, column]) else mean[row, column]]
        for row, column in np.ndindex(*mean.shape)
    ]
    caption = f"In percent, light is high, the highest in bold. {plain(one)} downwards, {plain(other)} across."
    most = int(n.max())
    if most > 1:
        caption += f" Each cell is the mean of up to {most} recipes that differ in other settings"
        caption += "." if n.min() == most else ", not the same number in each: compare cells with care."
    if (n == 0).any():
        caption += " Hatched: no finished run."
    return draw.finish(subject.name(f"grid-{number}"), figure, title, caption, COLUMNS, table)
