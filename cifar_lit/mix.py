"""Mixing the images and labels of a batch: CutMix (Yun et al. 2019) and MixUp (Zhang et al. 2018).

A mix is called as `mix(images, labels, num_classes, rng)` and returns images and targets: the integer labels (N,) of a
batch left alone, or the class probabilities (N, C) of a mixed one. Both are what `torch.nn.functional.cross_entropy`
takes. The random numbers are drawn by numpy on the host; `cutmix` and `mixup` themselves are pure functions.
"""

from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from torch import Tensor


def boxes(weight: np.ndarray, centre: np.ndarray, height: int, width: int) -> np.ndarray:
    """CutMix boxes (k, 4) as top, left, bottom, right in pixels, clipped at the borders.

    weight (k,): the share of the image that is kept before clipping. centre (k, 2): row and column as fractions.
    """
    side = np.sqrt(1.0 - weight)[:, None] * (height, width) / 2.0
    middle = np.floor(centre * (height, width))
    box = np.concatenate([middle - np.floor(side), middle + np.floor(side)], axis=1)
    return np.clip(box, 0, (height, width, height, width)).astype(np.int64)


def cutmix(images: Tensor, partners: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) with one box of their partners pasted in, and the share (N,) of each image that is left.

    box: (1, 4) for one box in the whole batch, as in the paper, or (N, 4) for one a sample.
    """
    height, width = images.shape[-2:]
    top, left, bottom, right = (edge[:, None] for edge in box.to(images.device, non_blocking=True).unbind(1))
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    in_rows = (rows >= top) & (rows < bottom)
    in_columns = (columns >= left) & (columns < right)
    inside = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
    share = 1.0 - ((bottom - top) * (right - left)).flatten() / (height * width)
    return torch.where(inside, partners, images), share.expand(len(images))


def mixup(images: Tensor, partners: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight * images + (1 - weight) * partners, and the weights (N,). weight: (1,) for the batch, or (N,)."""
    weight = weight.to(images.device, images.dtype, non_blocking=True)
    return torch.lerp(partners, images, weight[:, None, None, None]), weight.expand(len(images))


def soft_targets(labels: Tensor, partner_labels: Tensor, share: Tensor, num_classes: int) -> Tensor:
    """Class probabilities (N, C): `share` (N,) of the label, the rest of the partner's."""
    share = share[:, None].float()
    classes = torch.arange(num_classes, device=labels.device)
    own, other = ((index[:, None] == classes).float() for index in (labels, partner_labels))  # one_hot reads values back
    return share * own + (1.0 - share) * other


def dominant(targets: Tensor) -> Tensor:
    """The label (N,) with the largest share of each target: what training accuracy is scored against."""
    return targets if targets.ndim == 1 else targets.argmax(dim=1)


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Mixes a batch with a permutation of itself.

    cutmix, mixup: relative odds of the two. p: probability that a batch is mixed at all. alpha: of Beta(alpha, alpha),
    from which the share of the first image is drawn. per_sample: every sample draws its own share and box (and whether
    it is mixed), instead of one draw a batch as in the papers.
    """

    cutmix: float = 0.0
    mixup: float = 0.0
    p: float = 1.0
    alpha: float = 1.0
    per_sample: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.p <= 1.0:
            raise ValueError(f"mix.p={self.p} is a probability: allowed is 0 to 1")
        if not 0.0 < self.alpha < inf:
            raise ValueError(f"mix.alpha={self.alpha} must be above 0: it is the parameter of a Beta distribution")
        if not (0.0 <= self.cutmix < inf and 0.0 <= self.mixup < inf and self.cutmix + self.mixup > 0.0):
            raise ValueError(f"mix.cutmix={self.cutmix} and mix.mixup={self.mixup} are odds: 0 or more, and not both 0")

    def __call__(self, images: Tensor, labels: Tensor, num_classes: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) float and labels (N,) int -> images alike, and targets (N,) or (N, num_classes)."""
        draws = len(images) if self.per_sample else 1
        mixed = rng.random(draws) < self.p
        use_cutmix = rng.random() * (self.cutmix + self.mixup) < self.cutmix
        weight = np.where(mixed, rng.beta(self.alpha, self.alpha, size=draws), 1.0)
        centre = rng.random((draws, 2))
        order = torch.from_numpy(rng.permutation(len(images))).to(images.device, non_blocking=True)
        if not mixed.any():
            return images, labels
        partners = images[order]
        if use_cutmix:
            box = torch.from_numpy(boxes(weight, centre, *images.shape[-2:]))
            images, share = cutmix(images, partners, box)
        else:
            images, share = mixup(images, partners, torch.from_numpy(weight))
        return images, soft_targets(labels, labels[order], share, num_classes)
