"""The statistics, against the libraries' own tests, tables and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from cifar_lit import compare


def test_an_interval_is_students():
    values = [0.70, 0.72, 0.71, 0.75]
    found = compare.estimate(values)
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.mean, found.n, found.deviation) == pytest.approx((0.72, 4, np.std(values, ddof=1)))


def test_one_value_has_no_interval_and_none_no_mean():
    assert compare.estimate([0.5]) == compare.Estimate(0.5, 1, None, None, None)
    with pytest.raises(ValueError):
        compare.estimate([])


def test_an_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [compare.estimate(rng.normal(3, 2, 3)) for _ in range(4000)]
    assert np.mean([one.low <= 3 <= one.high for one in found]) == pytest.approx(0.95, abs=0.012)


def test_differences_are_paired_by_seed():
    one = {1: 0.71, 2: 0.74, 3: 0.70, 9: 0.10}
    other = {3: 0.68, 1: 0.70, 2: 0.72, 8: 0.99}
    found = compare.difference(one, other)
    test = stats.ttest_rel([0.71, 0.74, 0.70], [0.70, 0.72, 0.68])
    assert found.paired and found.n == 3
    assert found.mean == pytest.approx(0.05 / 3)
    assert found.p == pytest.approx(test.pvalue)
    interval = test.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    back = compare.difference(other, one)
    assert (back.mean, back.p) == pytest.approx((-found.mean, found.p))


def test_without_common_seeds_welch():
    one, other = {1: 0.71, 2: 0.74, 3: 0.70}, {4: 0.60, 5: 0.66}
    found = compare.difference(one, other)
    test = stats.ttest_ind(list(one.values()), list(other.values()), equal_var=False)
    assert not found.paired and found.p == pytest.approx(test.pvalue)
    single = compare.difference({1: 0.7}, {1: 0.6})
    assert single.mean == pytest.approx(0.1) and single.p is None and single.low is None


@pytest.mark.parametrize(
    ("one", "other", "mean"),
    [
        ({1: 0.5, 2: 0.6}, {1: 0.5, 2: 0.6}, 0.0),
        ({1: 0.75, 2: 0.75}, {1: 0.5, 2: 0.5}, 0.25),
        ({1: 0.3, 2: 0.4}, {1: 0.1, 2: 0.2}, 0.2),  # equal but for rounding
        ({1: 0.3, 2: 0.3}, {3: 0.1, 4: 0.1}, 0.2),  # no common seed
    ],
)
def test_seeds_that_agree_to_the_last_digit_prove_nothing(one, other, mean):
    found = compare.difference(one, other)
    assert found.mean == pytest.approx(mean) and (found.low, found.high, found.p, found.n) == (None, None, None, 2)


def test_equal_values_have_no_interval():
    found = compare.estimate([0.3, 0.3, 0.3])
    assert (found.n, found.low, found.high) == (3, None, None) and found.deviation == pytest.approx(0.0, abs=1e-12)


def test_holm():
    assert compare.holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert compare.holm([0.9, 0.8]) == [1.0, 1.0]
    assert compare.holm([]) == []


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_what_can_be_told_apart_is_told_apart_so_often(n):
    effect = compare.detectable(1 / math.sqrt(n), n - 1)
    rng = np.random.default_rng(n)
    samples = rng.normal(effect, 1.0, (20_000, n))
    p = stats.ttest_1samp(samples, 0.0, axis=1).pvalue
    assert np.mean(p < 0.05) == pytest.approx(0.80, abs=0.015)
    assert compare.detectable(0.3 / math.sqrt(n), n - 1) == pytest.approx(0.3 * effect)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_so_it_is_without_pairs(n):
    effect = compare.detectable(math.sqrt(2 / n), compare.welch_freedom(n))
    one, other = np.random.default_rng(n).normal([[[effect]], [[0.0]]], 1.0, (2, 20_000, n))
    p = stats.ttest_ind(one, other, axis=1, equal_var=False).pvalue
    assert np.mean(p < 0.05) == pytest.approx(0.80, abs=0.02)


def test_more_seeds_tell_more():
    found = [compare.detectable(1 / math.sqrt(n), n - 1) for n in (2, 3, 5, 10, 100)]
    assert found == sorted(found, reverse=True) and found[-1] == pytest.approx(2.8 / 10, rel=0.02)


def test_the_error_of_a_difference_is_that_of_its_interval():
    paired = compare.difference({1: 0.70, 2: 0.68, 3: 0.71}, {1: 0.69, 2: 0.70, 3: 0.66})
    unpaired = compare.difference({1: 0.70, 2: 0.68, 3: 0.71}, {4: 0.69, 5: 0.72})
    assert paired.freedom == 2 and 1 < unpaired.freedom < 3
    for found in (paired, unpaired):
        assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, found.freedom) * found.error)


def test_deviations_are_pooled_unless_one_stands_out():
    steady = [[0.1, 0.2, 0.3], [0.5, 0.7, 0.6], [0.2, 0.21, 0.24]]
    assert compare.alike(steady) and compare.alike(steady[:1]) and compare.alike([[1.0], [2.0, 2.0, 2.0]])
    assert not compare.alike([*steady, [-9.0, 0.0, 12.0]])


def test_spread_is_pooled():
    assert compare.spread([[1.0, 3.0], [10.0, 14.0], [5.0]]) == pytest.approx(math.sqrt((2 + 8) / 2))
    assert compare.spread([[1.0], [2.0]]) is None


def test_variance_explained():
    configs = [{"a": a, "b": b, "c": c} for a in (0.1, 0.2) for b in ("x", "y") for c in range(5)]
    noise = np.random.default_rng(0).normal(0, 0.05, len(configs))
    values = [10 * config["a"] + 0.2 * (config["b"] == "y") + extra for config, extra in zip(configs, noise, strict=True)]
    shares = compare.variance_explained(configs, values, ["c", "b", "a", "d"])
    assert list(shares)[:2] == ["a", "b"] and shares["a"] > 0.9 > 0.1 > shares["b"] > 0.01
    assert shares["c"] < 0.02 and shares["d"] == 0.0
    assert set(compare.variance_explained(configs, [1.0] * len(configs), ["a"]).values()) == {0.0}


def test_variance_explained_is_none_for_what_is_chance():
    rng = np.random.default_rng(1)
    configs = [{"a": level} for level in range(4) for _ in range(3)]
    shares = [compare.variance_explained(configs, rng.normal(size=12), ["a"])["a"] for _ in range(300)]
    assert np.median(shares) == 0.0


def test_freedom_is_what_a_model_of_the_settings_leaves():
    """A setting of seven words takes six; a number of twenty values, cut into quarters, three."""
    configs = [{"a": "abcdefg"[i % 7], "b": i % 2, "lr": i / 7, "c": "ABCDEFG"[i % 7]} for i in range(20)]
    assert compare.freedom(configs, ["a", "b"]) == (20 - 1 - 6 - 1, compare.least_freedom(6))
    assert compare.freedom(configs, ["lr"]) == (20 - 1 - 3, compare.least_freedom(3))
    assert compare.freedom(configs, ["a", "c"])[0] == 20 - 1 - 6, "a second name for the same thing takes nothing"
    assert compare.freedom(configs[:8], ["a", "b"])[0] == 0 == compare.freedom([], ["a"])[0]


@pytest.mark.parametrize("own", [1, 6])
def test_with_the_least_freedom_chance_seldom_passes_for_what_matters(own):
    rng = np.random.default_rng(0)

    def often(left):
        configs = [{"a": "abcdefg"[run % (own + 1)]} for run in range(own + 1 + left)]
        shares = [compare.variance_explained(configs, rng.normal(size=len(configs)), ["a"])["a"] for _ in range(1000)]
        return np.mean(np.array(shares) > 0.5)

    least = compare.least_freedom(own)
    assert often(least) < 0.07 and often(least // 2) > 0.1


def test_numbers_with_many_values_are_cut_into_quarters():
    rng = np.random.default_rng(0)
    configs = [{"lr": float(10**power)} for power in rng.uniform(-4, -1, 40)]
    values = [-((math.log10(config["lr"]) + 2) ** 2) for config in configs]
    assert compare.variance_explained(configs, values, ["lr"])["lr"] > 0.5


def test_pareto():
    points = [(3.0, 0.5), (1.0, 0.2), (2.0, 0.6), (4.0, 0.6), (2.0, 0.1), (5.0, 0.9)]
    assert compare.pareto(points) == [1, 2, 5]
    assert compare.pareto([]) == []
