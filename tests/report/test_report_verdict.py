"""What a ranking's verdict says: who is ahead, by how much, and what could have been told apart."""

import math
from pathlib import Path

import numpy as np
import pytest
from report.fake_runs import make_run
from report.test_report_ranking import boards, score_run
from scipy import stats

from cifar_lit import compare
from cifar_lit.report import tables, verdict
from cifar_lit.report.ranking import Board
from cifar_lit.report.words import MISSING, percent, points


def ranked(root: Path, values: dict[str, dict[int, float]]) -> Board:
    """The ranking of recipes whose validation and test accuracies are these, by seed."""
    for name, seeds in values.items():
        for seed, value in seeds.items():
            score_run(root / f"{name}{seed}", seed, name, value, value)
    return boards(root)[0][0]


def pair(root: Path, one: list[float], other: list[float], **more) -> list[str]:
    """The verdict on two recipes whose validation and test accuracies are these, by seed."""
    for name, values in (("sgd", one), ("adam", other)):
        for seed, value in enumerate(values):
            score_run(root / f"{name}{seed}", seed, name, value, value, **more)
    return verdict.sentences(boards(root)[0][0])


def test_verdict_of_a_clear_difference(tmp_path):
    said = " ".join(pair(tmp_path, [0.700, 0.702, 0.701], [0.688, 0.691, 0.689]))
    low, high = stats.ttest_rel([0.700, 0.702, 0.701], [0.688, 0.691, 0.689]).confidence_interval(0.95)
    assert "#1 is ahead of #2 (optimizer=adam) by 1.17 points of test accuracy" in said
    assert f"95%: +{percent(low)} to +{percent(high)}" in said and "3 seeds, paired by seed" in said


