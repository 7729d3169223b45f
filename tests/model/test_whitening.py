import pytest
import torch
from torch.nn import functional as F

from cifar_lit.model import whitening
from cifar_lit.model.registry import build, describe
from cifar_lit.model.resnet import resnet8
from cifar_lit.model.whitening import PatchWhitening, whitening_stems


def correlated(count=400):
    """Images whose neighbours are alike, as photographs' are."""
    noise = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return F.avg_pool2d(noise, 3, stride=1) * torch.tensor([10.0, 20.0, 5.0])[:, None, None]


def test_patches_come_out_uncorrelated_and_of_unit_variance():
    stem = PatchWhitening(kernel_size=2)
    images = correlated()
    stem.fit(images)
    outputs = F.conv2d(images, stem.weight).transpose(0, 1).flatten(1)
    first, negatives = outputs.split(12)
    torch.testing.assert_close(first, -negatives)
    second_moments = first @ first.T / first.shape[1]
    torch.testing.assert_close(second_moments, torch.eye(12), atol=0.01, rtol=0)  # short of 1 by EPSILON
    before = F.unfold(images, 2).transpose(1, 2).flatten(0, 1)
    assert torch.corrcoef(before.T).fill_diagonal_(0).abs().max() > 0.3, "there was something to whiten"


def test_the_strongest_direction_comes_first():
    stem = PatchWhitening()
    stem.fit(correlated())
    norms = stem.weight[:12].flatten(1).norm(dim=1)
    assert (norms.diff() >= 0).all()


def test_patches_are_taken_a_part_at_a_time(monkeypatch):
    """Memory does not grow with the number and the size of images."""
    whole, parts, most = PatchWhitening(), PatchWhitening(), []
    whole.fit(correlated())
    monkeypatch.setattr(whitening, "_PIXELS", 1000)
    unfold = F.unfold
    monkeypatch.setattr(F, "unfold", lambda images, size: most.append(len(images)) or unfold(images, size))
    parts.fit(correlated())
    assert max(most) <= 1000 // 14**2 and sum(most) == 400
    torch.testing.assert_close(parts.weight.abs(), whole.weight.abs(), rtol=1e-3, atol=1e-3)


def test_nothing_is_trained_and_the_filters_are_saved():
    stem = PatchWhitening()
    assert not list(stem.parameters())
    stem.fit(correlated())
    other = PatchWhitening()
    other.load_state_dict(stem.state_dict())
    images = correlated(4)
    assert torch.equal(other(images), stem(images)) and stem(images).shape == (4, 24, 13, 13)


@pytest.mark.parametrize("size", [32, 33])
def test_as_the_stem_of_a_residual_network(size):
    net = resnet8(num_classes=5, stem="whitening")
    assert len(whitening_stems(net)) == 1 and not whitening_stems(resnet8(num_classes=5))
    assert net(torch.zeros(2, 3, size, size)).shape == (2, 5)
    again = build(describe(resnet8, num_classes=5, stem="whitening"))
    again.load_state_dict(net.state_dict())
