"""Drawn images: 20 shapes (the superclasses) in 5 textures make 100 classes. Needs no files and no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cifar_lit.data.cache import cached
from cifar_lit.data.dataset import DataError, Dataset, Split, statistics

_DRAWING = 1  # raise it whenever the pixels below change: older caches are then outdated

# A field is below 0 inside its shape and grows by about 1 a unit outside; x and y (n, H, W) reach from -1 to 1 over the
# shape, y downwards. All are mirror images of themselves, so that a flip keeps the class, and no two are turns of each
# other by less than 45 degrees.
Field = Callable[[np.ndarray, np.ndarray], Any]  # Any: how numpy types arithmetic on arrays


def _radial(radius: Callable[[np.ndarray], np.ndarray]) -> Field:
    return lambda x, y: np.hypot(x, y) - radius(np.arctan2(x, -y))


def _polygon(corners: int) -> Field:
    half = np.pi / corners

    def field(x: np.ndarray, y: np.ndarray) -> Any:
        angle = (np.arctan2(x, -y) + half) % (2 * half) - half
        return np.hypot(x, y) * np.cos(half - np.abs(angle)) - np.cos(half)

    return field


def _box(x: np.ndarray, y: np.ndarray, width: float, height: float) -> Any:
    return np.maximum(np.abs(x) - width, np.abs(y) - height)


def _disc(x: np.ndarray, y: np.ndarray, radius: float = 1.0) -> Any:
    return np.hypot(x, y) - radius


SHAPES: dict[str, Field] = {
    "arch": lambda x, y: np.maximum(np.abs(np.hypot(x, y - 0.4) - 0.75) - 0.25, y - 0.5),
    "arrow": lambda x, y: np.minimum(_box(x, y - 0.4, 0.25, 0.6), np.maximum(np.abs(x) - 0.9 * (y + 1), y) * 0.8),
    "bowtie": lambda x, y: np.maximum(np.abs(x) - 1, np.abs(y) - 0.1 - 0.8 * np.abs(x)) * 0.8,
    "bullseye": lambda x, y: np.minimum(_disc(x, y, 0.4), np.abs(np.hypot(x, y) - 0.85) - 0.17),
    "burst": _radial(lambda angle: 0.75 + 0.25 * np.cos(10 * angle)),
    "crescent": lambda x, y: np.maximum(_disc(x, y), 0.8 - np.hypot(x, y + 0.5)),
    "cross": lambda x, y: np.minimum(_box(x, y, 0.3, 1), _box(x, y, 1, 0.3)),
    "disc": _disc,
    "drop": lambda x, y: np.minimum(_disc(x, y - 0.35, 0.65), np.maximum(np.abs(x) - 0.52 * (y + 1), y - 0.1) * 0.9),
    "ellipse": lambda x, y: 0.7 * (np.hypot(x, y / 0.45) - 1),
    "flower": _radial(lambda angle: 0.68 + 0.32 * np.cos(5 * angle)),
    "frame": lambda x, y: np.abs(_box(x, y, 0.7, 0.7)) - 0.18,
    "heart": lambda x, y: np.hypot(x * 1.05, y - 0.15 + 0.75 * np.sqrt(np.abs(x) + 0.01)) - 0.85,
    "pillar": lambda x, y: _box(x, y, 0.3, 1),
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.75) - 0.25,
    "square": lambda x, y: _box(x, y, 0.8, 0.8),
    "star": _radial(lambda angle: 0.42 + 0.58 * (np.abs((angle * 5 / np.pi) % 2 - 1)) ** 1.5),
    "tee": lambda x, y: np.minimum(_box(x, y + 0.7, 1, 0.3), _box(x, y - 0.1, 0.27, 0.9)),
    "triangle": _polygon(3),
    "zigzag": lambda x, y: np.maximum(np.abs(y - 0.9 * np.abs(np.abs(x) - 0.5) + 0.2) - 0.3, np.abs(x) - 1) * 0.8,
}

# How much (0 to 1) of the second colour shows; x and y in pixels, turned with the shape, r (0 to 1) from its middle.
TEXTURES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "checked": lambda x, y, r: _wave(x, 6) * _wave(y, 6) > 0,
    "dotted": lambda x, y, r: _wave(x, 4.5) + _wave(y, 4.5) > 0.9,
    "plain": lambda x, y, r: np.zeros_like(x),
    "shaded": lambda x, y, r: np.clip(1.15 - r, 0, 1),
    "striped": lambda x, y, r: _wave(y, 4.5) > 0,
}


def _wave(pixels: np.ndarray, period: float) -> np.ndarray:
    return np.sin(pixels * (2 * np.pi / period))


SUPERCLASSES = tuple(SHAPES)
CLASSES = tuple(sorted(f"{texture}_{shape}" for texture in TEXTURES for shape in SHAPES))
SUPERCLASS_OF = tuple(SUPERCLASSES.index(name.split("_")[1]) for name in CLASSES)


def load(train_per_class: int = 100, test_per_class: int = 20, image_size: int = 32, seed: int = 0) -> Dataset:
    """`100 * train_per_class` training and `100 * test_per_class` test images, drawn once and cached for the user.

    The same arguments give the same images. Position, scale, rotation (up to 20 degrees), colours, background and noise
    are random; shape and texture decide the class. Raises DataError for sizes that cannot be drawn.
    """
    for name, value, least in (
        ("train_per_class", train_per_class, 1),
        ("test_per_class", test_per_class, 1),
        ("image_size", image_size, 8),
        ("seed", seed, 0),
    ):
        if value < least:
            raise DataError(f"data.{name}={value}: must be {least} or more")

    def build() -> Dataset:
        train_rng, test_rng = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2))
        train = _draw_split(train_per_class, image_size, train_rng)
        mean, std = statistics(train.images)
        return Dataset(
            name="synthetic",
            train=train,
            test=_draw_split(test_per_class, image_size, test_rng),
            classes=CLASSES,
            superclasses=SUPERCLASSES,
            superclass_of=SUPERCLASS_OF,
            mean=mean,
            std=std,
        )

    key = {
        "source": "synthetic",
        "train_per_class": train_per_class,
        "test_per_class": test_per_class,
        "image_size": image_size,
        "seed": seed,
        "fingerprint": _DRAWING,
    }
    return cached(None, key, build)


def _draw_split(per_class: int, size: int, rng: np.random.Generator) -> Split:
    labels = np.repeat(np.arange(len(CLASSES), dtype=np.int64), per_class)
    images = np.empty((len(labels), size, size, 3), np.uint8)
    for label, name in enumerate(CLASSES):
        texture, shape = name.split("_")
        images[label * per_class : (label + 1) * per_class] = _draw(shape, texture, per_class, size, rng)
    return Split(images, labels)


def _draw(shape: str, texture: str, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """`n` images (n, size, size, 3) uint8 of one class."""

    def uniform(low: float, high: float, *axes: int) -> np.ndarray:
        return rng.random((n, *(axes or (1, 1))), dtype=np.float32) * np.float32(high - low) + np.float32(low)

    unit = size / 32  # all lengths below are in pixels of a 32x32 image
    grid = (np.arange(size, dtype=np.float32) + 0.5) / np.float32(unit) - 16
    radius = uniform(7, 13)
    dx, dy = (grid[None, None, :] - uniform(-4, 4)), (grid[None, :, None] - uniform(-4, 4))
    turn = uniform(-np.pi / 9, np.pi / 9)
    x, y = np.cos(turn) * dx + np.sin(turn) * dy, np.cos(turn) * dy - np.sin(turn) * dx
    inside = np.clip(0.5 - SHAPES[shape](x / radius, y / radius) * radius * np.float32(unit), 0, 1)
    second = TEXTURES[texture](x + uniform(0, 6), y + uniform(0, 6), np.hypot(x, y) / radius)

    # One colour light, one dark, between them a background that fades from side to side: colour gives nothing away.
    light, dark = uniform(0.55, 1, 1, 1, 3), uniform(0, 0.45, 1, 1, 3)
    swap = rng.random((n, 1, 1, 1)) < 0.5
    first_colour, second_colour = np.where(swap, dark, light), np.where(swap, light, dark)
    tilt = (uniform(-1, 1) * dx + uniform(-1, 1) * dy)[..., None] / 16
    image = uniform(0.35, 0.65, 1, 1, 3) + tilt * uniform(-0.15, 0.15, 1, 1, 3)
    ink = first_colour + second.astype(np.float32)[..., None] * (second_colour - first_colour)
    image += inside.astype(np.float32)[..., None] * (ink - image)
    image += rng.standard_normal(image.shape, dtype=np.float32) * uniform(0.04, 0.2, 1, 1, 1)
    pixels: np.ndarray = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels
