"""Which images, in which order: the held-out split, and one permutation an epoch."""

import numpy as np
import torch
from torch import Tensor

from cifar_lit.seeding import numpy_generator, torch_generator

# One split for every run: recipes and seeds are then compared on the same held-out images.
_SPLIT_SEED = 0


def holdout(labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images to train on and of `size` held-out ones, both ascending; every class gives its share.

    The shares are rounded by largest remainder, so that they add up to `size` exactly.
    """
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts * (size / len(labels))
    taken = np.floor(shares).astype(int)
    largest = np.argsort(taken - shares, kind="stable")[: size - taken.sum()]
    taken[largest] += 1
    held = [
        numpy_generator(_SPLIT_SEED, "holdout", int(label)).permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(classes, taken, strict=True)
    ]
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[np.concatenate(held)] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def mirrored(length: int, seed: int, epoch: int) -> Tensor:
    """Which images (length,) an alternating flip turns in an epoch: a half drawn once, and then each half in turn."""
    first = torch.rand(length, generator=torch_generator(seed, "mirrored")) < 0.5
    return first ^ bool(epoch % 2)


def shuffled(length: int, seed: int, epoch: int) -> Tensor:
    """The order (length,) of an epoch: a permutation that only the seed and the epoch decide."""
    return torch.randperm(length, generator=torch_generator(seed, "order", epoch))
