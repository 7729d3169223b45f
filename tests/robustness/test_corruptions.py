"""The fifteen corruptions: whole, repeatable, stronger from severity to severity, and what their descriptions say."""

import io

import numpy as np
import pytest
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy import ndimage

from cifar_lit.robustness import blur, digital, noise, weather
from cifar_lit.robustness.corruptions import CONSTANTS, FAMILIES, NAMES, SEVERITIES, corrupt

# Of make_cifar_c.py in github.com/hendrycks/robustness; the first and the last severity of each.
PUBLISHED = {
    "gaussian_noise": (0.04, 0.10),
    "shot_noise": (500, 50),
    "impulse_noise": (0.01, 0.07),
    "defocus_blur": ((0.3, 0.4), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (9, 2.5)),
    "zoom_blur": (1.06, 1.26),
    "snow": ((0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)),
    "frost": ((1, 0.2), (0.75, 0.45)),
    "fog": ((0.2, 3), (1.5, 1.75)),
    "brightness": (0.05, 0.3),
    "contrast": (0.75, 0.15),
    "elastic_transform": ((0, 0, 0.08), (0.1, 0.03, 0.03)),
    "pixelate": (0.95, 0.65),
    "jpeg_compression": (80, 40),
}


def photographs(count=24, height=32, width=32):
    """Something between noise and a drawing: smooth shapes with an edge and a little grain."""
    draw = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(draw.standard_normal((count, height, width, 3)), (0, 3, 3, 0))
    smooth = 128 + 50 * smooth / smooth.std() + 6 * draw.standard_normal(smooth.shape)
    smooth[:, height // 3 : height // 2, width // 4 : width // 2] += 60
    return smooth.clip(0, 255).astype(np.uint8)


def generators(count, seed=0):
    return [np.random.default_rng((seed, index)) for index in range(count)]


def difference(one, other):
    return np.abs(one.astype(float) - other).mean()


def test_the_fifteen_of_cifar_100_c_with_the_published_constants():
    assert NAMES == tuple(PUBLISHED) == tuple(CONSTANTS) and len(NAMES) == 15
    assert [len(names) for names in FAMILIES.values()] == [3, 4, 4, 4]
    assert all(len(CONSTANTS[name]) == 5 for name in NAMES)
    assert {name: (values[0], values[-1]) for name, values in CONSTANTS.items()} == PUBLISHED


@pytest.mark.parametrize("name", NAMES)
def test_shape_type_and_repeatability(name):
    images = photographs(4)
    kept = images.copy()
    for severity in SEVERITIES:
        once = corrupt(images, name, severity, seed=3)
        assert once.shape == images.shape and once.dtype == np.uint8
        assert np.array_equal(once, corrupt(images, name, severity, seed=3))
        assert np.array_equal(images, kept), "the images themselves are changed"
        assert not np.array_equal(once, images)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_comes_out_the_same_alone_and_among_others(name):
    images = photographs(5)
    together = corrupt(images, name, 4, seed=0)
    assert np.array_equal(corrupt(images[3:4], name, 4, seed=0, places=[3])[0], together[3])
    assert np.array_equal(corrupt(images[[4, 1]], name, 4, seed=0, places=np.array([4, 1])), together[[4, 1]])


@pytest.mark.parametrize(
    "name", sorted(set(NAMES) - {"zoom_blur", "defocus_blur", "brightness", "contrast", "pixelate", "jpeg_compression"})
)
def test_noise_depends_on_seed_and_place(name):
    images = np.repeat(photographs(1), 2, axis=0)
    one, other = corrupt(images, name, 4, seed=0)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, corrupt(images, name, 4, seed=1)[0])


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"glass_blur", "elastic_transform", "frost"}))
def test_distortion_grows_with_severity(name):
    images = photographs()
    steps = [difference(images, corrupt(images, name, severity, seed=0)) for severity in SEVERITIES]
    if name == "motion_blur":  # 3 and 4 have one deviation, and differ in where its tail is cut off: in nothing but luck
        assert steps[3] == pytest.approx(steps[2], rel=0.1)
        del steps[3]
    assert steps == sorted(steps) and steps[0] > 0.2 and steps[-1] > 1.3 * steps[0], steps


def test_frost_hides_more_of_the_image_with_severity():
    """It brightens less from 3 to 5, as published: what counts is how far an image's pixels still go with its own.

    Of dark images: white cuts off bright ones, most at 3.
    """
    images = np.tile(photographs(), (4, 1, 1, 1)) // 3

    def likeness(severity):
        frosted = corrupt(images, "frost", severity, seed=0)
        return np.mean([np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(images, frosted, strict=True)])

    steps = [likeness(severity) for severity in SEVERITIES]
    assert steps == sorted(steps, reverse=True) and steps[-1] < steps[0] - 0.05, steps


