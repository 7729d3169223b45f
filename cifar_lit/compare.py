"""Comparing recipes by a few seeds each: intervals, paired differences, what could be told apart, and what mattered.

Plain numbers in and out. Accuracies are compared as they are; differences between recipes are taken seed by seed where the
same seeds were run, since a seed's data order and held-out images are shared.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import numpy as np
from scipy import optimize, stats

LEVEL = 0.95
POWER = 0.80
# A smaller deviation is one of rounding: a few seeds that agree so well do not say how far apart others would lie.
NEGLIGIBLE = 1e-12
_MOST_LEVELS = 6  # a number with more values than this is cut into quarters


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval, which is None for a single value, or equal ones: they say nothing of the next."""

    mean: float
    n: int
    deviation: float | None
    low: float | None
    high: float | None


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Mean and Student's interval of a few values, such as a recipe's accuracies over seeds."""
    sample = np.asarray(values, float)
    if len(sample) == 0:
        raise ValueError("no values to estimate from")
    mean = float(sample.mean())
    if len(sample) == 1:
        return Estimate(mean, 1, None, None, None)
    deviation = float(sample.std(ddof=1))
    if deviation <= NEGLIGIBLE:
        return Estimate(mean, len(sample), deviation, None, None)
    half = float(stats.t.ppf((1 + level) / 2, len(sample) - 1)) * deviation / math.sqrt(len(sample))
    return Estimate(mean, len(sample), deviation, mean - half, mean + half)


@dataclass(frozen=True)
class Difference:
    """How far a recipe lies from another. paired: by common seeds; else by Welch's test.

    low, high, p: None where n is too small, or where all seeds differ by the same amount: a deviation of 0 is not known, but
    too small for so few seeds to show. error, freedom: the standard error of the mean and its degrees of freedom; 0 likewise.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    n: int
    paired: bool
    error: float = 0.0
    freedom: float = 0.0


