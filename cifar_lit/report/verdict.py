"""What a ranking shows, in sentences made from its numbers: who is ahead, by how much, and what could have been told apart."""

import math
import statistics
from dataclasses import dataclass

from cifar_lit import compare
from cifar_lit.report.ranking import TEST, Board, Entry, by_seed
from cifar_lit.report.words import brief, equals, listed, percent, percent_interval, plain, points, several

CERTAIN = 1 - compare.LEVEL


@dataclass(frozen=True)
class Power:
    """What n seeds show with 80% power: the smallest difference in test accuracy, alone and among all comparisons (Bonferroni).

    Each from lowest to highest, and one number where the comparisons share a deviation (of the difference in a seed). partly:
    whether this is of the recipes that are compared seed by seed, and there are others.
    """

    n: tuple[int, int]
    partly: bool
    deviation: tuple[float, float]
    alone: tuple[float, float]
    among: tuple[float, float]
    comparisons: int


def power(board: Board) -> Power | None:
    """By the differences to the first recipe, pooled over the others where their deviations may be one; None without a test."""
    tests = {entry.rank: entry.test for entry in board.entries[1:] if entry.test is not None and entry.test.p is not None}
    if not tests:
        return None
    samples = {entry.rank: by_seed(entry.recipe.runs, TEST) for entry in board.entries}
    best = samples[1]
    paired = any(test.paired for test in tests.values())
    used = {rank: test for rank, test in tests.items() if test.paired == paired}
    counts = [test.n for test in used.values()]
    if paired:
        groups = [[samples[rank][seed] - best[seed] for seed in samples[rank].keys() & best.keys()] for rank in used]
    else:
        groups = [list(samples[rank].values()) for rank in (1, *used)]
    pooled = compare.spread(groups)
    if pooled is not None and compare.alike(groups):
        n, deviation = min(counts), pooled if paired else math.sqrt(2) * pooled
        errors = [(deviation / math.sqrt(n), n - 1.0 if paired else compare.welch_freedom(n))]
        counts, deviations = [n], [deviation]
    else:
        errors = [(test.error, test.freedom) for test in used.values()]
        own = [statistics.variance(group) for group in groups]
        deviations = [math.sqrt(one) for one in own] if paired else [math.sqrt(own[0] + other) for other in own[1:]]
    alone = [compare.detectable(*error) for error in errors]
    among = [compare.detectable(*error, level=_among(len(tests))) for error in errors]
    return Power((min(counts), max(counts)), len(used) < len(tests), _range(deviations), _range(alone), _range(among), len(tests))


