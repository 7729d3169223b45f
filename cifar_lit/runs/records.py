"""What a run wrote about its test: accuracy by class, the confusion matrix, calibration, and some of its mistakes.

Older runs lack some of these files, and any file may be torn: None stands for a file that is not there or not what it should be.
"""

import csv
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_LARGEST = 64 * 2**20  # bytes; the files of a hundred classes are under one
_SIDE = 256  # pixels; larger images than this are not drawn


def _rows(path: Path) -> list[list[str]]:
    try:
        if path.stat().st_size > _LARGEST:
            return []
        with open(path, newline="") as file:
            return [row for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error):
        return []


@dataclass(frozen=True)
class PerClass:
    """classes, the superclass of each (empty where there are none), how many test images each has, and its accuracy."""

    classes: tuple[str, ...]
    superclasses: tuple[str, ...]
    images: np.ndarray
    accuracy: np.ndarray


BINS = 15  # of confidence, as the expected calibration error has them (Guo et al. 2017)


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """The bin of each confidence, (N,) of 0 to 1: one on an edge is in the bin below it, as torchmetrics counts."""
    return np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1).astype(int)


PER_CLASS = ("class", "superclass", "images", "acc")


def per_class(folder: Path) -> PerClass | None:
    """per_class.csv of a run."""
    rows = _rows(folder / "per_class.csv")
    if len(rows) < 2 or tuple(rows[0]) != PER_CLASS:
        return None
    try:
        names, parents, images, accuracy = zip(*rows[1:], strict=True)
        counts, shares = np.array(images, int), np.array(accuracy, float)
    except (ValueError, OverflowError):
        return None
    fits = len(set(names)) == len(names) and (counts >= 0).all() and (shares >= 0).all() and (shares <= 1).all()
    return PerClass(names, parents, counts, shares) if fits else None


@dataclass(frozen=True)
class Confusion:
    """table: a row a true class, a column a predicted one, in images."""

    classes: tuple[str, ...]
    table: np.ndarray


def confusion(folder: Path) -> Confusion | None:
    """confusion.csv of a run."""
    rows = _rows(folder / "confusion.csv")
    if len(rows) < 2:
        return None
    classes = tuple(rows[0][1:])
    try:
        table = np.array([row[1:] for row in rows[1:]], int)
    except (ValueError, OverflowError):
        return None
    fits = table.shape == (len(classes), len(classes)) and tuple(row[0] for row in rows[1:]) == classes and (table >= 0).all()
    return Confusion(classes, table) if fits else None


@dataclass(frozen=True)
class Calibration:
    """Bins of confidence from 0 to 1. Each array (bins,): images, mean confidence and accuracy, NaN in bins without images.

    calibrated: images, confidence and accuracy after temperature scaling; None where the run fitted no temperature.
    """

    low: np.ndarray
    high: np.ndarray
    images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    calibrated: tuple[np.ndarray, np.ndarray, np.ndarray] | None


CALIBRATION = ("bin_low", "bin_high", "images", "confidence", "accuracy",
               "calibrated_images", "calibrated_confidence", "calibrated_accuracy")  # fmt: skip


def calibration(folder: Path) -> Calibration | None:
    """calibration.csv of a run."""
    rows = _rows(folder / "calibration.csv")
    if len(rows) < 2 or tuple(rows[0]) != CALIBRATION:
        return None
    try:
        low, high, images, confidence, accuracy, *after = np.array(
            [[float(cell) if cell else np.nan for cell in row] for row in rows[1:]], float
        ).T
    except (ValueError, OverflowError):
        return None
    images, after[0] = np.nan_to_num(images), np.nan_to_num(after[0])
    shares = np.concatenate([low, high, confidence, accuracy, *after[1:]])
    if (
        (images < 0).any()
        or np.nanmin(shares, initial=0) < 0
        or np.nanmax(shares, initial=0) > 1.001
        or np.isnan(low + high).any()
    ):
        return None
    calibrated = (after[0], after[1], after[2]) if after[0].sum() else None
    return Calibration(low, high, images, confidence, accuracy, calibrated)


@dataclass(frozen=True)
class Mistakes:
    """Test images that were taken for another class. images: (n, H, W, 3) uint8; true, predicted: indices into classes."""

    images: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    classes: tuple[str, ...]


def mistakes(folder: Path) -> Mistakes | None:
    """mistakes.npz of a run. Nothing in it is unpickled."""
    path = folder / "mistakes.npz"
    try:
        if path.stat().st_size > _LARGEST:
            return None
        data = io.BytesIO(path.read_bytes())  # numpy leaves a path open where it is not what it should be
        with zipfile.ZipFile(data) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST:
                return None
        with np.load(data, allow_pickle=False) as file:
            images, true, predicted, probability, classes = (
                file[name] for name in ("images", "true", "predicted", "probability", "classes")
            )
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile):
        return None
    n = len(images) if images.ndim == 4 else -1
    columns = (true, predicted, probability)
    fits = (
        images.dtype == np.uint8
        and images.shape[3:] == (3,)
        and 0 < max(images.shape[1:3]) <= _SIDE
        and all(column.shape == (n,) for column in columns)
        and true.dtype.kind in "iu"
        and predicted.dtype.kind in "iu"
        and probability.dtype.kind == "f"
        and classes.ndim == 1
        and classes.dtype.kind == "U"
        and all(((column >= 0) & (column < len(classes))).all() for column in (true, predicted))
    )
    return Mistakes(images, true, predicted, probability, tuple(classes.tolist())) if fits and n else None