def difference(one: Mapping[Any, float], other: Mapping[Any, float], level: float = LEVEL) -> Difference:
    """one - other, each a value by seed. Paired t test over the common seeds; Welch's where there are fewer than two of them."""
    common = sorted(one.keys() & other.keys(), key=str)
    if len(common) >= 2:
        gaps = estimate([one[seed] - other[seed] for seed in common], level)
        if gaps.low is None:
            return Difference(gaps.mean, None, None, None, len(common), True)
        test = stats.ttest_rel([one[seed] for seed in common], [other[seed] for seed in common])
        error = (gaps.deviation or 0.0) / math.sqrt(len(common))
        return Difference(gaps.mean, gaps.low, gaps.high, float(test.pvalue), len(common), True, error, len(common) - 1)
    first, second = list(one.values()), list(other.values())
    mean = float(np.mean(first) - np.mean(second))
    fewest = min(len(first), len(second))
    if fewest < 2 or np.std(first) + np.std(second) <= NEGLIGIBLE:
        return Difference(mean, None, None, None, fewest, False)
    test = stats.ttest_ind(first, second, equal_var=False)
    interval = test.confidence_interval(level)
    error = math.sqrt(np.var(first, ddof=1) / len(first) + np.var(second, ddof=1) / len(second))
    p, freedom = float(test.pvalue), float(test.df)
    return Difference(mean, float(interval.low), float(interval.high), p, fewest, False, error, freedom)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for how many there are (Holm, 1979): the chance of any false alarm among them stays below p."""
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        corrected[index] = highest
    return corrected


def detectable(error: float, freedom: float, level: float = LEVEL, power: float = POWER, critical: float | None = None) -> float:
    """The smallest true difference that a two-sided t test of this standard error finds with this power, 1/2 and more.

    By the noncentral t distribution. freedom: degrees of freedom, above 0: n - 1 of n pairs, Welch's of two samples.
    critical: the limit in standard errors, where it is not Student's of the level.
    """
    if critical is None:
        critical = float(stats.t.ppf((1 + level) / 2, freedom))

    def missing(effect: float) -> float:
        return float(stats.nct.sf(critical, freedom, effect)) - power  # the other tail is next to nothing

    highest = critical + 10.0
    while missing(highest) < 0:
        highest *= 2
    return float(optimize.brentq(missing, 0.0, highest)) * error


def welch_freedom(n: int) -> float:
    """What Welch's test of two samples of n of one deviation has for degrees of freedom: 2n - 2, less what chance takes.

    By simulation, `detectable` with these finds 80%, to 2 points, from two seeds each on.
    """
    return max(1.25, 2.0 * n - 3)


def spread(groups: Sequence[Sequence[float]]) -> float | None:
    """The deviation between runs that differ in nothing but the seed, pooled over recipes; None without any repeated one."""
    freedom = sum(len(group) - 1 for group in groups)
    if freedom < 1:
        return None
    return math.sqrt(sum(float(np.var(group, ddof=1)) * (len(group) - 1) for group in groups if len(group) > 1) / freedom)


def alike(groups: Sequence[Sequence[float]], level: float = 0.99) -> bool:
    """Whether groups may have one deviation, so that theirs may be pooled (Bartlett, 1937): not, where it would surprise."""
    repeated = [group for group in groups if len(group) > 1 and float(np.std(group)) > NEGLIGIBLE]
    return len(repeated) < 2 or float(stats.bartlett(*repeated).pvalue) > 1 - level


def variance_explained(configs: Sequence[Mapping[str, Any]], values: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    """The share of the values' variance that each setting explains and the others do not (omega squared), largest first.

    By an additive model of all the settings; a number with many values is cut into quarters. What settings do together counts as
    unexplained, and a share is 0 where a setting explains no more than chance would. Of too few runs the shares are chance's:
    see `freedom`.
    """
    sample = np.asarray(values, float)
    columns = {name: _levels([config.get(name) for config in configs]) for name in names}
    total = float(((sample - sample.mean()) ** 2).sum()) if len(sample) else 0.0
    left, freedom = unexplained(sample, list(columns.values()))
    chance = left / freedom if freedom else 0.0
    shares = {}
    for name in names:
        without, more = unexplained(sample, [column for other, column in columns.items() if other != name])
        explained = without - left - (more - freedom) * chance
        shares[name] = max(0.0, float(explained / (total + chance))) if total and explained > 1e-12 * total else 0.0
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def freedom(configs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[int, int]:
    """The degrees of freedom that the model of `variance_explained` leaves, to tell chance by, and the fewest that would do."""
    columns = [_levels([config.get(name) for config in configs]) for name in names]
    most = max((len(set(column)) - 1 for column in columns), default=0)
    return unexplained(np.zeros(len(configs)), columns)[1], least_freedom(most)


@cache
def least_freedom(own: int) -> int:
    """The fewest degrees of freedom that must be left for chance, so that it does not pass for what matters.

    With them, a setting of `own` degrees of freedom and no effect comes out with more than half of the variance one time in
    twenty at most. By the F distribution: omega squared is above 1/2 where F is above (left + 1 + 2 own) / own.
    """
    return next(left for left in count(1) if own < 1 or stats.f.sf((left + 1 + 2 * own) / own, own, left) <= 1 - LEVEL)


def unexplained(sample: np.ndarray, columns: Sequence[Sequence[Any]]) -> tuple[float, int]:
    """What an additive model of some settings leaves: the sum of squares and its degrees of freedom.

    sample: (n,). columns: the level of each setting that each value has, n of them.
    """
    terms = [np.ones(len(sample))]
    for column in columns:
        terms += [np.array([own == level for own in column], float) for level in list(dict.fromkeys(column))[1:]]
    matrix = np.stack(terms, axis=1)
    weights, _, rank, _ = np.linalg.lstsq(matrix, sample, rcond=None)
    return float(((sample - matrix @ weights) ** 2).sum()), len(sample) - int(rank)


def _levels(column: list[Any]) -> list[str]:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in column)
    if numbers and len(set(column)) > _MOST_LEVELS:
        edges = np.quantile(column, [0.25, 0.5, 0.75])
        return [str(int(np.searchsorted(edges, value))) for value in column]
    return [str(value) for value in column]


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which (cost, gain) no other beats in both: indices in order of cost."""
    front: list[int] = []
    best = -math.inf
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[index][1] > best:
            best = points[index][1]
            front.append(index)
    return front