def _range(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def _among(comparisons: int) -> float:
    """The level of one of so many comparisons (Bonferroni)."""
    return 1 - CERTAIN / comparisons


def sentences(board: Board) -> list[str]:
    """The verdict on a ranking."""
    best = board.entries[0]
    said = [_order(board)]
    if len(board.entries) == 1:
        n = several(best.seeds, "seed")
        alone = (
            f"One recipe, with {n}: {percent_interval(best.columns[TEST])}% test accuracy. There is nothing to compare it with"
        )
        return [*said, alone + ("." if best.seeds > 1 else "; one seed says nothing of the next.")]
    known = power(board)
    tested = [entry for entry in board.entries[1:] if entry.p_test is not None]
    if not tested:
        most = max(entry.seeds for entry in board.entries)
        why = "one seed each" if most == 1 else listed(_untested(board))
        why = f"{why[0].upper()}{why[1:]}"
        said.append(f"{why}: no interval and no test can be given, and the order may be luck. Run more, such as seed=1,2,3.")
        return said
    said.append(_second(board.entries[1], known.comparisons if known else 1))
    behind = [entry for entry in tested if (entry.p_test or 0) < CERTAIN and entry.test and entry.test.mean < 0]
    ahead = [entry for entry in tested if (entry.p_test or 0) < CERTAIN and entry.test and entry.test.mean > 0]
    level = len(tested) - len(behind) - len(ahead)
    if len(board.entries) > 2:
        said.append(
            f"Of {several(len(tested), 'recipe')} tested against #1, {several(len(behind), 'is', 'are')} behind it"
            f" in test accuracy (p below {CERTAIN:.2f} after Holm's correction) and {level} cannot be told from it."
        )
    if ahead:
        names = listed([f"#{entry.rank}" for entry in ahead])
        said.append(f"{names}: ahead of #1 on the test images. The order is by validation accuracy, and is not changed by that.")
    if known:
        several_deviations = known.deviation[0] < known.deviation[1]
        spread = "deviations" if several_deviations else "a deviation"
        few, most = known.n
        seeds = several(few, "seed") if few == most else f"{few} to {most} seeds"
        words = f"Power: with {seeds} and {spread} of {_from_to(known.deviation)}"
        words += f" between differences{' paired by seed' if known.partly else ''},"
        words += f" {_from_to(known.alone)} between two recipes are found four times in five"
        if known.comparisons > 1:
            words += f"; {_from_to(known.among)} where it must stand among {known.comparisons} comparisons (Bonferroni)"
        said.append(words + ".")
    untested = len(board.entries) - 1 - len(tested)
    if untested:
        said.append(f"{several(untested, 'recipe')} cannot be tested against #1: {listed(_untested(board))}.")
    return said


def _untested(board: Board) -> list[str]:
    """Why recipes could not be tested against the first, each reason once."""
    return list(dict.fromkeys(_why_not(entry) for entry in board.entries[1:] if entry.p_test is None))


def _why_not(entry: Entry) -> str:
    if entry.test is None or entry.test.n < 2:
        return "too few seeds"
    same = "the same difference in every seed" if entry.test.paired else "the same accuracy in every seed of each"
    return f"{same}, so that their spread is too small for these seeds to show"


def _order(board: Board) -> str:
    if board.kind.watched:
        which = "of the epoch that was best on them" if board.kind.evaluated == "best" else "of the last epoch"
        return (
            f"Ranked by test accuracy {which}. These runs were validated on the test images while they trained: whoever chose an"
            " epoch, a setting or a recipe by them has used them up, and the numbers are flattering. They are not comparable with"
            " runs that held images out."
        )
    return (
        "Ranked by validation accuracy, on training images held out for choosing. The test images had no part in the order; test"
        " accuracy, looked at once at the end, stands beside it, and the differences and p-values are of test accuracy."
    )


def _size(difference: float) -> str:
    """A difference that can be found; above 100 points there is none."""
    return f"{percent(difference)} points" if difference < 1 else "more than all there is, 100 points"


def _from_to(sizes: tuple[float, float]) -> str:
    low, high = sizes
    return _size(high) if low == high else f"{percent(low)} to {_size(high)}"


def _second(second: Entry, comparisons: int) -> str:
    gap = second.test
    if gap is None or gap.p is None or gap.low is None or gap.high is None:
        return f"#1 and #2 cannot be tested against each other: {_why_not(second)}."
    pair = f"#1 and #2 ({plain(brief(second.label))})"
    how = "paired by seed" if gap.paired else "unpaired: no two seeds in common"
    tested = f", {equals(second.p_test)} corrected for {comparisons} comparisons" if comparisons > 1 else ""
    about = f"95%: {points(-gap.high)} to {points(-gap.low)}, {equals(gap.p)}{tested}, {several(gap.n, 'seed')}, {how}"
    if (second.p_test or 0) < CERTAIN:
        side = "ahead of" if gap.mean < 0 else "behind"
        by = points(abs(gap.mean)).lstrip("+")
        return f"#1 is {side} #2 ({plain(brief(second.label))}) by {by} points of test accuracy ({about})."
    words = f"No difference between {pair} that {several(gap.n, 'seed')} can show: {points(-gap.mean)} points ({about})"
    smallest = compare.detectable(gap.error, gap.freedom, level=_among(comparisons))
    return f"{words}; the smallest one that they could, four times in five, is {_size(smallest)}."
