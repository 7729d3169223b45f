"""Batches that are made inside a CUDA graph."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from cifar_lit.augment.policy import Draws, Policy
from cifar_lit.data.dataset import Split
from cifar_lit.data.loaders import Batch, DeviceLoader, Normalize
from cifar_lit.seeding import torch_generator


class Rows(NamedTuple):
    """A batch that is still to be made: which images, of which size, and the function (rows, pixels) that makes it."""

    rows: Tensor
    pixels: int | None
    make: Callable[[Tensor, int | None], Batch]


class FixedShapeLoader(DeviceLoader):
    """Yields `Rows`: the batch is made where it is used, by operations that can be part of a CUDA graph.

    The draws of an epoch lie on the device, always in the same tensors. `make(rows, pixels)` reads nothing else that
    changes, so a graph that holds it needs new rows only. compiled: make them by compiled code.
    """

    def __init__(self, split: Split, policy: Policy, normalize: Normalize, *, compiled: bool = False, **run: object) -> None:
        super().__init__(split, policy, normalize, **run)  # type: ignore[arg-type]
        self.compiled = compiled
        self.unused = torch_generator(self.seed, "noise", device=self.place.device)  # nothing of fixed shape draws noise
        self.draws: Draws = {}

    def examples(self, shapes: list[tuple[int, int]]) -> list[Rows]:
        """A batch of so many images of so many pixels a side for each shape, for what is compiled or recorded ahead."""
        self._keep_draws()
        rows = [torch.zeros(images, dtype=torch.long, device=self.place.device) for images, _ in shapes]
        sizes = [None if self.course.sizes is None else pixels for _, pixels in shapes]
        return [Rows(indices, pixels, self._maker()) for indices, pixels in zip(rows, sizes, strict=True)]

    def _maker(self) -> Callable[[Tensor, int | None], Batch]:
        return partial(_compiled(), self) if self.compiled else self.make

    def _keep_draws(self) -> None:
        for name, params in self.draw().items():
            kept = self.draws.setdefault(name, {})
            for key, value in params.items():
                if key in kept:
                    kept[key].copy_(value)
                else:
                    kept[key] = value.to(self.place.device, copy=True)

    def __iter__(self) -> Iterator[Rows]:  # type: ignore[override]
        self._keep_draws()
        batches = self.batches()
        make = self._maker()
        order = torch.cat(batches).to(self.place.device)  # once: a copy from the host waits until the device has nothing to do
        for rows, pixels in zip(order.split([len(batch) for batch in batches]), self.pixels(), strict=True):
            yield Rows(rows, pixels, make)

    def make(self, rows: Tensor, pixels: int | None) -> Batch:
        """The augmented, normalised images and the labels of some rows (n,)."""
        draws = self.policy.rows(self.draws, rows)
        images = self.policy.apply_fixed(self.images.index_select(0, rows), draws, self.unused)
        return self.normalize(images, pixels), self.labels.index_select(0, rows)


@cache
def _compiled() -> Callable[..., Batch]:
    """`FixedShapeLoader.make` as few kernels: by itself every index and every number of an augmentation is one."""
    return torch.compile(FixedShapeLoader.make, dynamic=False)
