"""Which learning rates work: the best, and the range that its seeds cannot tell from it."""

from typing import Any

import numpy as np
from matplotlib.ticker import NullFormatter, NullLocator

from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.words import percent
from cifar_lit.study import figures, words
from cifar_lit.study.found import Strand


def verdict(strand: Strand) -> list[str]:
    """Sentences."""
    block = strand.scores
    rates = [level.label for level in strand.levels if level.label in block.values]  # by size
    said = [words.best(strand, "learning rate"), words.alike(strand, "learning rates")]
    if block.deviation is not None and len(rates) > 1:
        said += [_range(rates, block.alike), words.behind(strand)]
    if len(rates) > 1 and block.order[0] in (rates[0], rates[-1]):
        side = "lower" if block.order[0] == rates[0] else "higher"
        said.append(f"The best is the {side[:-2]}est that was tried: a {side} rate may be better still.")
    return [sentence for sentence in said if sentence]


def _range(rates: list[str], alike: list[str]) -> str:
    if len(alike) == len(rates):
        return ""
    places = sorted(rates.index(rate) for rate in alike)
    if len(places) == 1:
        return f"Best range: {rates[places[0]]} alone, between {_neighbours(rates, places[0])}, which are worse."
    inside = [rate for rate in rates[places[0] : places[-1] + 1] if rate not in alike]
    hole = f", but for {' and '.join(inside)} between them" if inside else ""
    return f"Best range: {rates[places[0]]} to {rates[places[-1]]}{hole}."


def _neighbours(rates: list[str], place: int) -> str:
    near = [rates[other] for other in (place - 1, place + 1) if 0 <= other < len(rates)]
    return " and ".join(near) if len(near) == 2 else f"the edge of what was tried and {near[0]}"


def drawn(strand: Strand) -> list[Drawn | None]:
    """Accuracy against the rate, and the learning curves."""
    return [_rates(strand), figures.learning(strand, "learning rate")]


def _rates(strand: Strand) -> Drawn:
    title = "Accuracy by learning rate"
    levels = [level for level in strand.levels if level.label in strand.scores.values]
    numbers = np.array([float(level.values[0]) for level in levels])
    apart = len(set(numbers)) == len(numbers)
    places = numbers if apart and (numbers > 0).all() else np.arange(1.0, len(levels) + 1)
    rows: list[list[object]] = []
    with draw.style():
        figure, axes = draw.sheet(title, legend=2)
        lines: list[Any] = []
        both = (("val/acc", "validation"), ("test/acc", "test, beside it"))
        for index, (name, label) in enumerate((("test/acc", "test, watched"),) if strand.kind.watched else both):
            samples = [level.of(name) for level in levels]
            lines += axes.plot(
                places, [100 * np.mean(list(sample.values())) for sample in samples], label=label, **draw.look(index)
            )
            for place, level, sample in zip(places, levels, samples, strict=True):
                mark: dict[str, Any] = {"color": draw.PALETTE[index], "alpha": 0.8, "markersize": 9 if index == 0 else 5}
                axes.plot([place] * len(sample), [100 * value for value in sample.values()], "_x"[index], **mark)
                rows += [[level.label, name, seed if isinstance(seed, int) else "", value] for seed, value in sample.items()]
        alike = [place for place, level in zip(places, levels, strict=True) if level.label in strand.scores.alike]
        told = strand.scores.deviation is not None and len(alike) < len(levels)
        if told:
            wide = 10 ** (np.log10(places).max() - np.log10(places).min()) if len(levels) > 1 else 1.0
            edge = wide ** (0.25 / max(1, len(levels) - 1))
            lines.append(axes.axvspan(min(alike) / edge, max(alike) * edge, color=draw.PALETTE[2], alpha=0.13, linewidth=0,
                                      label="the best, and what cannot be told from it"))  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(places, [level.label for level in levels])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="peak learning rate", ylabel="accuracy (%)")
        draw.keys(figure, lines, [str(line.get_label()) for line in lines], 2)
        best = strand.scores.order[0]
        caption = "Lines: means over seeds; bars and crosses: single seeds."
        caption += f" The best is {best} ({percent(strand.scores.means[best])}%)."
        return draw.finish("rates", figure, title, caption, ("learning rate", "measure", "seed", "value"), rows)
