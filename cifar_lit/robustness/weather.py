"""Weather: snow, frost, fog and bright light. Images are (N, H, W, 3) float32 from 0 to 255; one generator an image."""

import numpy as np

from cifar_lit.robustness.blur import enlarged, streaked
from cifar_lit.robustness.noise import Generators

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
# Of the five photographs of frost that the original takes pieces of (frost1.png to frost5.jpg, a fifth of their size):
# mean colour, and of pieces of 32x32 pixels the range of the mean and the deviation within. Measured.
_FROST_TINT, _FROST_MEANS, _FROST_DEVIATION = np.array([-18, 3, 15], np.float32), (115, 205), 22


def snow(images: np.ndarray, flakes: tuple[float, float, float, float, int, float, float], draws: Generators) -> np.ndarray:
    """flakes: mean and deviation of the noise that they are cut from, by how much it is enlarged, the threshold, radius and
    deviation of their streaks, and how much of the image's own colour stays.
    """
    mean, deviation, factor, threshold, radius, smear, own = flakes
    noise = np.stack([draw.standard_normal(images.shape[1:3], np.float32) for draw in draws])
    layer = enlarged((mean + deviation * noise)[..., None].astype(np.float32), factor)
    layer = np.floor(np.where(layer < threshold, 0, layer).clip(0, 1) * 255).astype(np.float32)
    layer = np.rint(streaked(layer, radius, smear, np.array([draw.uniform(-135, -45) for draw in draws])))
    pale = np.maximum(images, (images @ _GREY)[..., None] * 1.5 + 127.5)
    return own * images + (1 - own) * pale + layer + layer[:, ::-1, ::-1]


def frost(images: np.ndarray, parts: tuple[float, float], draws: Generators) -> np.ndarray:
    """parts: of the image, and of the frost.

    The original's frost are photographs. This is a stand-in: noise, part cloud and part grain, of the same mean colour,
    brightness and deviation. Its numbers compare with no others.
    """
    cloud = _standard(plasma(images.shape[1:3], 2, draws))
    grain = np.stack([draw.standard_normal(images.shape[1:3], np.float32) for draw in draws])
    means = np.array([draw.uniform(*_FROST_MEANS) for draw in draws], np.float32)
    # Neighbouring pixels of the photographs correlate by 0.4: that much of the variance is the cloud's.
    texture = _FROST_DEVIATION * (np.sqrt(0.4) * cloud + np.sqrt(0.6) * grain)
    layer = (means[:, None, None] + texture)[..., None] + _FROST_TINT
    return parts[0] * images + parts[1] * layer.clip(0, 255)


def _standard(fields: np.ndarray) -> np.ndarray:
    """Fields (N, H, W), each less its mean and divided by its deviation."""
    centred = fields - fields.mean((1, 2), keepdims=True)
    return centred / centred.std((1, 2), keepdims=True).clip(1e-6)


def fog(images: np.ndarray, mist: tuple[float, float], draws: Generators) -> np.ndarray:
    """mist: how thick it is, and how much smoother it is than grain."""
    thickness, decay = mist
    brightest = images.max((1, 2, 3), keepdims=True)
    misty = images + 255 * thickness * plasma(images.shape[1:3], decay, draws)[..., None]
    return misty * brightest / (brightest + 255 * thickness)


def plasma(size: tuple[int, int], decay: float, draws: Generators) -> np.ndarray:
    """Fields (N, H, W) from 0 to 1 by the diamond-square algorithm (Fournier et al. 1982), each wrapped around its edges.

    decay: of the noise's amplitude whenever the grid becomes twice as fine; the larger, the smoother.
    """
    side = 1 << (max(size) - 1).bit_length()
    noise = np.stack([draw.uniform(-1, 1, (side, side)) for draw in draws])
    fields = np.zeros_like(noise)
    step, amplitude = side, 100.0
    while step >= 2:
        half = step // 2
        corners = fields[:, ::step, ::step]
        around = corners + np.roll(corners, -1, 1)
        around = around + np.roll(around, -1, 2)
        fields[:, half::step, half::step] = around / 4 + amplitude**2 * noise[:, half::step, half::step]
        middles = fields[:, half::step, half::step]
        above = middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 2)
        fields[:, ::step, half::step] = above / 4 + amplitude**2 * noise[:, ::step, half::step]
        beside = middles + np.roll(middles, 1, 2) + corners + np.roll(corners, -1, 1)
        fields[:, half::step, ::step] = beside / 4 + amplitude**2 * noise[:, half::step, ::step]
        step, amplitude = half, amplitude / decay
    fields -= fields.min((1, 2), keepdims=True)
    fields /= fields.max((1, 2), keepdims=True).clip(1e-12)
    return fields[:, : size[0], : size[1]].astype(np.float32)


def brightness(images: np.ndarray, more: float, draws: Generators) -> np.ndarray:
    """more: is added to the value of hue, saturation and value, in units of 255."""
    value = images.max(3, keepdims=True)
    brighter = np.minimum(value + 255 * more, 255)
    # With hue and saturation held, the colours are proportional to the value; black has neither and becomes grey.
    return np.where(value > 0, images * (brighter / np.maximum(value, 1)), brighter)
