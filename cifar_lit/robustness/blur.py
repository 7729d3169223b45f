"""Blur: of a lens, of frosted glass, of movement. Images are (N, H, W, 3) float32 from 0 to 255; one generator an image."""

from functools import lru_cache
from math import ceil

import cv2
import numpy as np
from scipy import ndimage

from cifar_lit.robustness.noise import Generators


def defocus_blur(images: np.ndarray, lens: tuple[float, float], draws: Generators) -> np.ndarray:
    """lens: radius of a disc, in pixels, and the deviation of the Gaussian that smooths its edge."""
    kernel = disc(*lens)
    return np.stack([cv2.filter2D(image, -1, kernel) for image in images])


def disc(radius: float, edge: float) -> np.ndarray:
    """A disc (17, 17) that sums to 1, smoothed with a Gaussian of 3x3 pixels."""
    y, x = np.mgrid[-8:9, -8:9]
    sharp = (x**2 + y**2 <= radius**2).astype(np.float32)
    return cv2.GaussianBlur(sharp / sharp.sum(), (3, 3), edge)


def glass_blur(images: np.ndarray, glass: tuple[float, int, int], draws: Generators) -> np.ndarray:
    """glass: deviation of a Gaussian before and after, how far pixels move, and how often.

    Each pixel takes the value of one up to that many places above and to the left. The paper says that the two change
    places; the program that made CIFAR-10-C swaps two views of one array, by which the other keeps its value.
    """
    deviation, reach, times = glass
    blurred = np.floor(ndimage.gaussian_filter(images, (0, deviation, deviation, 0), mode="nearest") + 1e-3)
    count, height, width, _ = images.shape
    image = np.arange(count)[:, None, None]
    rows, columns = (np.arange(reach + 1, size - reach + 1) for size in (height, width))
    moves = np.stack([draw.integers(-reach, reach, (times, 2, len(rows), len(columns))) for draw in draws], axis=2)
    for down, right in moves:
        blurred[:, rows[0] :, columns[0] :] = blurred[image, rows[:, None] + down, columns + right]
    return ndimage.gaussian_filter(blurred, (0, deviation, deviation, 0), mode="nearest")


def motion_blur(images: np.ndarray, streak: tuple[int, float], draws: Generators) -> np.ndarray:
    """streak: radius and deviation, in pixels; its direction is drawn within 45 degrees of the horizontal."""
    return np.rint(streaked(images, *streak, np.array([draw.uniform(-45, 45) for draw in draws])))


def streaked(images: np.ndarray, radius: int, deviation: float, degrees: np.ndarray) -> np.ndarray:
    """Images (N, H, W, C) smeared along a direction for each, as ImageMagick's MotionBlurImage does it.

    One half of a Gaussian of 2 * radius + 1 weights, at whole pixels along the line; beyond the edge, the edge's own pixels.
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * deviation**2))
    weights = (weights / weights.sum()).astype(np.float32)
    angles = np.deg2rad(degrees)[:, None]
    across, down = (np.ceil(steps * turn(angles) - 0.5).astype(int) for turn in (np.cos, np.sin))
    _, height, width, _ = images.shape
    image = np.arange(len(images))[:, None, None]
    result = np.zeros_like(images)
    for step, weight in enumerate(weights):
        if weight > 1e-7:
            rows = (np.arange(height) + down[:, step, None]).clip(0, height - 1)
            columns = (np.arange(width) + across[:, step, None]).clip(0, width - 1)
            result += weight * images[image, rows[:, :, None], columns[:, None, :]]
    return result


def zoom_blur(images: np.ndarray, end: float, draws: Generators) -> np.ndarray:
    """end: the mean of the image and of itself enlarged, from 1 in steps of 0.01 up to here, as numpy's arange counts."""
    factors = np.arange(1, end, 0.01)
    total = images + sum(enlarged(images, float(factor)) for factor in factors)
    return total / np.float32(len(factors) + 1)


def enlarged(images: np.ndarray, factor: float) -> np.ndarray:
    """The middle of images (N, H, W, C), enlarged bilinearly to fill them."""
    rows, columns = (_enlarging(size, factor) for size in images.shape[1:3])
    count, height, width, channels = images.shape
    tall = np.matmul(rows, images.reshape(count, height, width * channels)).reshape(images.shape)
    return np.matmul(columns, tall)  # (W, W) by (N, H, W, C): over the width


@lru_cache(maxsize=256)
def _enlarging(size: int, factor: float) -> np.ndarray:
    """What enlarging does to one side as a matrix (size, size): the library's own answer for each unit vector."""
    kept = ceil(size / factor)
    first = (size - kept) // 2
    zoomed = ndimage.zoom(np.eye(kept), (factor, 1), order=1, mode="nearest")
    trim = (len(zoomed) - size) // 2
    matrix = np.zeros((size, size), np.float32)
    matrix[:, first : first + kept] = zoomed[trim : trim + size]
    return matrix
