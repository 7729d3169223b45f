"""What every source of images hands over: two splits, the class names and the statistics of the training pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np


class DataError(ValueError):
    """Bad or missing data. One line: which file or folder, what is wrong, what to do."""


class DataMissing(DataError):
    """Nothing is there, and it could not be, or was not to be, downloaded."""


class _Part:
    """Some images of an array (N, H, W, 3), by their places: read when they are asked for, so that a memory map stays one."""

    def __init__(self, images: np.ndarray, places: np.ndarray) -> None:
        self.images, self.places = images, places
        self.shape = (len(places), *images.shape[1:])
        self.nbytes = len(places) * images[0].nbytes

    def __getitem__(self, which: Any) -> Any:
        """An image, a copy of several, or of a slice a part."""
        places = self.places[which]
        return _Part(self.images, places) if isinstance(which, slice) else self.images[places]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.images[self.places], dtype)  # a copy in any case


@dataclass(frozen=True, eq=False)
class Split:
    """`images` (N, H, W, 3) uint8, usually a read-only memory map; `labels` (N,) int64."""

    images: np.ndarray
    labels: np.ndarray

    def part(self, places: np.ndarray) -> Split:
        """The images at some places, not copied."""
        taken = cast(np.ndarray, _Part(self.images, places))  # as far as loaders use one
        return Split(taken, self.labels[places])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with their facts: `mean` and `std` are of the training pixels divided by 255, rounded to 4 digits.

    `superclass_of[label]` is an index into `superclasses`; both are empty where the source knows no superclasses.
    `fingerprint` is the same for the same pixels and labels, wherever they lie; empty for images that never lay in a cache.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    superclasses: tuple[str, ...]
    superclass_of: tuple[int, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fingerprint: str = ""


def statistics(images: np.ndarray) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel of `images` (N, H, W, 3) uint8, in units of 255, to 4 digits."""
    counts = np.zeros((3, 256), np.int64)
    for start in range(0, len(images), 2000):  # in pieces: bincount makes an int64 copy of what it counts
        for channel in range(3):
            counts[channel] += np.bincount(images[start : start + 2000, ..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
    return _rounded(mean), _rounded(std)


def _rounded(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 4) for value in values)
    return red, green, blue
