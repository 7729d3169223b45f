"""What a network's logits come to: accuracy, loss and calibration, and whether other images can be told by them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torchmetrics.functional.classification import binary_auroc, binary_roc

from cifar_lit.predict import Predictor
from cifar_lit.runs.records import BINS, bins_of

_TPR = 0.95


@dataclass(frozen=True)
class Bins:
    """Images sorted by confidence into BINS equal parts of 0 to 1: how many, the sum of their confidences, the hits."""

    images: np.ndarray
    confidence: np.ndarray
    hits: np.ndarray

    def __add__(self, other: "Bins") -> "Bins":
        return Bins(self.images + other.images, self.confidence + other.confidence, self.hits + other.hits)

    @property
    def ece(self) -> float:
        """Expected calibration error: how far confidence and accuracy are apart in a bin, averaged over the images."""
        return float(np.abs(self.confidence - self.hits).sum() / self.images.sum())


@dataclass(frozen=True)
class Score:
    """Of some images. The loss is in nats; `*_calibrated` after the logits are divided by the temperature, if there is one."""

    images: int
    acc: float
    nll: float
    ece: float
    nll_calibrated: float | None
    ece_calibrated: float | None
    bins: Bins
    bins_calibrated: Bins | None


def logits(predictor: Predictor, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Of each batch of prepared images (N, H, W, 3) uint8: (N, C) float64."""
    for pixels in batches:
        with torch.inference_mode():
            images = torch.from_numpy(predictor.normalise(pixels))
            # Convolutions take half the time on a CPU when the channels lie together.
            images = images.to(predictor.device, memory_format=torch.channels_last)
            yield predictor.net(images).float().cpu().numpy().astype(np.float64)


def score(values: np.ndarray, labels: np.ndarray, temperature: float | None) -> Score:
    """values: logits (N, C). labels (N,)."""
    nll, bins = _calibration(values, labels)
    after = None if temperature is None else _calibration(values / temperature, labels)
    return Score(
        images=len(labels),
        acc=float((values.argmax(1) == labels).mean()),
        nll=nll,
        ece=bins.ece,
        nll_calibrated=after and after[0],
        ece_calibrated=after and after[1].ece,
        bins=bins,
        bins_calibrated=after and after[1],
    )


def _calibration(values: np.ndarray, labels: np.ndarray) -> tuple[float, Bins]:
    logs = values - log_sum_exp(values)[:, None]
    confidence = np.exp(logs.max(1))
    hits = values.argmax(1) == labels
    place = bins_of(confidence)
    counts, sums, right = (np.bincount(place, weight, BINS) for weight in (None, confidence, hits))
    return float(-logs[np.arange(len(labels)), labels].mean()), Bins(counts, sums, right)


def log_sum_exp(values: np.ndarray) -> np.ndarray:
    """(N, C) -> (N,)."""
    most = values.max(1, keepdims=True)
    return np.log(np.exp(values - most).sum(1)) + most[:, 0]


def confidences(values: np.ndarray) -> dict[str, np.ndarray]:
    """How sure a network is of each image, by two measures, from its logits (N, C) as they are.

    max_softmax: the largest probability (Hendrycks and Gimpel 2017). energy: the negative energy, log of the sum of exp(logits)
    (Liu et al. 2020).
    """
    total = log_sum_exp(values)
    return {"max_softmax": np.exp(values.max(1) - total), "energy": total}


def separation(own: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """How well a confidence tells own images from others: AUROC, and the share of others above the value that 95% of the own
    reach (FPR at 95% TPR).
    """
    # By rank: torchmetrics takes values outside 0..1 for logits, and its sigmoid makes large ones equal.
    _, ranks = np.unique(np.concatenate([own, others]), return_inverse=True)
    shares = torch.from_numpy(ranks / max(1, ranks.max()))
    truth = torch.cat([torch.ones(len(own), dtype=torch.int64), torch.zeros(len(others), dtype=torch.int64)])
    false, true, _ = binary_roc(shares, truth, validate_args=False)
    return float(binary_auroc(shares, truth, validate_args=False)), float(false[(true >= _TPR).nonzero()[0, 0]])