def test_frost_has_the_photographs_colour_and_deviation():
    """Measured on the pieces of 32x32 that the original takes: on average (144, 165, 177), deviation 22 within a piece."""
    black = np.zeros((300, 32, 32, 3), np.float32)
    layer = weather.frost(black, (1, 1), generators(300))
    assert layer.mean((0, 1, 2)) == pytest.approx([144, 165, 177], abs=5)
    assert layer.mean(3).std((1, 2)).mean() == pytest.approx(22, abs=2)


def test_glass_blurs_more_and_shuffles_oftener_with_severity():
    """Of its two parts: severity 1 to 3 blur more, 4 and 5 are 2 and 3 with pixels moved twice."""
    images = photographs()
    glass = {severity: corrupt(images, "glass_blur", severity, seed=0) for severity in SEVERITIES}
    detail = [np.abs(np.diff(glass[severity].astype(float), axis=2)).mean() for severity in (1, 2, 3)]
    assert detail == sorted(detail, reverse=True) and detail[2] < 0.9 * detail[0]
    assert difference(images, glass[4]) > 1.1 * difference(images, glass[2])
    assert difference(images, glass[5]) > 1.1 * difference(images, glass[3])


def test_elastic_warps_get_rougher_with_severity():
    """As published the triangle moves less from severity to severity, and the warp more: the warp alone is compared."""
    images = photographs().astype(np.float32)
    warps = [(far, smooth, 0) for far, smooth, _ in CONSTANTS["elastic_transform"]]
    steps = [difference(images, digital.elastic_transform(images, warp, generators(len(images)))) for warp in warps]
    assert steps == sorted(steps) and steps[0] == pytest.approx(0, abs=1e-3) and steps[-1] > 2


def test_gaussian_noise_has_its_deviation():
    grey = np.full((50, 32, 32, 3), 128, np.uint8)
    for severity, deviation in zip(SEVERITIES, CONSTANTS["gaussian_noise"], strict=True):
        changed = corrupt(grey, "gaussian_noise", severity, seed=0).astype(float)
        assert changed.std() == pytest.approx(255 * deviation, rel=0.02)
        assert changed.mean() == pytest.approx(127.5, abs=0.2)  # cut off, not rounded


def test_shot_noise_is_poisson():
    grey = np.full((50, 32, 32, 3), 102, np.float32)
    changed = noise.shot_noise(grey, 50, generators(50))
    counts = changed * 50 / 255
    assert np.allclose(counts, np.rint(counts), atol=1e-3)
    assert counts.mean() == pytest.approx(20, rel=0.01) and counts.var() == pytest.approx(20, rel=0.03)


def test_impulse_noise_hits_its_share_black_and_white_alike():
    grey = np.full((50, 32, 32, 3), 100, np.uint8)
    changed = corrupt(grey, "impulse_noise", 5, seed=0)
    assert set(np.unique(changed)) == {0, 100, 255}
    assert (changed == 0).mean() == pytest.approx(0.035, rel=0.05) == (changed == 255).mean()


def test_blurs_keep_a_flat_image_and_its_brightness():
    flat = np.full((3, 32, 32, 3), 90, np.uint8)
    images = photographs()
    for name in ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"):
        for severity in SEVERITIES:
            assert difference(flat, corrupt(flat, name, severity, seed=0)) <= 1, (name, severity)
        assert abs(corrupt(images, name, 5, seed=0).mean() - images.mean()) < 3, name


def test_a_disc():
    assert blur.disc(1.5, 0.1).sum() == pytest.approx(1)
    assert np.count_nonzero(blur.disc(1.5, 0.1) > 1e-3) == 9  # of radius 1.5: the pixel and its eight neighbours
    assert np.count_nonzero(blur.disc(1, 0.2) > 1e-3) == 5


def test_glass_takes_each_pixel_from_above_or_left():
    """With next to no blur: each value is that of a neighbour, and the first two rows and columns stay."""
    images = np.arange(32 * 32, dtype=np.float32).reshape(1, 32, 32, 1) % 251 * np.ones(3, np.float32)
    changed = blur.glass_blur(images, (0.05, 1, 1), generators(1))
    allowed = np.stack([np.roll(images, (down, right), (1, 2)) for down in (0, 1) for right in (0, 1)])
    assert (changed == allowed).any(0)[:, 2:, 2:].all()
    assert np.array_equal(changed[:, :2], images[:, :2]) and np.array_equal(changed[:, :, :2], images[:, :, :2])
    assert (changed != images).mean() > 0.5


