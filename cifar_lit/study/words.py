"""Sentences that every study's verdict has: who is best, who cannot be told from it, and what could have been seen."""

from cifar_lit import compare
from cifar_lit.report.words import listed, percent, points, several
from cifar_lit.study.block import Gap
from cifar_lit.study.found import Strand

ONE_SEED = "No recipe has two seeds: nothing here can be told from chance, and the order may be luck. Run more: seed=range(0,3)."
NO_OVERLAP = "The recipes have too few seeds in common: nothing here can be told from chance, and the order may be luck."
NO_SPREAD = (
    "All differences are the same in every seed: their spread is too small for these seeds to show, so that no interval can be"
    " given and nothing can be told from chance. Run more: seed=range(0,6)."
)


def size(share: float) -> str:
    """1.20, for 0.012: a difference without its sign."""
    return percent(abs(share))


def interval(gap: Gap) -> str:
    """+0.41 [-0.20, +1.02], in points."""
    if gap.low is None or gap.high is None:
        return points(gap.mean)
    return f"{points(gap.mean)} [{points(gap.low)}, {points(gap.high)}]"


def measured(strand: Strand) -> str:
    """validation accuracy; or test accuracy, where the test images were watched."""
    return strand.kind.score_words


def best(strand: Strand, what: str) -> str:
    """The best level, with its test accuracy beside it. what: a level as people call it, such as `learning rate`."""
    block = strand.scores
    name = block.order[0]
    beside = strand.level(name).of("test/acc").values()
    words = f"Best {what}: {name}, {percent(block.means[name])}% {measured(strand)}"
    if not strand.kind.watched:
        words += f" ({percent(sum(beside) / len(beside))}% on the test images, which had no part in the choice)"
    return f"{words}, mean of {several(len(block.values[name]), 'seed')}."


def alike(strand: Strand, what: str) -> str:
    """Which levels cannot be told from the best. what: levels as people call them, such as `learning rates`."""
    block = strand.scores
    first, *others = block.alike
    if len(block.values) == 1:
        return f"Only one of the {what} has results: there is nothing to compare it with."
    if block.deviation is None:
        return NO_SPREAD if block.freedom else ONE_SEED if max(map(len, block.values.values())) < 2 else NO_OVERLAP
    if len(others) == len(block.values) - 1:
        return f"None of the other {what} can be told from it by these seeds: the order may be luck."
    if not others:
        nearest = block.order[1]
        by = interval(block.gap(first, nearest)).lstrip("+")
        return f"It is ahead of all other {what}; of the nearest, {nearest}, by {by} points."
    gaps = [f"{name} ({interval(block.gap(name, first))} points)" for name in others]
    return f"Cannot be told from it by these seeds: {listed(gaps, 4)}."


def behind(strand: Strand) -> str:
    """Which levels are behind the best for certain, and by how much; empty where none is."""
    block = strand.scores
    told = [name for name in block.order if name not in block.alike]
    if not told:
        return ""
    gaps = [f"{name} by {size(block.gap(name, block.order[0]).mean)} points" for name in told]
    return f"Behind {block.order[0]}: {listed(gaps, 6)}."


def power(strand: Strand) -> list[str]:
    """How sure all this is: what differences could have been seen, and what was not measured."""
    block = strand.scores
    smallest, found = block.smallest(), block.detectable()
    if smallest is None or found is None or block.deviation is None:
        return []
    most = max(len(sample) for sample in block.values.values())
    n = several(block.seeds, "seed") if most == block.seeds else f"{block.seeds} to {most} seeds"
    words = [
        f"With {n} and a deviation of {percent(block.deviation)} points, differences below {_points(smallest)} could not have"
        f" been seen, and a true difference of {_points(found)} is seen with a chance of {100 * compare.POWER:.0f}%.",
        "The deviation is between seeds, pooled over all levels, without what seeds have in common, from"
        f" {several(block.freedom, 'degree')} of freedom; all intervals hold together with a chance of 95% (Tukey, Kramer).",
    ]
    if block.erratic:
        names = listed([f"{name}" for name in block.erratic])
        words.append(
            f"The seeds of {names} lie far wider apart than the others': compared by their own seeds alone (Bonferroni)."
        )
    if not strand.kind.watched:
        words.append(
            "All seeds share their held-out images: chance here is that of starting weights and of order, not of other images."
            " The best of several is also the luckiest: its own number flatters a little, its test accuracy does not."
        )
    else:
        words.append(
            "The test images were watched while training: these numbers are flattering, and no choice should rest on them."
        )
    return words


def _points(share: float) -> str:
    """A difference that can be seen; above 100 points there is none."""
    return f"{percent(share)} points" if share < 1 else "100 points and more"
