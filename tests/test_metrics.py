import math

import pytest
import torch
from torch.nn import functional as F
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_recall,
)

from cifar_lit.metrics import Evaluation, Tally, counted, fit_temperature

SIZES = (32, 32, 7, 1)  # of uneven batches, 72 in all


def outputs(classes, n=72, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator) + 2 * F.one_hot(labels, classes)
    return logits, labels


def tallied(logits, labels, sizes=SIZES):
    tally = Tally()
    for part, truth in zip(logits.split(sizes), labels.split(sizes), strict=True):
        tally.update(counted(F.cross_entropy(part, truth), part, truth))
    return tally


def evaluated(logits, labels, superclass_of=(), sizes=SIZES):
    evaluation = Evaluation(superclass_of)
    for part, truth in zip(logits.split(sizes), labels.split(sizes), strict=True):
        evaluation.update(part, truth)
    return evaluation.scores()


def test_tally_equals_the_means_over_all_images():
    logits, labels = outputs(10)
    expected = {
        "loss": F.cross_entropy(logits, labels).item(),
        "acc": (logits.argmax(1) == labels).float().mean().item(),
        "acc5": (logits.topk(5).indices == labels[:, None]).any(1).float().mean().item(),
    }
    assert expected["acc"] < expected["acc5"] < 1
    tally = tallied(logits, labels)
    assert tally.compute() == pytest.approx(expected)
    assert tally.so_far() == pytest.approx(expected)


def test_tally_starts_anew_after_a_reset():
    logits, labels = outputs(10)
    tally = tallied(logits, labels)
    tally.reset()
    assert tally.so_far() == {"loss": 0.0, "acc": 0.0, "acc5": 0.0}
    tally.update(counted(torch.tensor(2.0), logits[:3], logits[:3].argmax(1)))
    assert tally.compute() == {"loss": 2.0, "acc": 1.0, "acc5": 1.0}


def test_what_is_not_counted_is_no_number():
    logits, labels = outputs(10)
    tally = Tally()
    tally.update(counted(F.cross_entropy(logits, labels), logits, labels, top5=False))
    scores = tally.compute()
    assert math.isnan(scores["acc5"]) and scores["acc"] == tallied(logits, labels).compute()["acc"]


def test_tally_of_fewer_than_five_classes():
    logits, labels = outputs(3)
    scores = tallied(logits, labels).compute()
    assert scores["acc5"] == 1.0 and scores["acc"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())


def test_tally_counts_exactly_in_half_precision_and_holds_no_graph():
    tally = Tally()
    logits = torch.zeros(500, 10, dtype=torch.float16).index_fill(1, torch.tensor([4]), 1.0).requires_grad_()
    labels = torch.full((500,), 4)
    for _ in range(20):
        tally.update(counted(F.cross_entropy(logits.float(), labels), logits, labels))
    assert tally.compute()["acc"] == 1.0 and tally.sums[3] == 10_000
    assert not tally.sums.requires_grad


@pytest.mark.parametrize("classes", [3, 5, 10])
def test_evaluation_equals_torchmetrics(classes):
    logits, labels = outputs(classes)
    assert set(labels.tolist()) == set(range(classes))
    scores, confusion = evaluated(logits, labels)
    assert "acc_superclass" not in scores
    top5 = multiclass_accuracy(logits, labels, classes, average="micro", top_k=min(5, classes))
    assert scores == pytest.approx(
        {
            "loss": F.cross_entropy(logits, labels).item(),
            "acc": multiclass_accuracy(logits, labels, classes, average="micro").item(),
            "acc5": top5.item(),
            "f1": multiclass_f1_score(logits, labels, classes, average="macro").item(),
            "recall": multiclass_recall(logits, labels, classes, average="macro").item(),
            "ece": multiclass_calibration_error(logits, labels, classes, n_bins=15).item(),
        },
        abs=1e-6,
    )
    assert torch.equal(confusion, multiclass_confusion_matrix(logits, labels, classes))


