"""Which setting matters most: the share of the variance that each explains, alone and together, and the best combination."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cifar_lit import compare
from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.figures import rows as rowed
from cifar_lit.report.figures.settings import levels as ordered
from cifar_lit.report.words import listed, percent, several
from cifar_lit.study import words
from cifar_lit.study.found import Strand

NAMES = {
    "data.batch_size": "batch size",
    "optimizer.weight_decay": "weight decay",
    "trainer.gradient_clip_val": "gradient clipping",
}


@dataclass(frozen=True)
class Share:
    """What a setting explains of the variance, 0 to 1; single: the same by single seeds, empty where none can say."""

    name: str
    share: float
    single: Mapping[Any, float]

    @property
    def low(self) -> float | None:
        """The lowest of single seeds."""
        return min(self.single.values(), default=None)

    @property
    def high(self) -> float | None:
        """The highest of single seeds."""
        return max(self.single.values(), default=None)


def shares(strand: Strand) -> list[Share]:
    """Of every setting that has several values, the largest first; none where the runs are too few to tell them from chance."""
    names = _varied(strand)
    samples = {level: level.of(strand.score) for level in strand.levels}

    def explained(seeds: set[Any] | None) -> dict[str, float]:
        rows = [
            (level, value)
            for level, sample in samples.items()
            for seed, value in sample.items()
            if seeds is None or seed in seeds
        ]
        configs = [dict(zip(strand.factors, level.values, strict=True)) for level, _ in rows]
        left, needed = compare.freedom(configs, names)
        if left < needed:
            return {}
        return compare.variance_explained(configs, [value for _, value in rows], names)

    whole = [seed for seed in next(iter(samples.values()), {}) if all(seed in sample for sample in samples.values())]
    single = {seed: explained({seed}) for seed in whole} if len(whole) > 1 else {}
    single = single if all(single.values()) else {}
    return [Share(name, share, {seed: own[name] for seed, own in single.items()}) for name, share in explained(None).items()]


def _varied(strand: Strand) -> list[str]:
    """The settings that have several values."""
    return [name for place, name in enumerate(strand.factors) if len({level.values[place] for level in strand.levels}) > 1]


def together(strand: Strand) -> float | None:
    """The share that settings explain only together: what the cells' means add to an additive model, less what chance would.

    None where seeds are repeated too seldom to tell it from chance.
    """
    rows = [(level, value) for level in strand.levels for value in level.of(strand.score).values()]
    sample = np.array([value for _, value in rows])
    total = float(((sample - sample.mean()) ** 2).sum()) if len(sample) else 0.0
    cells = [[value for own, value in rows if own is level] for level in strand.levels]
    pure = sum(float(((np.array(cell) - np.mean(cell)) ** 2).sum()) for cell in cells if cell)
    freedom = len(rows) - sum(bool(cell) for cell in cells)
    if not total or freedom < 1:
        return None
    left, additive = compare.unexplained(
        sample, [[level.values[place] for level, _ in rows] for place in range(len(strand.factors))]
    )
    extra = additive - freedom
    if freedom < compare.least_freedom(extra):
        return None
    return max(0.0, (left - pure - extra * pure / freedom) / (total + pure / freedom))


def verdict(strand: Strand) -> list[str]:
    """Sentences."""
    found, block = shares(strand), strand.scores
    said = [_matters(found, together(strand), strand)] if found else []
    if not found and _varied(strand):
        said = [f"{several(len(strand.runs), 'run')} are too few to say how much each setting matters."]
    said.append(words.best(strand, "combination"))
    others = block.alike[1:]
    if block.deviation is None or len(block.values) == 1:
        said.append(words.alike(strand, "combinations"))
    elif len(others) == len(block.values) - 1:
        said.append("No combination can be told from the best by these seeds.")
    else:
        ahead = f"It is ahead of {several(len(block.values) - 1 - len(others), 'other')}"
        gaps = [f"{name} ({words.interval(block.gap(name, block.order[0]))} points)" for name in others]
        said.append(f"{ahead}; cannot be told from it by these seeds: {listed(gaps, 4)}." if others else f"{ahead}, all of them.")
    return said


def _matters(found: Sequence[Share], joint: float | None, strand: Strand) -> str:
    if found[0].share == 0 and not joint:
        return "No setting explains more of the variance than chance would: over these ranges, none can be said to matter."
    parts = [f"{NAMES[item.name]} explains {_percent(item)} of the variance of {words.measured(strand)}" for item in found[:1]]
    parts += [f"{NAMES[item.name]} {_percent(item)}" for item in found[1:]]
    first = f"{parts[0][0].upper()}{parts[0][1:]}" + (f", {listed(parts[1:])}" if parts[1:] else "")
    if joint is not None:
        first += f"; {100 * joint:.0f}% is what they do only together, the rest chance"
    if len(found) < 2 or found[0].share == 0:
        return f"{first}."
    top, second = found[0], found[1]
    if not top.single:
        if strand.scores.freedom:
            return f"{first}. Each seed has too few runs to tell from chance which matters most."
        return f"{first}. With one seed, which matters most cannot be told from chance."
    if strand.scores.deviation is None:
        return f"{first}. The seeds do not differ, so that which matters most cannot be told from chance."
    # Corrected for having looked which two of the settings come first (Bonferroni).
    pairs = len(found) * (len(found) - 1) // 2
    gap = compare.difference(top.single, second.single, 1 - (1 - compare.LEVEL) / pairs)
    if gap.low is not None and gap.high is not None and gap.low > 0:
        by = f"{100 * gap.mean:.0f} points more ({100 * gap.low:.0f} to {100 * gap.high:.0f}) than {NAMES[second.name]}"
        sure = f"What matters most is the {NAMES[top.name]}: in single seeds it explains {by}"
    else:
        sure = f"Whether {NAMES[top.name]} or {NAMES[second.name]} matters more, these seeds cannot tell"
    return f"{first}. {sure}. All this is of the ranges that were tried: a wider range explains more."


def _percent(item: Share) -> str:
    around = (
        f" (single seeds: {100 * item.low:.0f} to {100 * item.high:.0f}%)"
        if item.low is not None and item.high is not None
        else ""
    )
    return f"{100 * item.share:.0f}%{around}"


def drawn(strand: Strand) -> list[Drawn | None]:
    """A bar a setting, and the heat maps."""
    return [_bars(strand), _maps(strand)]


def _bars(strand: Strand) -> Drawn | None:
    found = shares(strand)
    if not found:
        return None
    title = "What mattered"
    rows: list[list[Any]] = []
    joint = together(strand)
    names = [NAMES[item.name] for item in found] + (["only together"] if joint is not None else [])
    with draw.style():
        figure, axes = rowed.sheet(title, names)
        for place, item in enumerate(found):
            axes.barh(place + 0.14, 100 * item.share, height=0.26, color=draw.PALETTE[0])
            if item.low is not None and item.high is not None:
                axes.plot([100 * item.low, 100 * item.high], [place + 0.14] * 2, color=draw.INK, linewidth=1.2, marker="|")
            rows.append([item.name, item.share, *("" if bound is None else bound for bound in (item.low, item.high))])
        if joint is not None:
            axes.barh(len(found) + 0.14, 100 * joint, height=0.26, color=draw.PALETTE[6])
            rows.append(["only together", joint, "", ""])
        for place, row in enumerate(rows):
            axes.text(
                0.997,
                place - 0.26,
                f"{100 * row[1]:.0f}%",
                transform=axes.get_yaxis_transform(),
                ha="right",
                va="center",
                fontsize=8,
            )
        axes.set(xlim=(0, 100), xlabel=f"share of the variance of {words.measured(strand)} (%)")
        caption = "Omega squared of an additive model; thin lines: the same by single seeds, from lowest to highest."
        return draw.finish("importance", figure, title, caption, ("setting", "share", "single seeds low", "high"), rows)


def _maps(strand: Strand) -> Drawn:
    """A map of the first two settings for each value of the third."""
    configs = [dict(zip(strand.factors, level.values, strict=True)) for level in strand.levels]
    (rows, down), (columns, across), (panels, which) = (ordered(configs, name) for name in strand.factors)
    means = np.full((len(panels), len(rows), len(columns)), np.nan)
    for level, panel, row, column in zip(strand.levels, which, down, across, strict=True):
        means[panel, row, column] = strand.scores.means.get(level.label, np.nan)
    title = f"{words.measured(strand).capitalize()} over the grid, mean of seeds (%)"
    table: list[list[Any]] = []
    with draw.style():
        height = 0.42 * len(rows)
        figure = Figure(figsize=(draw.WIDTH, 0.62 + len(panels) * (height + 0.62)))
        draw.title_at(figure, title)
        total = figure.get_figheight()
        low, high = np.nanmin(means), np.nanmax(means)
        for panel, name in enumerate(panels):
            top = 0.62 + panel * (height + 0.62)
            axes = figure.add_axes(
                (0.8 / draw.WIDTH, 1 - (top + height) / total, (draw.WIDTH - 1.0) / draw.WIDTH, height / total)
            )
            colours = axes.pcolormesh(100 * means[panel], cmap="cividis", vmin=100 * low, vmax=100 * max(high, low + 1e-6))
            for row, column in np.ndindex(len(rows), len(columns)):
                value = means[panel, row, column]
                table.append([rows[row], columns[column], name, "" if np.isnan(value) else value])
                if np.isnan(value):
                    axes.add_patch(Rectangle((column, row), 1, 1, fill=False, hatch="///", edgecolor=draw.QUIET, linewidth=0))
                    continue
                red, green, blue, _ = colours.cmap(colours.norm(100 * value))
                ink = "#000000" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "#ffffff"
                axes.text(column + 0.5, row + 0.5, percent(value), color=ink, ha="center", va="center", fontsize=8.5,
                          fontweight="bold" if value == high else "normal")  # fmt: skip
            axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
            axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
            axes.set_ylabel(f"{NAMES[strand.factors[0]]} (images)")
            if panel == len(panels) - 1:
                axes.set_xlabel(NAMES[strand.factors[1]])
            axes.set_title(f"{NAMES[strand.factors[2]]}: {name}", fontsize=8.5, fontweight="normal")
            axes.grid(visible=False)
            axes.tick_params(length=0)
        caption = "One scale of colour for all; light is high, the highest in bold; hatched: no finished run."
        return draw.finish("grid", figure, title, caption, (*(NAMES[name] for name in strand.factors), strand.score), table)
