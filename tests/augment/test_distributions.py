"""What both engines do to images is distributed as the policy says. Measured on the images that come out."""

import numpy as np
import pytest
import torch

from cifar_lit.augment.choice import OneOf
from cifar_lit.augment.colour import Jitter, Noise
from cifar_lit.augment.erase import Erase
from cifar_lit.augment.geometry import Affine, Crop, Flip
from cifar_lit.augment.policy import Policy

SIDE = 32
GREY = np.full((SIDE, SIDE, 3), 128, np.uint8)
# Red counts columns, green rows: a pixel says where it comes from. Black means from outside.
PLACES = np.stack([7 * np.arange(SIDE)[None, :].repeat(SIDE, 0), 7 * np.arange(SIDE)[:, None].repeat(SIDE, 1)], axis=2)
PLACES = np.concatenate([PLACES + 1, np.full((SIDE, SIDE, 1), 255)], axis=2).astype(np.uint8)


def batched(policy, image, n):
    images = torch.from_numpy(image).permute(2, 0, 1).expand(n, -1, -1, -1).contiguous()
    draws = policy.draw(n, (SIDE, SIDE), torch.Generator().manual_seed(1))
    return policy.apply(images, draws, torch.Generator().manual_seed(2)).permute(0, 2, 3, 1).numpy().astype(np.float32)


def per_image(policy, image, n):
    augment = policy.per_image((SIDE, SIDE))
    return np.stack([augment(image, seed) for seed in range(n)]).astype(np.float32)


@pytest.fixture(params=[batched, per_image], ids=["batched", "per_image"])
def augmented(request):
    """A function of (policy, image, n): n images, augmented independently, (n, H, W, 3) float32."""
    return request.param


def assert_uniform(counts):
    """Chi-square within 5 standard deviations of its mean."""
    counts = np.asarray(counts)
    expected = counts.sum() / counts.size
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < counts.size + 5 * np.sqrt(2 * counts.size), counts


def assert_spread(values, low, high, slack):
    """Uniform over low..high, as far as limits, mean and deviation tell; slack is for errors of measurement."""
    reach, n = high - low, len(values)
    assert low - slack <= values.min() < low + 0.02 * reach + slack
    assert high - 0.02 * reach - slack < values.max() <= high + slack
    assert values.mean() == pytest.approx((low + high) / 2, abs=5 * reach / np.sqrt(12 * n) + slack / 2)
    assert values.std() == pytest.approx(reach / np.sqrt(12), rel=0.06, abs=slack / 2)


def assert_independent(*columns):
    correlation = np.corrcoef(np.stack([np.asarray(c, float) for c in columns]))
    assert abs(correlation - np.eye(len(columns))).max() < 5 / np.sqrt(len(columns[0])), correlation


def origin(images):
    """Column and row that each pixel of PLACES came from."""
    return (images[..., 0] - 1) / 7, (images[..., 1] - 1) / 7


def test_crop_offsets_are_uniform_and_independent_of_flips(augmented):
    images = augmented(Policy(crop=Crop(padding=4), flip=Flip()), PLACES, 8100)
    x, y = origin(images[:, 16, 12:20])
    flipped = x[:, 0] > x[:, -1]
    left = np.where(flipped, x[:, -1], x[:, 0]).round().astype(int) - 12 + 4
    top = y[:, 0].round().astype(int) - 16 + 4
    assert_uniform(np.bincount(9 * top + left, minlength=81))
    assert_independent(top, left, flipped)
    assert flipped.mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(8100))


@pytest.mark.parametrize(("mode", "corner"), [("constant", (0, 0, 0)), ("reflect", (29, 29, 255))])
def test_crop_pads_as_told(augmented, mode, corner):
    images = augmented(Policy(crop=Crop(padding=4, mode=mode)), PLACES, 800)
    assert (images[:, 0, 0] == corner).all(axis=1).any()
    reference = np.pad(PLACES, ((4, 4), (4, 4), (0, 0)), mode=mode)
    windows = {reference[i : i + SIDE, j : j + SIDE].tobytes() for i in range(9) for j in range(9)}
    assert {image.astype(np.uint8).tobytes() for image in images} == windows


