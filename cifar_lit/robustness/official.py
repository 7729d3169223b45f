"""CIFAR-100-C's own files: fifteen arrays of 50,000 images, the test set at severity 1 first and at severity 5 last."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifar_lit.data.dataset import DataError, Split
from cifar_lit.robustness.corruptions import NAMES, SEVERITIES

FOLDER = "CIFAR-100-C"
IMAGES = 10_000  # at each severity
SHAPE = (IMAGES * len(SEVERITIES), 32, 32, 3)
_ADVICE = f"unpack {FOLDER}.tar (zenodo.org/records/3555552) again, or leave the files out to have the images generated"


@dataclass(frozen=True, eq=False)
class Official:
    """The files, mapped. The images of one severity stand in the order of the official test set, as their labels do."""

    folder: Path
    arrays: dict[str, np.ndarray]
    labels: np.ndarray  # (IMAGES,) int64

    def split(self, name: str, severity: int) -> Split:
        """The test images under one corruption at one severity."""
        start = (severity - 1) * IMAGES
        return Split(self.arrays[name][start : start + IMAGES], self.labels)


def load(folder: Path, classes: int) -> Official:
    """The files in a folder, each looked at before any is used; no pickle is read. Raises DataError."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; give the one with {NAMES[0]}.npy and labels.npy")
    missing = [f"{name}.npy" for name in (*NAMES, "labels") if not (folder / f"{name}.npy").is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(f"{folder}: lacks {', '.join(missing[:3])}{more}; {_ADVICE}")
    arrays = {name: _mapped(folder / f"{name}.npy", SHAPE, np.uint8) for name in NAMES}
    labels = np.array(_mapped(folder / "labels.npy", SHAPE[:1], np.integer), np.int64).reshape(len(SEVERITIES), IMAGES)
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{folder / 'labels.npy'}: labels from {labels.min()} to {labels.max()}, not 0 to {classes - 1}; {_ADVICE}"
        )
    if (labels != labels[0]).any():
        raise DataError(f"{folder / 'labels.npy'}: the labels differ from severity to severity; {_ADVICE}")
    return Official(folder, arrays, labels[0])


def _mapped(path: Path, shape: tuple[int, ...], kind: type) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: no array that can be read ({' '.join(str(error).split())[:120]}); {_ADVICE}") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{path}: an archive, not one array; {_ADVICE}")
    if array.shape != shape or not np.issubdtype(array.dtype, kind):
        wanted = "uint8" if kind is np.uint8 else "integers"
        raise DataError(f"{path}: {array.dtype}{array.shape}, not {wanted} {shape}; {_ADVICE}")
    return array