def test_a_streak_is_half_a_gaussian_along_its_direction():
    images = np.zeros((2, 32, 32, 1), np.float32)
    images[:, 16, 16] = 1
    level, steep = blur.streaked(images, 6, 2.0, np.array([0.0, 90.0]))[..., 0]
    weights = np.exp(-(np.arange(13) ** 2) / 8)
    assert level[16, 16 - 12 : 17][::-1] == pytest.approx(weights / weights.sum(), rel=1e-5, abs=1e-6)
    assert level.sum() == pytest.approx(1) and np.allclose(steep, level.T)


@pytest.mark.parametrize("factor", [1.0, 1.07, 1.25, 1.75, 2.25])
def test_enlarging_is_the_librarys_own(factor):
    images = photographs(2).astype(np.float32)
    kept = int(np.ceil(32 / factor))
    first = (32 - kept) // 2
    expected = ndimage.zoom(
        images[:, first : first + kept, first : first + kept], (1, factor, factor, 1), order=1, mode="nearest"
    )
    trim = (expected.shape[1] - 32) // 2
    assert np.allclose(blur.enlarged(images, factor), expected[:, trim : trim + 32, trim : trim + 32], atol=1e-2)


def test_brightness_raises_the_value_alone():
    images = photographs(4)
    images[0, :2] = 0  # black, which has no hue
    for severity, more in zip(SEVERITIES, CONSTANTS["brightness"], strict=True):
        hsv = rgb_to_hsv(images / 255)
        hsv[..., 2] = np.minimum(hsv[..., 2] + more, 1)
        assert np.abs(corrupt(images, "brightness", severity, seed=0) - np.floor(255 * hsv_to_rgb(hsv) + 1e-3)).max() <= 1


def test_contrast_keeps_the_mean_of_each_channel():
    images = photographs(3)
    changed = digital.contrast(images.astype(np.float32), 0.15, generators(3))
    assert changed.mean((1, 2)) == pytest.approx(images.mean((1, 2)), abs=0.01)
    assert changed.std((1, 2)) == pytest.approx(0.15 * images.std((1, 2)), rel=1e-3)


def test_fog_is_a_field_from_0_to_1_smoother_with_more_decay():
    rough, smooth = (weather.plasma((24, 40), decay, generators(8)) for decay in (1.75, 3))
    assert rough.shape == (8, 24, 40) and weather.plasma((32, 32), 3, generators(2)).shape == (2, 32, 32)
    whole = weather.plasma((32, 32), 2, generators(8))
    assert whole.min((1, 2)) == pytest.approx(0) and whole.max((1, 2)) == pytest.approx(1)

    def grain(fields):
        return np.abs(np.diff(fields, axis=2)).mean() / fields.std()

    assert grain(smooth) < 0.8 * grain(rough)


def test_jpeg_and_pixelate_are_pillows():
    images = photographs(2)
    file = io.BytesIO()
    Image.fromarray(images[1]).save(file, "JPEG", quality=40)
    assert np.array_equal(corrupt(images, "jpeg_compression", 5, seed=0)[1], np.asarray(Image.open(file)))
    small = Image.fromarray(images[1]).resize((20, 20), Image.Resampling.BOX)  # 65% of 32 is 20.8
    assert np.array_equal(corrupt(images, "pixelate", 5, seed=0)[1], np.asarray(small.resize((32, 32), Image.Resampling.BOX)))


@pytest.mark.parametrize("name", NAMES)
def test_other_sizes_work_too(name):
    images = photographs(2, 24, 40)
    assert corrupt(images, name, 5, seed=0).shape == images.shape
    assert corrupt(images[:0], name, 5, seed=0).shape == (0, 24, 40, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "rain"}, "'rain': allowed is gaussian_noise"),
        ({"severity": 0}, "severity 0: allowed is 1 to 5"),
        ({"severity": 6}, "severity 6"),
        ({"images": np.zeros((2, 32, 32, 3))}, "float64"),
        ({"images": np.zeros((2, 4, 4, 3), np.uint8)}, "8 pixels or more"),
        ({"images": np.zeros((2, 3, 32, 32), np.uint8)}, r"\(N, H, W, 3\)"),
    ],
)
def test_what_cannot_be_corrupted(changes, message):
    given = {"images": photographs(1), "name": "fog", "severity": 1, "seed": 0, **changes}
    with pytest.raises(ValueError, match=message):
        corrupt(**given)