def test_flip_mirrors_left_and_right_at_rate_p(augmented):
    images = augmented(Policy(flip=Flip(p=0.2)), PLACES, 2000)
    same = (images == PLACES).all(axis=(1, 2, 3))
    assert (same | (images == PLACES[:, ::-1]).all(axis=(1, 2, 3))).all()
    assert 1 - same.mean() == pytest.approx(0.2, abs=5 * 0.4 / np.sqrt(2000))


def test_affine_scale_turn_and_shift_are_uniform(augmented):
    images = augmented(Policy(affine=Affine(translate=0.1, scale=(0.85, 1.15), degrees=15)), PLACES, 3000)
    # In the middle every pixel came from inside: source = matrix @ (x, y, 1), by least squares.
    window = np.arange(10, 22)
    x, y = (v[:, 10:22, 10:22].reshape(len(images), -1).T for v in origin(images))
    at = np.stack([np.tile(window, 12), window.repeat(12), np.ones(144)], axis=1) - [15.5, 15.5, 0]
    (ax, ay, ac), (bx, by, bc) = (np.linalg.lstsq(at, v - 15.5, rcond=None)[0] for v in (x, y))
    scale = 1 / np.sqrt(ax * by - ay * bx)
    degrees = np.rad2deg(np.arctan2(bx - ay, ax + by))
    turn, shift = np.stack([[ax, ay], [bx, by]]).transpose(2, 0, 1), np.stack([ac, bc]).T[..., None]
    across, down = -np.linalg.solve(turn, shift)[..., 0].T
    assert abs(ax - by).max() < 0.02 and abs(ay + bx).max() < 0.02  # same scale both ways, no shear
    assert_spread(scale, 0.85, 1.15, slack=0.01)
    assert_spread(degrees, -15, 15, slack=0.5)
    for shift in (across, down):
        assert abs(shift - shift.round()).max() < 0.15
        assert_uniform(np.bincount(shift.round().astype(int) + 3, minlength=7))
    assert_independent(scale, degrees, across, down)


def test_affine_is_black_outside_and_applies_at_rate_p(augmented):
    images = augmented(Policy(affine=Affine(translate=0.0, scale=(0.5, 0.5), degrees=0, p=0.3)), GREY, 1000)
    changed = (images[:, 0, 0] == 0).all(axis=1)
    assert (images[changed][:, 9:23, 9:23] == 128).all() and (images[changed][:, :7] == 0).all()
    assert (images[~changed] == 128).all()
    assert changed.mean() == pytest.approx(0.3, abs=5 * 0.46 / np.sqrt(1000))


def holes(images):
    """Height, width, top, left of the black rectangle of each image; fails where black is anything else."""
    black = (images == 0).all(axis=3)
    rows, columns = black.any(axis=2), black.any(axis=1)
    height, width = rows.sum(axis=1), columns.sum(axis=1)
    assert (black.sum(axis=(1, 2)) == height * width).all()
    return height, width, rows.argmax(axis=1), columns.argmax(axis=1)


def test_erase_inside_draws_height_width_and_place_uniformly(augmented):
    images = augmented(Policy(erase=Erase(size=(8, 16), inside=True)), GREY, 4000)
    height, width, top, left = holes(images)
    for extent, start in ((height, top), (width, left)):
        assert_uniform(np.bincount(extent - 8, minlength=9))
        assert_uniform(np.bincount(start[extent == 16], minlength=17))
    assert_independent(height, width, top / (SIDE - height), left / (SIDE - width))
    assert (images[(images != 0).any(axis=3)] == 128).all()


def test_cutout_is_clipped_at_the_borders(augmented):
    height, width, top, left = holes(augmented(Policy(erase=Erase(size=(16, 16), inside=False)), GREY, 4000))
    for extent, start in ((height, top), (width, left)):
        # The 32 centres: 8..16 pixels at the top, 16 for most, 15..9 at the bottom.
        centre = np.where(start > 0, start + 8, extent - 8)
        assert_uniform(np.bincount(centre, minlength=SIDE))
    assert_independent(height, width)


def test_noise_is_gaussian_of_a_deviation_drawn_for_each_image(augmented):
    noise = augmented(Policy(noise=Noise(std=(0.0125, 0.0278))), GREY, 2000) - 128
    std = noise.std(axis=(1, 2, 3))
    assert_spread(std, 0.0125 * 255, 0.0278 * 255, slack=0.25)
    standard = noise / std[:, None, None, None]
    assert abs(standard.mean()) < 0.01
    assert (standard**4).mean() == pytest.approx(3, abs=0.05)
    assert_independent(*standard[:, 5, 5].T, standard[:, 5, 6, 0], std)


