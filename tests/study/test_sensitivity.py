"""Which setting matters most: recomputed by hand, seldom said of equals, and not said of too few runs."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from study.study_jobs import GRID
from study.test_verdicts import said, table

from cifar_lit.report.ranking import Kind
from cifar_lit.runs import Run
from cifar_lit.study import found, sensitivity


def test_sensitivity_finds_the_setting_that_matters(study_of):
    folder = study_of("sensitivity", GRID)
    text = said(folder)
    assert re.search(
        r"What matters most is the batch size: in single seeds it explains \d+ points more \(\d+ to \d+\) than", text
    )
    assert re.search(r"Best combination: batch 125 decay (0|0\.0001) clip", text)
    shares = {row["setting"]: float(row["share"]) for row in table(folder / "study" / "importance.csv")}
    means = np.array([*GRID.values()])
    batch = np.array([key[0] == 125 for key in GRID])
    by_hand = (
        sum(half.size * (half.mean() - means.mean()) ** 2 for half in (means[batch], means[~batch]))
        / ((means - means.mean()) ** 2).sum()
    )
    assert shares["data.batch_size"] == pytest.approx(by_hand, abs=0.03)
    assert shares["trainer.gradient_clip_val"] < 0.01 and shares["only together"] < 0.02
    assert len(table(folder / "study" / "grid.csv")) == 12


def test_what_matters_most_is_seldom_said_of_equals():
    """Two settings of the same true share, the larger of which is picked by looking; every seed may say so by luck."""
    rng, told, tries = np.random.default_rng(1), 0, 150
    for _ in range(tries):
        levels = []
        for batch, decay, clip in itertools.product((125, 500), (0.0, 0.0001, 0.01), (None, 0.1)):
            scores = 0.3 + 0.01 * (batch == 125) + 0.0106 * (decay == 0.01) + 0.005 * rng.standard_normal(3)
            rows = [Run(path=Path(str(seed)), status="finished", seed=seed, values=dict.fromkeys(("val/acc", "test/acc"), score))
                    for seed, score in enumerate(scores)]  # fmt: skip
            levels.append(found.Level(f"{batch} {decay} {clip}", (batch, decay, clip), tuple(rows)))
        strand = found.Strand(Kind(False, "cifar100", 1, False), tuple(levels), found.FACTORS["sensitivity"])
        told += "What matters most is" in sensitivity.verdict(strand)[0]
    assert told / tries < 0.07


def test_settings_that_act_together_are_seen(study_of):
    means = {(b, d, 0.1): 0.3 + 0.05 * ((b == 125) == (d == 0.0)) for b in (125, 500) for d in (0.0, 0.01)}
    strand = found.read(study_of("sensitivity", means)).strands[0]
    assert sensitivity.together(strand) > 0.95
    assert all(item.share < 0.05 for item in sensitivity.shares(strand))


def test_of_too_few_runs_it_is_not_said_what_matters(study_of):
    means = {(b, d, None): 0.3 + 0.05 * (b == 125) for b in (125, 500) for d in (0.0, 0.01)}
    (strand,) = found.read(study_of("sensitivity", means)).strands
    assert {item.low for item in sensitivity.shares(strand)} == {None}
    assert "Each seed has too few runs to tell from chance which matters most." in sensitivity.verdict(strand)[0]
    few = replace(strand, levels=strand.levels[:2])
    assert not sensitivity.shares(few) and "6 runs are too few to say how much each setting matters." in sensitivity.verdict(few)
    once = [replace(level, runs=level.runs[:1]) for level in strand.levels[1:]]
    assert sensitivity.together(replace(strand, levels=(strand.levels[0], *once))) is None


def test_settings_whose_seeds_agree_are_not_said_to_matter(study_of):
    text = said(study_of("sensitivity", GRID, noise=0.0))
    assert "The seeds do not differ" in text and "What matters most is" not in text