def test_verdict_without_a_difference_says_what_could_be_found(tmp_path):
    one, other = [0.70, 0.68, 0.71], [0.69, 0.70, 0.66]
    said = " ".join(pair(tmp_path, one, other))
    assert "No difference between #1 and #2 (optimizer=adam) that 3 seeds can show" in said
    power = verdict.power(boards(tmp_path)[0][0])
    deviation = np.std(np.subtract(one, other), ddof=1)
    assert power.n == (3, 3) and power.deviation == pytest.approx((deviation, deviation))
    # By simulation: paired t tests on differences of that size and deviation find it four times in five.
    sample = np.random.default_rng(0).normal(power.alone[0], deviation, (20_000, 3))
    assert (stats.ttest_1samp(sample, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.02)
    assert f"the smallest one that they could, four times in five, is {percent(power.alone[0])} points" in said


def test_what_a_pair_could_show_is_of_its_own_seeds(tmp_path):
    """Not of those of a third recipe, which agree with the first's to a hair, or lie far apart."""
    values = {"sgd": {1: 0.60, 2: 0.65, 3: 0.70}, "adam": {4: 0.60, 5: 0.66, 6: 0.685}, "adamw": {1: 0.59, 2: 0.641, 3: 0.690}}
    board = ranked(tmp_path / "mixed", values)
    gap, power, said = board.entries[1].test, verdict.power(board), " ".join(verdict.sentences(board))
    smallest = compare.detectable(gap.error, gap.freedom, level=0.975)  # among two comparisons
    assert not gap.paired and smallest > gap.high > 0.1
    assert f"the smallest one that they could, four times in five, is {percent(smallest)} points" in said
    gaps = [values["adamw"][seed] - values["sgd"][seed] for seed in (1, 2, 3)]
    assert power.partly and power.deviation == pytest.approx([np.std(gaps, ddof=1)] * 2) and "paired by seed, 0.19" in said


def test_deviations_that_cannot_be_one_are_not_pooled(tmp_path):
    values = {"sgd": {1: 0.600, 2: 0.602, 3: 0.601}, "adam": {1: 0.5995, 2: 0.6005, 3: 0.6005}, "wild": {1: 0.1, 2: 0.5, 3: 0.3}}
    board = ranked(tmp_path, values)
    gaps = [[own[seed] - values["sgd"][seed] for seed in (1, 2, 3)] for own in (values["adam"], values["wild"])]
    deviations = [np.std(gap, ddof=1) for gap in gaps]
    power = verdict.power(board)
    assert power.deviation == pytest.approx(deviations) and not power.partly
    assert power.alone == pytest.approx([compare.detectable(one / math.sqrt(3), 2) for one in deviations])
    assert power.among == pytest.approx([compare.detectable(one / math.sqrt(3), 2, level=0.975) for one in deviations])
    assert "deviations of 0.06 to 19.90 points" in " ".join(verdict.sentences(board))


def test_each_is_said_of_its_own_seeds_where_nothing_is_pooled(tmp_path):
    """Without common seeds, too, and of recipes with few and with many."""
    values = {"sgd": {seed: 0.70 + 0.001 * (seed % 3) for seed in range(8)}, "adam": {10: 0.60, 11: 0.605},
              "wild": {20: 0.2, 21: 0.6, 22: 0.4, 23: 0.1}}  # fmt: skip
    board = ranked(tmp_path, values)
    power = verdict.power(board)
    tests = [entry.test for entry in board.entries[1:]]
    own = [np.var(list(values[name].values()), ddof=1) for name in ("sgd", "adam", "wild")]
    assert power.n == (2, 4) and not any(test.paired for test in tests)
    assert power.deviation == pytest.approx([math.sqrt(own[0] + own[1]), math.sqrt(own[0] + own[2])])
    sizes = sorted(compare.detectable(test.error, test.freedom) for test in tests)
    assert power.alone == pytest.approx(sizes)
    assert "Power: with 2 to 4 seeds and deviations of" in " ".join(verdict.sentences(board))


def test_seeds_that_are_fewest_and_a_pooled_deviation(tmp_path):
    values = {"sgd": {1: 0.70, 2: 0.71, 3: 0.69}, "adam": {1: 0.66, 2: 0.68}, "adamw": {1: 0.61, 2: 0.65, 3: 0.60}}
    board = ranked(tmp_path, values)
    gaps = [[own[seed] - values["sgd"][seed] for seed in own] for own in (values["adam"], values["adamw"])]
    pooled = math.sqrt((np.var(gaps[0], ddof=1) + 2 * np.var(gaps[1], ddof=1)) / 3)
    power = verdict.power(board)
    assert power.n == (2, 2) and power.deviation == pytest.approx([pooled] * 2)
    assert power.alone == pytest.approx([compare.detectable(pooled / math.sqrt(2), 1)] * 2)


def test_recipes_without_a_common_seed_are_compared_unpaired(tmp_path):
    values = {"sgd": {1: 0.70, 2: 0.71, 3: 0.69}, "adam": {4: 0.66, 5: 0.64, 6: 0.65}}
    board = ranked(tmp_path, values)
    welch = stats.ttest_ind(list(values["adam"].values()), list(values["sgd"].values()), equal_var=False)
    assert board.entries[1].test.p == pytest.approx(welch.pvalue) and not board.entries[1].test.paired
    assert "unpaired: no two seeds in common" in " ".join(verdict.sentences(board))
    power = verdict.power(board)
    assert power.deviation == pytest.approx([math.sqrt(2) * 0.01] * 2)  # of a difference of two such recipes
    assert power.alone == pytest.approx([compare.detectable(0.01 * math.sqrt(2 / 3), 3)] * 2)


def test_verdict_on_single_seeds_and_one_recipe(tmp_path):
    assert "One seed each" in " ".join(pair(tmp_path / "single", [0.7], [0.6]))
    make_run(tmp_path / "alone" / "a")
    assert "one seed says nothing of the next" in " ".join(verdict.sentences(boards(tmp_path / "alone")[0][0]))


@pytest.mark.parametrize("other", [[0.7, 0.8], [0.6, 0.7]], ids=["equal", "equal but for rounding"])
def test_equal_seeds_give_no_nonsense(tmp_path, other):
    said = " ".join(pair(tmp_path, [0.7, 0.8], other))
    assert "nan" not in said and "inf" not in said and "p<" not in said and "ahead" not in said
    assert "The same difference in every seed, so that their spread is too small" in said
    board = boards(tmp_path)[0][0]
    assert verdict.power(board) is None
    assert tables.cells(board.entries[1])[-4:] == [points(other[0] - 0.7), MISSING, MISSING, "2"]


def test_one_recipe_whose_seeds_agree_among_others_that_are_tested(tmp_path):
    for name, values in (("sgd", [0.7, 0.71]), ("adam", [0.6, 0.61]), ("adamw", [0.5, 0.6])):
        for seed, value in enumerate(values):
            score_run(tmp_path / f"{name}{seed}", seed, name, value, value)
    said = " ".join(verdict.sentences(boards(tmp_path)[0][0]))
    assert "#1 and #2 cannot be tested against each other: the same difference in every seed" in said
    assert "1 recipe cannot be tested against #1: the same difference in every seed" in said


def test_a_runner_up_that_is_better_on_the_test_is_named_and_not_moved(tmp_path):
    for seed, noise in enumerate((0.0, 0.001, 0.002)):
        score_run(tmp_path / f"a{seed}", seed, "sgd", 0.70 + noise, 0.60 + noise)
        score_run(tmp_path / f"b{seed}", seed, "adam", 0.60 + noise, 0.70 + 1.1 * noise)
    board = boards(tmp_path)[0][0]
    assert board.entries[0].label == "optimizer=sgd"
    said = " ".join(verdict.sentences(board))
    assert "#1 is behind #2" in said and "#2: ahead of #1 on the test images" in said
