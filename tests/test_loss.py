import math

import pytest
import torch
from torch.nn import functional as F

from cifar_lit.loss import CrossEntropy


def logits_and_labels(n=6, classes=10):
    return torch.randn(n, classes, generator=torch.Generator().manual_seed(0)), torch.arange(n)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_equals_torch(smoothing):
    logits, labels = logits_and_labels()
    assert torch.equal(CrossEntropy(smoothing)(logits, labels), F.cross_entropy(logits, labels, label_smoothing=smoothing))


def test_smoothing_by_hand():
    # Logits 0: every class has probability 1/4, whatever the target. Then one class apart.
    assert CrossEntropy(0.1)(torch.zeros(1, 4), torch.tensor([2])).item() == pytest.approx(math.log(4))
    logits = torch.tensor([[math.log(7.0), 0.0, 0.0, 0.0]])  # probabilities 0.7, 0.1, 0.1, 0.1
    right = (0.9 + 0.1 / 4) * -math.log(0.7) + 3 * (0.1 / 4) * -math.log(0.1)
    wrong = (0.9 + 2 * 0.1 / 4 + 0.1 / 4) * -math.log(0.1) + (0.1 / 4) * -math.log(0.7)
    assert CrossEntropy(0.1)(logits, torch.tensor([0])).item() == pytest.approx(right)
    assert CrossEntropy(0.1)(logits, torch.tensor([1])).item() == pytest.approx(wrong)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_targets(smoothing):
    logits, labels = logits_and_labels()
    loss = CrossEntropy(smoothing)
    assert torch.allclose(loss(logits, F.one_hot(labels, 10).float()), loss(logits, labels))
    half = 0.5 * F.one_hot(labels, 10).float() + 0.5 * F.one_hot(labels.flip(0), 10).float()
    assert torch.allclose(loss(logits, half), (loss(logits, labels) + loss(logits, labels.flip(0))) / 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(dtype):
    logits, labels = logits_and_labels(4096)
    labels = labels % 10
    logits = (logits * 8).to(dtype).requires_grad_()
    loss = CrossEntropy(0.1)(logits, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(F.cross_entropy(logits.detach().double(), labels, label_smoothing=0.1).item(), rel=1e-6)
    loss.backward()
    assert logits.grad.dtype == dtype


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 2.0, math.nan])
def test_bad_smoothing_is_refused(smoothing):
    with pytest.raises(ValueError, match=f"loss.smoothing={smoothing} .*allowed is 0 up to"):
        CrossEntropy(smoothing)
