"""Which settings mattered: the share of the score's variance that each explains and the others do not."""

from typing import Any

from cifar_lit import compare
from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.figures import rows
from cifar_lit.report.figures.settings import is_number
from cifar_lit.report.ranking import by_seed
from cifar_lit.report.subject import Subject
from cifar_lit.report.words import plain, several

COLUMNS = ("setting", "share")
_MOST = 12
_MOST_LEVELS = 20  # of words: a setting with a level of its own for each recipe explains everything, and nothing


def shares(subject: Subject) -> dict[str, float]:
    """The share of each setting that differs between recipes, over all runs of the ranking; the largest first."""
    if "shares" not in subject.cache:
        configs, values, names = _observed(subject)
        subject.cache["shares"] = compare.variance_explained(configs, values, names) if names else {}
    found: dict[str, float] = subject.cache["shares"]
    return found


def _observed(subject: Subject) -> tuple[list[dict[str, Any]], list[float], list[str]]:
    """The settings and the score of every run, and the names of the settings that a share can be given of."""
    configs: list[dict[str, Any]] = []
    values: list[float] = []
    for entry in subject.board.entries:
        sample = by_seed(entry.recipe.runs, subject.board.kind.score).values()
        configs += [entry.recipe.settings] * len(sample)
        values += sample
    levels = {name: [config.get(name) for config in configs] for name in subject.board.varied}
    names = [name for name, own in levels.items() if all(map(is_number, own)) or len(set(map(str, own))) <= _MOST_LEVELS]
    return configs, values, names


def draw_all(subject: Subject) -> list[Drawn | str]:
    """A bar a setting, where enough runs are there to tell them from chance."""
    found = shares(subject)
    if len(found) < 2:
        return []
    configs, values, names = _observed(subject)
    n, (left, needed) = several(len(values), "run"), compare.freedom(configs, names)
    if left < needed:
        return [
            f"Importance of settings: {n} of {several(len(names), 'setting')} leave {several(left, 'degree')} of freedom, and"
            f" {needed} are needed. With fewer, a setting that does nothing often seems to explain most: no bars are drawn."
        ]
    title = "What mattered"
    shown = list(found)[:_MOST]
    figure, axes = rows.sheet(title, [plain(name, 44) for name in shown])
    for place, name in enumerate(shown):
        axes.barh(place + 0.14, 100 * found[name], height=0.26, color=draw.PALETTE[0])
        axes.text(0.997, place - 0.26, f"{100 * found[name]:.1f}%", transform=axes.get_yaxis_transform(), ha="right", va="center",
                  fontsize=8)  # fmt: skip
    axes.set(xlim=(0, 100), xlabel=f"share of the variance of {subject.board.kind.score_words} (%)")
    rest = 1 - sum(found.values())
    caption = f"Omega squared of an additive model over {n}; numbers with many values are cut into quarters. "
    caption += f"The other {100 * max(rest, 0.0):.0f}% are seeds, settings acting together, and what cannot be told apart."
    return [draw.finish(subject.name("importance"), figure, title, caption, COLUMNS, [[*pair] for pair in found.items()])]
