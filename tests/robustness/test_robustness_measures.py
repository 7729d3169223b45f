"""Calibration, loss and separation, against other ways to compute them."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from cifar_lit.robustness.measure import confidences, log_sum_exp, score, separation


def answers(count=600, classes=10, seed=0, scale=3.0):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, count)
    values = scale * draw.standard_normal((count, classes))
    values[np.arange(count), labels] += 2
    return values, labels


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_scores_are_torchs(scale, temperature):
    values, labels = answers(scale=scale)
    one = score(values, labels, temperature)
    logits, truth = torch.from_numpy(values), torch.from_numpy(labels)
    assert one.images == 600 and one.acc == float((logits.argmax(1) == truth).double().mean())
    for given, nll, ece in ((logits, one.nll, one.ece), (logits / temperature, one.nll_calibrated, one.ece_calibrated)):
        assert nll == pytest.approx(float(F.cross_entropy(given, truth)))
        expected = multiclass_calibration_error(given.softmax(1), truth, 10, n_bins=15)
        assert ece == pytest.approx(float(expected), abs=1e-6)


def test_bins_add_up_and_none_is_calibrated_without_a_temperature():
    values, labels = answers()
    whole = score(values, labels, None)
    assert whole.ece_calibrated is whole.nll_calibrated is whole.bins_calibrated is None
    parts = score(values[:200], labels[:200], None).bins + score(values[200:], labels[200:], None).bins
    assert np.array_equal(parts.images, whole.bins.images) and parts.images.sum() == 600
    assert parts.ece == pytest.approx(whole.ece)


def test_calibration_by_hand():
    """Two images at 0.75, one of them right: 0.25 off. One at 1.0, right: none."""
    values = np.log(np.array([[0.75, 0.25], [0.75, 0.25], [1.0, 1e-300]]))
    one = score(values, np.array([0, 1, 0]), None)
    assert one.ece == pytest.approx(2 / 3 * 0.25)
    assert one.bins.images.tolist() == [0] * 11 + [2, 0, 0, 1]  # 0.75 is in the twelfth of fifteen, 1 in the last


def test_large_logits_do_not_overflow():
    values = np.array([[1000.0, 0.0], [-1000.0, 0.0]])
    assert log_sum_exp(values).tolist() == [1000.0, 0.0]
    assert score(values, np.array([0, 1]), 1.0).nll == 0


def test_confidences():
    values, _ = answers(5)
    found = confidences(values)
    assert found["max_softmax"] == pytest.approx(torch.from_numpy(values).softmax(1).amax(1).numpy())
    assert found["energy"] == pytest.approx(torch.from_numpy(values).logsumexp(1).numpy())


def pairs(own, others):
    """AUROC as what it means: how often an own image is the surer of a pair, where ties count half."""
    return np.mean([(a > b) + 0.5 * (a == b) for a in own for b in others])


def test_auroc_by_hand():
    own, others = np.array([0.9, 0.8, 0.4, 0.4]), np.array([0.5, 0.4, 0.1])
    auroc, fpr = separation(own, others)
    assert auroc == pytest.approx(pairs(own, others)) == pytest.approx(9 / 12)
    assert fpr == pytest.approx(2 / 3)  # 0.4 must pass for 95% of four; two of the others reach it
    assert separation(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == (1.0, 0.0)
    assert separation(np.array([1.0]), np.array([1.0]))[0] == 0.5


@pytest.mark.parametrize("shift", [0.0, 40.0])
def test_auroc_of_values_beyond_0_to_1(shift):
    """torchmetrics would take them for logits, of which the sigmoid of large ones is 1 for all."""
    draw = np.random.default_rng(0)
    own, others = draw.standard_normal(80) + 1 + shift, draw.standard_normal(60) + shift
    auroc, fpr = separation(own, others)
    assert auroc == pytest.approx(pairs(own, others))
    threshold = np.sort(own)[::-1][int(np.ceil(0.95 * 80)) - 1]
    assert fpr == pytest.approx((others >= threshold).mean())
