"""Comparing several recipes that were each run with the same few seeds: a randomised block design, its seeds the blocks.

Value = recipe + seed + chance. What all recipes have in common in a seed is taken out, and chance is pooled over all of them, so
that three seeds of four recipes give six degrees of freedom rather than two. Intervals hold together, for all pairs and with a
chance of 95% (Tukey 1953; Kramer 1956 where seeds are missing): the best may be picked by looking, and compared all the same.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from scipy import stats

from cifar_lit import compare

# A recipe whose seeds lie so many times as far apart as those of the middle recipe (a rate at which some seeds diverge) would
# drown the others' differences in its own chance.
_ERRATIC = 4.0
_FEWEST = 4  # recipes, for one to stand out


@cache
def _critical(recipes: int, freedom: int) -> float:
    """Tukey's limit, in standard errors of a difference."""
    return float(stats.studentized_range.ppf(compare.LEVEL, recipes, freedom)) / math.sqrt(2) if recipes > 1 else math.inf


@dataclass(frozen=True)
class Gap:
    """How far a recipe lies from another. low, high: of the interval; None without a deviation to make it from."""

    mean: float
    low: float | None
    high: float | None

    @property
    def told(self) -> bool:
        """Whether the two can be told apart."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Block:
    """values: of each recipe by seed."""

    values: Mapping[Any, Mapping[Any, float]]

    @cached_property
    def means(self) -> dict[Any, float]:
        """The mean of each recipe over its seeds."""
        return {name: float(np.mean(list(sample.values()))) for name, sample in self.values.items()}

    @cached_property
    def order(self) -> list[Any]:
        """The recipes, the highest mean first: where seeds are missing, as if all had run all, by what each seed adds."""
        _, _, adds = self._fit
        mean = {name: self.means[name] - float(np.mean([adds[seed] for seed in own])) for name, own in self.values.items()}
        return sorted(self.values, key=lambda name: -mean[name])

    @cached_property
    def erratic(self) -> list[Any]:
        """Recipes whose seeds lie far wider apart than the others': compared by their own seeds alone."""
        spread = {name: float(np.std(list(sample.values()), ddof=1)) for name, sample in self.values.items() if len(sample) > 2}
        if len(spread) < _FEWEST:
            return []
        middle = float(np.median(list(spread.values())))
        return [name for name, deviation in spread.items() if deviation > _ERRATIC * middle > compare.NEGLIGIBLE]

    @cached_property
    def _fit(self) -> tuple[float, int, dict[Any, float]]:
        """Sum of squares that recipes and seeds leave, its degrees of freedom, and what each seed adds: 0 where none can say."""
        pooled = [name for name in self.values if name not in self.erratic]
        rows = [(name, seed, value) for name in pooled for seed, value in self.values[name].items()]
        seeds = sorted({str(seed) for _, seed, _ in rows})
        matrix = np.array(
            [[name == own for own in pooled] + [str(seed) == other for other in seeds[1:]] for name, seed, _ in rows], float
        )
        sample = np.array([value for _, _, value in rows])
        weights, _, rank, _ = np.linalg.lstsq(matrix, sample, rcond=None)
        adds = {seed: 0.0 for own in self.values.values() for seed in own}
        if rank == matrix.shape[1]:  # every two recipes share seeds, or share them with others that do
            found = dict(zip(seeds[1:], weights[len(pooled) :], strict=True))
            adds |= {seed: float(found.get(str(seed), 0.0)) for seed in adds}
        return float(((sample - matrix @ weights) ** 2).sum()), len(rows) - int(rank), adds

    @property
    def freedom(self) -> int:
        """Degrees of freedom that the deviation is measured with."""
        return self._fit[1]

    @property
    def deviation(self) -> float | None:
        """Between seeds, pooled over recipes, without what the seeds have in common.

        None where no recipe has two seeds, or where all recipes differ by the same amounts in every seed.
        """
        left, freedom, _ = self._fit
        found = math.sqrt(left / freedom) if freedom > 0 else 0.0
        return found if found > compare.NEGLIGIBLE else None

    @property
    def _critical(self) -> float:
        """In standard errors of a difference: beyond it, two recipes are told apart."""
        return _critical(len(self.values), self.freedom)

    def gap(self, one: Any, other: Any) -> Gap:
        """one - other over the seeds that both have; where that is none, or one is erratic, by their own seeds alone.

        Means over different seeds differ by what the seeds add, too, of which the pooled deviation knows nothing.
        """
        first, second = self.values[one], self.values[other]
        common = sorted(first.keys() & second.keys(), key=str)
        if {one, other} & set(self.erratic) or not common:
            pairs = len(self.values) * (len(self.values) - 1) // 2
            found = compare.difference(first, second, 1 - (1 - compare.LEVEL) / pairs)
            return Gap(found.mean, found.low, found.high)
        mean = float(np.mean([first[seed] - second[seed] for seed in common]))
        if self.deviation is None:
            return Gap(mean, None, None)
        half = self._critical * self.deviation * math.sqrt(2 / len(common))
        return Gap(mean, mean - half, mean + half)

    @cached_property
    def alike(self) -> list[Any]:
        """The recipes that cannot be told from the best, itself among them."""
        best = self.order[0]
        return [best, *(name for name in self.order[1:] if not self.gap(best, name).told)]

    @property
    def seeds(self) -> int:
        """The number of seeds that every recipe has at least."""
        return min(len(sample) for sample in self.values.values())

    def smallest(self) -> float | None:
        """The smallest measured difference that is told from none, of two recipes with the fewest seeds; None without any."""
        if self.deviation is None or len(self.values) < 2:
            return None
        return self._critical * self.deviation * math.sqrt(2 / self.seeds)

    def detectable(self) -> float | None:
        """The smallest true difference of two recipes that is seen with a chance of 80%; None without a deviation."""
        if self.deviation is None or len(self.values) < 2:
            return None
        return compare.detectable(self.deviation * math.sqrt(2 / self.seeds), self.freedom, critical=self._critical)
