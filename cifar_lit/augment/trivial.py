"""TrivialAugment (Mueller and Hutter 2021)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cifar_lit.augment.op import Op, Params, Size


@dataclass(kw_only=True, frozen=True)
class Trivial(Op):
    """torchvision's TrivialAugmentWide: one of 14 operations, at one of 31 strengths. Image by image only."""

    @property
    def batched(self) -> bool:
        return False

    def draw(self, n: int, size: Size, generator: torch.Generator) -> Params:
        raise NotImplementedError("Trivial has no batched form")

    def apply(self, images: Tensor, params: Params, generator: torch.Generator) -> Tensor:
        raise NotImplementedError("Trivial has no batched form")
