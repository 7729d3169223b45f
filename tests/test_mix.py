import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cifar_lit.mix import Mix, boxes, cutmix, dominant, mixup, soft_targets


def rng(seed=0):
    return np.random.default_rng(seed)


def numbered(n=16, height=8, width=12):
    """Image i is filled with the number i, and i is its label: each pixel tells where it came from."""
    return torch.arange(n).float()[:, None, None, None].expand(n, 3, height, width).clone(), torch.arange(n)


def published_box(weight, centre, height, width):
    """rand_bbox of the CutMix authors' code, with the centre given."""
    cut_height, cut_width = int(height * math.sqrt(1 - weight)), int(width * math.sqrt(1 - weight))
    row, column = int(centre[0] * height), int(centre[1] * width)
    top, bottom = max(row - cut_height // 2, 0), min(row + cut_height // 2, height)
    left, right = max(column - cut_width // 2, 0), min(column + cut_width // 2, width)
    return [top, left, bottom, right]


def test_boxes_are_the_published_ones_clipped_at_the_borders():
    weight, centre = rng().random(500), rng(1).random((500, 2))
    found = boxes(weight, centre, 32, 48)
    assert found.dtype == np.int64
    assert found.tolist() == [published_box(w, c, 32, 48) for w, c in zip(weight, centre, strict=True)]
    assert (found >= 0).all() and (found[:, [0, 2]] <= 32).all() and (found[:, [1, 3]] <= 48).all()
    assert (found[:, :2] <= found[:, 2:]).all()
    clipped = (found == 0) | (found == (32, 48, 32, 48))
    assert 100 < clipped.any(axis=1).sum() < 450


def test_box_of_a_known_weight():
    # A quarter of the image is cut: a box of half its sides.
    assert boxes(np.array([0.75]), np.array([[0.5, 0.5]]), 32, 32).tolist() == [[8, 8, 24, 24]]
    assert boxes(np.array([0.75]), np.array([[0.0, 0.999]]), 32, 32).tolist() == [[0, 23, 8, 32]]
    assert boxes(np.array([1.0]), np.array([[0.5, 0.5]]), 32, 32).tolist() == [[16, 16, 16, 16]]
    assert boxes(np.array([0.0]), np.array([[0.5, 0.5]]), 32, 32).tolist() == [[0, 0, 32, 32]]


@pytest.mark.parametrize("per_sample", [False, True])
def test_cutmix_equals_a_loop_over_samples(per_sample):
    images, partners = torch.randn(2, 6, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    k = 6 if per_sample else 1
    box = torch.from_numpy(boxes(rng().random(k), rng(1).random((k, 2)), 9, 7))
    mixed, share = cutmix(images, partners, box)
    assert mixed.shape == images.shape and share.shape == (6,)
    for i in range(6):
        top, left, bottom, right = box[i if per_sample else 0].tolist()
        expected = images[i].clone()
        expected[:, top:bottom, left:right] = partners[i][:, top:bottom, left:right]
        assert torch.equal(mixed[i], expected)
        assert share[i].item() == pytest.approx(1 - (bottom - top) * (right - left) / 63, abs=1e-7)


@pytest.mark.parametrize("per_sample", [False, True])
def test_mixup_equals_a_loop_over_samples(per_sample):
    images, partners = torch.randn(2, 6, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    weight = torch.from_numpy(rng().random(6 if per_sample else 1))
    mixed, share = mixup(images, partners, weight)
    assert mixed.dtype == torch.float32 and share.shape == (6,)
    for i in range(6):
        w = weight[i if per_sample else 0].item()
        assert torch.allclose(mixed[i], w * images[i] + (1 - w) * partners[i], atol=1e-6)
        assert share[i].item() == pytest.approx(w, abs=1e-7)


def test_the_images_given_stay_as_they_are():
    images, partners = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)
    cutmix(images, partners, torch.tensor([[0, 0, 4, 4]]))
    mixup(images, partners, torch.tensor([0.5]))
    assert (images == 0).all() and (partners == 1).all()


def test_soft_targets_by_hand():
    targets = soft_targets(torch.tensor([0, 1, 2]), torch.tensor([2, 1, 0]), torch.tensor([0.75, 0.5, 1.0]), 4)
    assert targets.tolist() == [[0.75, 0, 0.25, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert targets.dtype == torch.float32


def test_dominant_label():
    assert dominant(torch.tensor([[0.3, 0.7, 0.0], [0.6, 0.0, 0.4]])).tolist() == [1, 0]
    labels = torch.tensor([3, 1])
    assert dominant(labels) is labels


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("odds", [{"cutmix": 1.0}, {"mixup": 1.0}, {"cutmix": 1.0, "mixup": 1.0}])
def test_targets_say_what_the_images_are_made_of(odds, per_sample):
    images, labels = numbered()
    for seed in range(30):
        mixed, targets = Mix(**odds, per_sample=per_sample)(images, labels, 16, rng(seed))
        assert targets.shape == (16, 16) and (targets >= 0).all()
        assert torch.allclose(targets.sum(1), torch.ones(16))
        assert ((targets > 0).sum(1) <= 2).all()
        # The mean of image i is the mean of the labels it is made of, weighted by their shares.
        assert torch.allclose(mixed.mean((1, 2, 3)), targets @ labels.float(), atol=1e-4)


def test_partners_are_a_permutation():
    images, labels = numbered()
    mixed, targets = Mix(mixup=1.0)(images, labels, 16, rng(3))
    assert torch.allclose(targets.sum(0), torch.ones(16), atol=1e-6)  # every image is given once, and kept once
    assert torch.allclose(mixed.sum(0), images.sum(0), atol=1e-4)


def test_cutmix_pastes_one_box_alike_in_all_images():
    images, labels = numbered()
    mixed, targets = Mix(cutmix=1.0)(images, labels, 16, rng(2))
    changed = (mixed != images).any(1)
    there = changed.any(0)
    rows, columns = there.any(1).nonzero().flatten(), there.any(0).nonzero().flatten()
    assert len(rows) and there[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert int(there.sum()) == len(rows) * len(columns)
    share = targets[torch.arange(16), labels]
    moved = changed.any((1, 2))
    assert torch.allclose(share[moved], torch.tensor(1 - int(there.sum()) / 96))


def test_per_sample_draws_differ_within_a_batch_and_batch_draws_do_not():
    images, labels = numbered()

    def shares(**options):
        _, targets = Mix(mixup=1.0, **options)(images, labels, 16, rng(1))
        apart = (targets > 0).sum(1) == 2
        return targets[torch.arange(16), labels][apart]

    assert len(shares().unique()) == 1
    assert len(shares(per_sample=True).unique()) > 10


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_p_is_the_rate_of_mixed_batches(p):
    images, labels = numbered(4, 2, 2)
    mix, generator, n = Mix(mixup=1.0, p=p), rng(), 3000
    count = 0
    for _ in range(n):
        mixed, targets = mix(images, labels, 4, generator)
        if targets.ndim == 1:
            assert mixed is images and targets is labels
        count += targets.ndim == 2
    assert abs(count - n * p) <= 5 * math.sqrt(n * p * (1 - p))


def test_p_is_the_rate_of_mixed_samples_where_each_draws():
    images, labels = numbered(2000, 1, 1)
    mixed, _ = Mix(mixup=1.0, p=0.3, per_sample=True)(images, labels, 2000, rng())
    count = int((mixed != images).any((1, 2, 3)).sum())
    assert abs(count - 600) < 5 * math.sqrt(2000 * 0.3 * 0.7)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_alpha_is_that_of_the_beta_distribution(alpha):
    images, labels = numbered(4000, 1, 1)
    _, targets = Mix(mixup=1.0, alpha=alpha, per_sample=True)(images, labels, 4000, rng())
    share = targets[labels, labels]
    assert abs(share.mean() - 0.5) < 0.03
    assert share.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


@pytest.mark.parametrize(("cut", "up"), [(1.0, 1.0), (3.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
def test_odds_of_the_two(cut, up):
    images, labels = numbered(4, 8, 8)
    mix, generator, n, count = Mix(cutmix=cut, mixup=up), rng(), 1000, 0
    for _ in range(n):
        mixed, _ = mix(images, labels, 4, generator)
        count += bool((mixed == mixed.round()).all())  # CutMix makes no new pixel values
    p = cut / (cut + up)
    assert abs(count - n * p) <= 5 * math.sqrt(n * p * (1 - p)) + n * 0.06  # MixUp with itself looks like CutMix


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_of_soft_targets_is_the_weighted_loss_of_both_labels(smoothing):
    logits = torch.randn(8, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own, other = torch.arange(8), torch.arange(8).flip(0)
    share = torch.tensor([0.7]).expand(8)
    soft = F.cross_entropy(logits, soft_targets(own, other, share, 10).double(), label_smoothing=smoothing)
    a, b = (F.cross_entropy(logits, labels, label_smoothing=smoothing) for labels in (own, other))
    assert soft.item() == pytest.approx((0.7 * a + 0.3 * b).item(), abs=1e-6)


@pytest.mark.parametrize(
    "options", [{"cutmix": 1.0, "p": 0.5}, {"mixup": 1.0, "per_sample": True}, {"cutmix": 1.0, "mixup": 1.0}]
)
def test_the_generator_decides_everything(options):
    images, labels = numbered()
    mix = Mix(**options)
    results = {}
    for seed in range(8):
        first, again = mix(images, labels, 16, rng(seed)), mix(images, labels, 16, rng(seed))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        results[first[0].numpy().tobytes()] = seed
    assert len(results) > 2


def test_one_image_is_its_own_partner():
    images, labels = numbered(1)
    mixed, targets = Mix(cutmix=1.0, mixup=1.0)(images, labels, 3, rng())
    assert torch.equal(mixed, images) and targets.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cutmix": 1.0, "p": 1.1}, r"mix.p=1.1 .* 0 to 1"),
        ({"cutmix": 1.0, "p": -0.1}, r"mix.p=-0.1"),
        ({"cutmix": 1.0, "p": math.nan}, r"mix.p=nan"),
        ({"cutmix": 1.0, "alpha": 0.0}, r"mix.alpha=0.0 must be above 0"),
        ({"cutmix": 1.0, "alpha": -1.0}, r"mix.alpha=-1.0"),
        ({"cutmix": 1.0, "alpha": math.nan}, r"mix.alpha=nan"),
        ({"cutmix": 1.0, "alpha": math.inf}, r"mix.alpha=inf"),
        ({}, r"mix.cutmix=0.0 and mix.mixup=0.0 are odds"),
        ({"cutmix": -1.0, "mixup": 2.0}, r"mix.cutmix=-1.0"),
        ({"cutmix": 1.0, "mixup": math.nan}, r"mix.mixup=nan"),
        ({"cutmix": math.nan, "mixup": 1.0}, r"mix.cutmix=nan"),
        ({"cutmix": math.inf}, r"mix.cutmix=inf"),
    ],
)
def test_bad_values_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Mix(**options)
