"""Accuracy and loss, added up on the device and read once an epoch; and the full evaluation of a test set."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.functional.classification import multiclass_calibration_error
from torchmetrics.utilities import dim_zero_cat


def counted(loss: Tensor, logits: Tensor, labels: Tensor, top5: bool = True) -> Tensor:
    """What a batch adds to a Tally, (4,): its loss times its images, top-1 and top-5 hits, images.

    loss: mean over the batch. logits (N, C). labels (N,). top5: without it, the dearest part, the third is not a number.
    """
    count = len(labels)
    first = (logits.argmax(dim=1) == labels).sum()  # as in Evaluation: bfloat16 logits tie, and topk orders ties otherwise
    if top5:
        five = (logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]).sum()
    else:
        five = torch.full_like(loss, math.nan)
    return torch.stack((loss.detach() * count, first, five, torch.full_like(loss, count)))


class Tally(Metric):
    """Sums of loss, top-1 and top-5 hits over an epoch, kept on the device and added up over processes.

    `update`, of what is `counted`, launches one operation and never waits for the device; `compute` reads the sums, once.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(4), dist_reduce_fx="sum")

    def update(self, batch: Tensor) -> None:
        """batch: (4,), as `counted`."""
        self.sums += batch  # float32 counts exactly up to 16 million images

    def compute(self) -> dict[str, float]:
        """Means over everything since the last reset, in all processes: `loss`, `acc` and `acc5` as fractions."""
        return self.so_far()

    def so_far(self) -> dict[str, float]:
        """The means of this process alone, for a progress bar: `compute` would wait for the others."""
        loss, top1, top5, count = self.sums.tolist()
        count = max(count, 1.0)
        return {"loss": loss / count, "acc": top1 / count, "acc5": top5 / count}


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """By which to divide logits (N, C) for the least cross-entropy with labels (N,): temperature scaling (Guo et al. 2017).

    The loss is convex in the inverse of the temperature, so its slope tells the side: halving from 1/20 to 20, in float64.
    """
    logits = logits.double()
    own = logits.gather(1, labels[:, None])[:, 0].mean()
    low, high = 1 / 20, 20.0
    for _ in range(40):
        inverse = math.sqrt(low * high)
        slope = ((logits * inverse).softmax(dim=1) * logits).sum(dim=1).mean() - own
        low, high = (low, inverse) if slope > 0 else (inverse, high)
    return round(1 / high, 6)


class Evaluation(Metric):
    """Logits and labels of a whole evaluation, kept on the device, for the numbers that need them all at once."""

    full_state_update = False
    logits: list[Tensor]
    labels: list[Tensor]

    def __init__(self, superclass_of: tuple[int, ...] = ()) -> None:
        """superclass_of: class index -> superclass index; empty where there are none."""
        super().__init__()
        self.superclass_of = torch.tensor(superclass_of, dtype=torch.long)
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """logits (N, C), labels (N,)."""
        self.logits.append(logits.float())
        self.labels.append(labels)

    def compute(self) -> tuple[Tensor, Tensor]:
        """All logits (N, C) and labels (N,), of every process, on the CPU."""
        return dim_zero_cat(self.logits).cpu(), dim_zero_cat(self.labels).cpu()

    def scores(self, temperature: float | None = None) -> tuple[dict[str, float], Tensor]:
        """The scores, fractions but for the loss, and the confusion matrix (C, C): a row a true class, in images.

        temperature: adds `ece_calibrated`, of the logits divided by it.
        """
        logits, labels = self.compute()
        classes = logits.shape[1]
        predicted = logits.argmax(dim=1)
        confusion = torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
        hits = confusion.diag().double()
        seen, called = confusion.sum(dim=1), confusion.sum(dim=0)
        top5 = (logits.topk(min(5, classes), dim=1).indices == labels[:, None]).any(dim=1)
        present = seen > 0
        scores = {
            "loss": F.cross_entropy(logits, labels),
            "acc": hits.sum() / len(labels),
            "acc5": top5.double().mean(),
            # Macro averages, over the classes that occur: F1 is 2 TP / (2 TP + FP + FN).
            "f1": (2 * hits / (seen + called).clamp(min=1))[present].mean(),
            "recall": (hits / seen.clamp(min=1))[present].mean(),
            # Guo et al. 2017, 15 bins.
            "ece": multiclass_calibration_error(logits.softmax(1), labels, classes, n_bins=15, validate_args=False),
        }
        if temperature is not None:
            calibrated = (logits / temperature).softmax(1)
            scores["ece_calibrated"] = multiclass_calibration_error(calibrated, labels, classes, n_bins=15, validate_args=False)
        if len(self.superclass_of):
            scores["acc_superclass"] = (self.superclass_of[predicted] == self.superclass_of[labels]).double().mean()
        return {name: float(score) for name, score in scores.items()}, confusion
