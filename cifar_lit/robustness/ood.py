"""Images of other things, from a folder, and how well a network's confidence tells them from its own test images."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from cifar_lit import pictures
from cifar_lit.data.dataset import DataError
from cifar_lit.pictures import PictureError
from cifar_lit.predict import Predictor
from cifar_lit.robustness.measure import confidences, logits, separation
from cifar_lit.seeding import numpy_generator

_BINS = 30


@dataclass(frozen=True)
class Separation:
    """By one measure of confidence. edges: of the bins of a histogram; own, others: how many images are in each."""

    auroc: float
    fpr95: float
    edges: list[float]
    own: list[int]
    others: list[int]


@dataclass(frozen=True)
class Outside:
    """What came of a folder, by its own name. failed: the name and the reason, of each file that could not be read."""

    folder: str
    files: int
    images: int
    failed: list[str]
    measures: dict[str, Separation]


def listed(folder: Path) -> list[Path]:
    """The files of a folder, and of those in it, that are named as images are. Raises DataError."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; --ood wants one with images of other things than the classes")
    suffixes = tuple(suffix for suffix, kind in Image.registered_extensions().items() if kind in pictures.FORMATS)
    found = [
        Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(suffixes) and not name.startswith(".")
    ]
    if not found:
        raise DataError(f"{folder}: no images in this folder; --ood wants one with images of other things than the classes")
    return sorted(found)


def compare(predictor: Predictor, own: np.ndarray, folder: Path, limit: int | None, seed: int, batch: int) -> Outside:
    """own: logits (N, C) of test images. limit: of a larger folder, so many files that the seed chooses. Raises DataError."""
    files = listed(folder)
    if limit is not None and len(files) > limit:
        files = [files[index] for index in np.sort(numpy_generator(seed, "ood").permutation(len(files))[:limit])]
    failed: list[str] = []
    parts = list(logits(predictor, _batches(predictor, folder, files, failed, batch)))
    if not parts:
        raise DataError(f"{folder}: none of its {len(files)} images could be read; the first: {failed[0]}")
    values = np.concatenate(parts)
    inside, outside = confidences(own), confidences(values)
    measures = {name: _separation(inside[name], outside[name], name == "max_softmax") for name in inside}
    return Outside(folder.resolve().name, len(files), len(values), failed, measures)


def _batches(predictor: Predictor, folder: Path, files: list[Path], failed: list[str], size: int) -> Iterator[np.ndarray]:
    """Prepared images, `size` at a time; what cannot be read is added to `failed`."""

    def prepared() -> Iterator[np.ndarray]:
        for path in files:
            try:
                yield predictor.prepare(path, str(path.relative_to(folder)))
            except PictureError as error:
                failed.append(str(error))

    images = prepared()
    while part := list(islice(images, size)):
        yield np.stack(part)


def _separation(own: np.ndarray, others: np.ndarray, is_share: bool) -> Separation:
    auroc, fpr95 = separation(own, others)
    both = np.concatenate([own, others])
    low, high = (0.0, 1.0) if is_share else (float(both.min()), float(both.max()))
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    counts = [np.histogram(values.clip(edges[0], edges[-1]), edges)[0].tolist() for values in (own, others)]
    return Separation(auroc, fpr95, edges.tolist(), *counts)
