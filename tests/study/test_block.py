"""Comparing recipes over common seeds: by hand, against scipy, and by the rate of false alarms and of finds."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from cifar_lit import compare
from cifar_lit.study.block import Block


def drawn(rng: np.random.Generator, levels: int, seeds: int, first: float = 0.0, shared: float = 3.0) -> Block:
    common = shared * rng.standard_normal(seeds)
    return Block({
        level: {seed: float(rng.standard_normal() + common[seed] + (first if level == 0 else 0)) for seed in range(seeds)}
        for level in range(levels)
    })  # fmt: skip


def test_two_recipes_are_a_paired_t_test():
    one, other = {0: 0.30, 1: 0.33, 2: 0.31}, {0: 0.28, 1: 0.30, 2: 0.30}
    gap, known = Block({"a": one, "b": other}).gap("a", "b"), compare.difference(one, other)
    assert known.paired
    assert (gap.mean, gap.low, gap.high) == pytest.approx((known.mean, known.low, known.high), rel=1e-3)


def test_without_common_seeds_intervals_are_tukeys():
    rng = np.random.default_rng(1)
    values = {level: {(level, seed): float(rng.standard_normal()) for seed in range(3)} for level in range(4)}
    # Seeds of their own leave nothing to take out, and no degrees of freedom: pooled, they are one block each.
    assert Block(values).deviation is None
    by_number = {level: {0: sample} for level, sample in enumerate([1.0, 2.0])}
    assert Block(by_number).deviation is None and not Block(by_number).gap(0, 1).told


def test_deviation_is_what_recipes_and_seeds_leave():
    block = drawn(np.random.default_rng(2), 4, 3)
    table = np.array([[block.values[level][seed] for seed in range(3)] for level in range(4)])
    left = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    assert block.freedom == 6
    assert block.deviation == pytest.approx(np.sqrt((left**2).sum() / 6))
    critical = stats.studentized_range.ppf(0.95, 4, 6) / np.sqrt(2)
    gap = block.gap(0, 1)
    assert block.smallest() == pytest.approx(gap.high - gap.mean) and block.smallest() < block.detectable()
    assert gap.high - gap.mean == pytest.approx(critical * block.deviation * np.sqrt(2 / 3))


@pytest.mark.parametrize(("levels", "seeds"), [(3, 3), (8, 3)])
def test_false_alarms_are_rare_though_the_best_is_picked_by_looking(levels, seeds):
    rng = np.random.default_rng(3)
    alarms = sum(len(drawn(rng, levels, seeds).alike) < levels for _ in range(150))
    assert alarms / 150 < 0.10  # 5% is promised; 10% is three deviations above


def test_what_can_be_seen_is_seen_four_times_in_five():
    rng = np.random.default_rng(4)
    sizes = [drawn(rng, 4, 3).detectable() for _ in range(20)]
    # The deviation is measured, and so is off; in the mean of the squares it is 1.
    unit = Block({level: dict.fromkeys(range(3), 0.0) for level in range(4)})
    unit.__dict__["_fit"] = (6.0, 6, {})
    effect = unit.detectable()
    assert np.median(sizes) == pytest.approx(effect, rel=0.3)
    found = sum(block.gap(0, 1).low > 0 for block in (drawn(rng, 4, 3, first=effect) for _ in range(150)))
    assert found / 150 == pytest.approx(0.8, abs=0.1)


def test_a_recipe_that_diverges_by_seed_does_not_drown_the_others():
    steady = {level: {seed: 0.3 + 0.02 * level + 0.001 * ((seed * 7 + level * 3) % 5) for seed in range(3)} for level in range(3)}
    wild = {"wild": {0: 0.01, 1: 0.25, 2: 0.1}}
    block = Block({**steady, **wild})
    assert block.erratic == ["wild"]
    assert block.deviation == pytest.approx(Block(steady).deviation)
    assert block.gap(2, 1).told
    assert block.gap(2, "wild").high - block.gap(2, "wild").low > 0.2  # by its own seeds


def test_differences_that_are_the_same_in_every_seed_tell_nothing():
    """What is left is rounding, some 1e-16, and no deviation that anything could be told by."""
    block = Block({"a": {0: 0.3, 1: 0.4, 2: 0.7}, "b": {0: 0.1, 1: 0.2, 2: 0.5}, "c": {0: 0.2, 1: 0.3, 2: 0.6}})
    assert block.freedom == 4 and block.deviation is None and block.smallest() is block.detectable() is None
    gap = block.gap("a", "b")
    assert gap.mean == pytest.approx(0.2) and gap.low is gap.high is None and not gap.told
    assert block.alike == ["a", "c", "b"]
    level = {name: {seed: 0.1 * (name + 1) + 1e-17 * seed for seed in range(3)} for name in range(3)}
    assert Block({**level, "one": {0: 0.3, 1: 0.31, 2: 0.32}}).erratic == []


def test_a_recipe_with_few_seeds_is_compared_in_these():
    """Not by its mean over them: these are good seeds, or bad ones, for all."""
    seeds = {0: 0.00, 1: 0.05, 2: -0.05}
    full = {name: {s: 0.5 + level + add + 0.001 * ((3 * s + n) % 4) for s, add in seeds.items()}
            for n, (name, level) in enumerate({"a": 0.02, "b": 0.01, "c": 0.0}.items())}  # fmt: skip
    block = Block({**full, "lucky": {1: full["a"][1] - 0.01}, "unlucky": {2: full["a"][2] + 0.01}})
    assert block.means["lucky"] > block.means["a"] > block.means["unlucky"]
    assert block.gap("lucky", "a").mean == pytest.approx(-0.01) and block.gap("unlucky", "a").mean == pytest.approx(0.01)
    assert block.order[0] == "unlucky" and block.order.index("a") < block.order.index("lucky")
    full_width, one = block.gap("a", "b"), block.gap("a", "lucky")
    assert one.high - one.low == pytest.approx(math.sqrt(3) * (full_width.high - full_width.low))
    welch = block.gap("lucky", "unlucky")  # no seed in common, and one each
    assert (welch.low, welch.high) == (None, None)


def test_missing_seeds_give_no_more_false_alarms():
    """Seeds that differ three times as much as chance, four equal levels of which one has a single seed."""
    rng, wrong, tries = np.random.default_rng(0), 0, 300
    for _ in range(tries):
        add = 3 * rng.standard_normal(3)
        values = {level: {seed: add[seed] + rng.standard_normal() for seed in range(3 if level else 1)} for level in range(4)}
        block = Block(values)
        wrong += any(block.gap(one, other).told for one, other in itertools.combinations(values, 2))
    assert wrong / tries < 0.08


def test_seeds_that_are_missing():
    block = Block({"a": {0: 0.3, 1: 0.31, 2: 0.32}, "b": {0: 0.2, 2: 0.222}, "c": {1: 0.1}})
    assert block.seeds == 1 and block.freedom == 1
    assert block.gap("a", "b").mean == pytest.approx(0.099)  # over seeds 0 and 2
    assert block.gap("a", "c").mean == pytest.approx(0.21)