def test_evaluation_by_hand():
    labels = torch.tensor([0, 0, 0, 1, 1, 3])
    called = torch.tensor([0, 0, 1, 1, 3, 2])  # class 2 is never true, class 4 neither true nor called
    scores, confusion = evaluated(F.one_hot(called, 5) * 10.0, labels, (0, 0, 1, 1, 1), (4, 2))
    assert confusion.tolist() == [[2, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert scores["acc"] == pytest.approx(3 / 6)
    assert scores["acc5"] == 1.0
    assert scores["recall"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)  # of the three classes that occur
    assert scores["f1"] == pytest.approx((4 / 5 + 2 / 4 + 0) / 3)
    assert scores["acc_superclass"] == pytest.approx(5 / 6)
    assert scores["ece"] == pytest.approx(0.5, abs=1e-3)  # sure every time, right half the time


def test_calibration_error_by_hand():
    # Two confidences, 0.95 (right 3 of 4) and 0.65 (right 1 of 2).
    confidence = torch.tensor([0.95] * 4 + [0.65] * 2, dtype=torch.float64)
    logits = torch.stack([confidence, 1 - confidence], 1).log()
    scores, _ = evaluated(logits, torch.tensor([0, 0, 0, 1, 0, 1]), sizes=(6,))
    assert scores["ece"] == pytest.approx(4 / 6 * 0.2 + 2 / 6 * 0.15, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_evaluation_of_half_precision_logits_is_in_float32(dtype):
    logits, labels = outputs(10)
    scores, _ = evaluated(logits.to(dtype), labels)
    again, _ = evaluated(logits.to(dtype).float(), labels)
    assert scores == again


def test_evaluation_starts_anew_after_a_reset():
    logits, labels = outputs(10)
    evaluation = Evaluation()
    evaluation.update(logits, labels)
    first, _ = evaluation.scores()
    evaluation.reset()
    evaluation.update(logits[:8], labels[:8])
    second, confusion = evaluation.scores()
    assert confusion.sum() == 8 and first != second
    assert all(isinstance(score, float) for score in second.values())


def test_ties_count_alike_in_validation_and_test():
    """In bfloat16 the largest logits of an image may be equal; which of them is the answer must not depend on who asks."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 3, (500, 100), generator=generator).bfloat16()
    labels = torch.randint(100, (500,), generator=generator)
    tally, evaluation = Tally(), Evaluation()
    tally.update(counted(torch.tensor(1.0), logits, labels))
    evaluation.update(logits, labels)
    assert tally.compute()["acc"] == pytest.approx(evaluation.scores()[0]["acc"])


def loss_at(logits, labels, temperature):
    return F.cross_entropy(logits.double() / temperature, labels).item()


@pytest.mark.parametrize("truth", [0.3, 0.8, 1.0, 2.5, 9.0])
def test_the_temperature_is_found_again(truth):
    generator = torch.Generator().manual_seed(0)
    honest = 2 * torch.randn(20_000, 10, generator=generator)
    labels = honest.softmax(1).multinomial(1, generator=generator)[:, 0]
    found = fit_temperature(honest * truth, labels)
    assert found == pytest.approx(truth, rel=0.03)
    best = loss_at(honest * truth, labels, found)
    assert all(best <= loss_at(honest * truth, labels, found * factor) for factor in (0.98, 0.999, 1.001, 1.02))


def test_the_temperature_has_bounds_where_the_data_have_none():
    sure, labels = 3 * torch.eye(4), torch.arange(4)
    assert fit_temperature(sure, labels) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(sure, labels.roll(1)) == pytest.approx(20, rel=1e-3)
    assert fit_temperature(torch.zeros(4, 4), labels) > 0
    assert fit_temperature(1e4 * sure, labels) > 0


def test_calibrated_error_is_that_of_the_divided_logits():
    logits, labels = outputs(10)
    evaluation = Evaluation()
    evaluation.update(logits, labels)
    scores, _ = evaluation.scores(temperature=1.7)
    assert scores["ece_calibrated"] == pytest.approx(multiclass_calibration_error(logits / 1.7, labels, 10, n_bins=15).item())
    assert scores["ece"] == pytest.approx(multiclass_calibration_error(logits, labels, 10, n_bins=15).item())
    assert "ece_calibrated" not in evaluation.scores()[0]
