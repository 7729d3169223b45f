"""What is done to pixels later: contrast, warping, sizes and JPEG. Images are (N, H, W, 3) float32 from 0 to 255."""

from io import BytesIO

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

from cifar_lit.robustness.noise import Generators


def contrast(images: np.ndarray, left: float, draws: Generators) -> np.ndarray:
    """left: what is left of each value's distance from the mean of its image and channel."""
    means = images.mean((1, 2), keepdims=True)
    return (images - means) * np.float32(left) + means


def elastic_transform(images: np.ndarray, warp: tuple[float, float, float], draws: Generators) -> np.ndarray:
    """warp: how far pixels move, deviation of the Gaussian that smooths the movement, and how far the corners of a triangle
    are drawn first; all as a share of the shorter side. After Simard et al. 2003.
    """
    far, smooth, corners = (share * min(images.shape[1:3]) for share in warp)
    height, width = images.shape[1:3]
    middle, arm = np.array([height // 2, width // 2], np.float32), min(height, width) // 3
    triangle = (middle + np.array([[arm, arm], [arm, -arm], [-arm, -arm]])).astype(np.float32)
    tilted = []
    for image, draw in zip(images, draws, strict=True):
        moved = triangle + draw.uniform(-corners, corners, (3, 2)).astype(np.float32)
        turn = cv2.getAffineTransform(triangle, moved)
        tilted.append(cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101))
    if not far:
        return np.stack(tilted)
    shifts = np.stack([draw.uniform(-1, 1, (2, height, width)) for draw in draws])
    shifts = far * ndimage.gaussian_filter(shifts, (0, 0, smooth, smooth), mode="reflect", truncate=3)
    places = np.mgrid[:height, :width] + shifts
    return np.stack(
        [
            np.stack(
                [ndimage.map_coordinates(image[..., channel], place, order=1, mode="reflect") for channel in range(3)], axis=-1
            )
            for image, place in zip(tilted, places, strict=True)
        ]
    )


def pixelate(images: np.ndarray, share: float, draws: Generators) -> np.ndarray:
    """share: of each side's pixels that are left before it is enlarged again."""
    height, width = images.shape[1:3]
    small = (max(1, int(width * share)), max(1, int(height * share)))
    box = Image.Resampling.BOX
    return np.stack([np.asarray(_image(image).resize(small, box).resize((width, height), box)) for image in images])


def jpeg_compression(images: np.ndarray, quality: int, draws: Generators) -> np.ndarray:
    """quality: of the JPEG file, 1 to 95."""
    decoded = []
    for image in images:
        file = BytesIO()
        _image(image).save(file, "JPEG", quality=quality)
        decoded.append(np.asarray(Image.open(file, formats=["JPEG"])))
    return np.stack(decoded)


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.astype(np.uint8))
