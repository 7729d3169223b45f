"""Black holes: Cutout (DeVries and Taylor 2017) and coarse dropout."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cifar_lit.augment.op import Op, Params, Size, check_interval, whole


@dataclass(kw_only=True, frozen=True)
class Erase(Op):
    """Blacken one rectangle. size: [lo, hi] pixels, drawn for its height and its width independently.

    inside: true puts it entirely inside the image (coarse dropout); false puts its centre on any pixel and lets the
    borders clip it, so that less is erased near them (Cutout).
    """

    size: tuple[int, int]
    inside: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        check_interval(self, "size", 1, kind=int)

    @property
    def fixed_shape(self) -> bool:
        return True

    def check(self, size: Size) -> None:
        if self.size[1] > min(size):
            raise ValueError(f"Erase(size={self.size!r}) of {size[0]}x{size[1]} images: allowed is 1 to {min(size)}")

    def draw(self, n: int, size: Size, generator: torch.Generator) -> Params:
        params = {}
        for side, start, length in (("height", "top", size[0]), ("width", "left", size[1])):
            extent = params[side] = whole(n, *self.size, generator)
            if self.inside:
                params[start] = whole(n, 0, length - extent, generator)
            else:
                params[start] = whole(n, 0, length - 1, generator) - extent // 2
        return params

    def apply(self, images: Tensor, params: Params, generator: torch.Generator) -> Tensor:
        in_rows = _between(params["top"], params["height"], images.shape[2], images.device)
        in_columns = _between(params["left"], params["width"], images.shape[3], images.device)
        hole = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
        return images * ~hole  # keeps the dtype, and is 5 to 20 times as fast as masked_fill on a processor


def _between(start: Tensor, extent: Tensor, length: int, device: torch.device) -> Tensor:
    """(n, length) bool: start <= position < start + extent."""
    position = torch.arange(length, device=start.device)
    return ((position >= start[:, None]) & (position < (start + extent)[:, None])).to(device, non_blocking=True)
