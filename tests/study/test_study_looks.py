"""How the figures of studies look: names and units on every axis, and nothing told by colour alone."""

import pytest
from figure_checks import check_axes, check_without_colour, check_words, keeping

from cifar_lit.study.conclude import conclude

MEANS = {
    "learning_rate": {0.1: 0.3, 0.03: 0.31, 0.01: 0.2},
    "sensitivity": {(b, d, c): 0.3 + 0.05 * (b == 125) for b in (125, 500) for d in (0.0, 0.01) for c in (None, 0.1)},
    "augmentation": {"ablation/all": 0.3, "ablation/no_crop": 0.3001, "none": 0.2},
    "optimizer": {name: 0.2 + 0.01 * place for place, name in enumerate("abcdefghijklmnop")},
    "schedule": {name: 0.2 + 0.01 * place for place, name in enumerate("abcdefghijklmnop")},
}


@pytest.mark.parametrize("study", sorted(MEANS))
def test_names_units_and_looks(study_of, study):
    figures = {}
    with keeping(figures):
        conclude(study_of(study, MEANS[study], seeds=2))
    assert figures
    for figure in figures.values():
        check_axes(figure, "weight decay")
        check_without_colour(figure)
        check_words(figure)
