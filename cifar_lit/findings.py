"""What a test found, as files: confusions, accuracy by class, calibration, and examples of the commonest mistakes."""

import csv
from pathlib import Path

import numpy as np
from torch import Tensor

from cifar_lit.atomic import writing
from cifar_lit.data.dataset import Dataset
from cifar_lit.runs.records import BINS, CALIBRATION, PER_CLASS, bins_of

_PAIRS, _EXAMPLES = 8, 3  # of confused classes, and images of each


def write(
    folder: Path,
    dataset: Dataset,
    confusion: Tensor,
    logits: Tensor,
    labels: Tensor,
    order: np.ndarray,
    temperature: float | None,
) -> None:
    """Write the files. confusion (C, C) in images; logits (N, C) and labels (N,) of the test images that `order` numbers."""
    counts = confusion.numpy()
    _write_confusion(folder / "confusion.csv", counts, dataset)
    _write_classes(folder / "per_class.csv", counts, dataset)
    _write_calibration(folder / "calibration.csv", logits, labels, temperature)
    if np.array_equal(dataset.test.labels[order], labels.numpy()):  # several processes and a limit on batches: no telling which
        _write_mistakes(folder / "mistakes.npz", counts, logits, order, dataset)


def _write_confusion(path: Path, counts: np.ndarray, dataset: Dataset) -> None:
    """A row a true class, a column a predicted one, in images."""
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["true / predicted", *dataset.classes])
        table.writerows([name, *row] for name, row in zip(dataset.classes, counts.tolist(), strict=True))


def _write_classes(path: Path, counts: np.ndarray, dataset: Dataset) -> None:
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(PER_CLASS)
        for index, name in enumerate(dataset.classes):
            parent = dataset.superclasses[dataset.superclass_of[index]] if dataset.superclasses else ""
            seen = int(counts[index].sum())
            table.writerow([name, parent, seen, f"{counts[index, index] / max(seen, 1):.4f}"])


def binned(logits: Tensor, labels: Tensor) -> list[tuple[int, float | None, float | None]]:
    """Images, mean confidence and accuracy in each of BINS equal bins of confidence; None in a bin without images.

    Images whose logits are not numbers, as a run that diverged gives them, are in no bin.
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    known = confidence.isfinite()
    confidence, hits = confidence[known], (predicted == labels)[known].double().numpy()
    bins = bins_of(confidence.numpy())
    images = np.bincount(bins, minlength=BINS)
    sure, right = (np.bincount(bins, weights=weights, minlength=BINS) for weights in (confidence.numpy(), hits))
    return [(int(n), float(sure[i] / n) if n else None, float(right[i] / n) if n else None) for i, n in enumerate(images)]


def _write_calibration(path: Path, logits: Tensor, labels: Tensor, temperature: float | None) -> None:
    plain = binned(logits, labels)
    calibrated = binned(logits / temperature, labels) if temperature is not None else [(0, None, None)] * BINS
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(CALIBRATION)
        for index, (first, second) in enumerate(zip(plain, calibrated, strict=True)):
            numbers = ["" if value is None else f"{value:.6g}" for value in (*first, *second)]
            table.writerow([f"{index / BINS:.6g}", f"{(index + 1) / BINS:.6g}", *numbers])


def _write_mistakes(path: Path, counts: np.ndarray, logits: Tensor, order: np.ndarray, dataset: Dataset) -> None:
    """Images of the most confused pairs, the surest mistakes first: images, true, predicted, probability, classes."""
    wrong = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    commonest = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    pairs = [divmod(int(flat), len(counts)) for flat in commonest if wrong.flat[flat]]
    probability, predicted = (tensor.numpy() for tensor in logits.double().softmax(1).max(1))
    labels = dataset.test.labels[order]
    rows: list[int] = []
    for true, taken_for in pairs:
        found = np.flatnonzero((labels == true) & (predicted == taken_for))
        rows += found[np.argsort(-probability[found], kind="stable")][:_EXAMPLES].tolist()
    chosen = np.array(rows, int)
    with writing(path) as part, open(part, "wb") as file:
        np.savez_compressed(
            file,
            images=dataset.test.images[order[chosen]],
            true=labels[chosen],
            predicted=predicted[chosen],
            probability=probability[chosen].astype(np.float32),
            classes=np.array(dataset.classes),
        )
