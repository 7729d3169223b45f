"""Noise: each pixel of each image by itself. Images are (N, H, W, 3) float32 from 0 to 255; one generator an image."""

import numpy as np

Generators = list[np.random.Generator]


def gaussian_noise(images: np.ndarray, deviation: float, draws: Generators) -> np.ndarray:
    """deviation: of the noise, in units of 255."""
    noise = np.stack([draw.standard_normal(images.shape[1:], np.float32) for draw in draws])
    return images + np.float32(255 * deviation) * noise


def shot_noise(images: np.ndarray, photons: int, draws: Generators) -> np.ndarray:
    """photons: that a white pixel counts on average."""
    counts = [draw.poisson(image * (photons / 255)) for draw, image in zip(draws, images, strict=True)]
    return np.stack(counts).astype(np.float32) * np.float32(255 / photons)


def impulse_noise(images: np.ndarray, share: float, draws: Generators) -> np.ndarray:
    """share: of the values, each channel by itself, that turn black or white, as many the one as the other."""
    chance = np.stack([draw.random(images.shape[1:], np.float32) for draw in draws])
    return np.where(chance < share / 2, np.float32(0), np.where(chance < share, np.float32(255), images))