def test_noise_stays_within_0_and_255(augmented):
    for level in (0, 255):
        images = augmented(Policy(noise=Noise(std=(0.1, 0.1))), np.full_like(GREY, level), 20)
        assert images.min() >= 0 and images.max() <= 255 and 0.4 < (images == level).mean() < 0.6


def measured_factor(name, image, images):
    """Of colours or halves that the factor pulls apart, how far they are apart now, compared with before."""
    red = images[:, 0, 0, 0]
    if name == "brightness":
        return red / image[0, 0, 0]
    if name == "contrast":
        return (red - images[:, -1, -1, 0]) / (float(image[0, 0, 0]) - float(image[-1, -1, 0]))
    return (red - images[:, 0, 0, 2]) / (float(image[0, 0, 0]) - float(image[0, 0, 2]))


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_jitter_factors_are_uniform(augmented, name):
    image = np.broadcast_to(np.array([150, 100, 50], np.uint8), GREY.shape).copy()
    image[SIDE // 2 :] = 60 if name == "contrast" else image[0, 0]
    images = augmented(Policy(jitter=Jitter(**{name: 0.4})), image, 2000)
    assert_spread(measured_factor(name, image, images), 0.6, 1.4, slack=0.03)


def test_jitter_turns_hue_both_ways(augmented):
    image = np.broadcast_to(np.array([200, 100, 100], np.uint8), GREY.shape).copy()
    red, green, blue = augmented(Policy(jitter=Jitter(hue=0.1)), image, 2000)[:, 0, 0].T
    assert abs(red - 200).max() <= 1  # value stays, and so does the smallest channel
    assert abs(np.minimum(green, blue) - 100).max() <= 1
    assert_spread((green - blue) / 600, -0.1, 0.1, slack=0.003)


def test_jitter_by_the_four_factors_agrees_between_the_engines():
    rng = np.random.default_rng(0)
    image = rng.integers(40, 200, (4, 4, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    policy = Policy(jitter=Jitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.02))
    first, second = (engine(policy, image, 1500) for engine in (batched, per_image))
    np.testing.assert_allclose(first.mean(axis=0), second.mean(axis=0), atol=1.5)
    np.testing.assert_allclose(first.std(axis=0), second.std(axis=0), atol=1.5)


def test_jitter_orders_are_all_drawn():
    order = Jitter(hue=0.1).draw(4800, (SIDE, SIDE), torch.Generator().manual_seed(0))["order"]
    assert (order.sort(dim=1).values == torch.arange(4)).all()
    _, counts = torch.unique(order, dim=0, return_counts=True)
    assert len(counts) == 24
    assert_uniform(counts.numpy())


def test_one_of_chooses_by_weight(augmented):
    shrink = Affine(translate=0.0, scale=(0.5, 0.5), degrees=0, p=0.25)
    ops = {"erase": Erase(size=(4, 4), inside=True, p=1.0), "shrink": shrink, "none": None}
    images = augmented(Policy(corrupt=OneOf(ops=ops, p=0.5)), GREY, 4000)
    black = (images == 0).all(axis=3).sum(axis=(1, 2))
    for share, seen in ((0.5, black == 0), (0.4, black == 16), (0.1, black > 16)):
        assert seen.mean() == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / 4000))


def test_ops_are_independent_of_each_other(augmented):
    choice = OneOf(ops={"erase": Erase(size=(8, 16), inside=True), "nothing": Crop(padding=0)}, p=1.0)
    image = GREY.copy()
    image[:, 16:] = 64
    images = augmented(Policy(noise=Noise(std=(0.005, 0.03)), flip=Flip(), choice=choice), image, 4000)
    erased = (images == 0).all(axis=3).any(axis=(1, 2))
    assert erased.mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(4000))
    flipped = images[:, :, :3].max(axis=(1, 2, 3)) < images[:, :, -3:].max(axis=(1, 2, 3))
    bright = images[..., 0].reshape(len(images), -1)
    bright = np.ma.masked_array(bright, bright < 96)  # the half of 128, without the hole
    assert_independent(erased, flipped, bright.std(axis=1))
