"""What an augmentation is: it draws the random numbers of many samples on the host, and applies them to a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

Params = dict[str, Tensor]
Size = tuple[int, int]

# The row of every op's parameters that says which samples it applies to.
APPLIES = "applies"


@dataclass(kw_only=True, frozen=True)
class Op(ABC):
    """One augmentation. p: the share of samples that it applies to; inside OneOf, its weight in the choice."""

    p: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "p", 0.0, 1.0)

    @property
    def batched(self) -> bool:
        """Whether `draw` and `apply` exist; an op without them works image by image only."""
        return True

    @property
    def arithmetic(self) -> bool:
        """Whether pixels are computed, so that `apply` returns float32, rather than copied."""
        return False

    @property
    def fixed_shape(self) -> bool:
        """Whether `apply` works with parameters on the device, by operations whose shapes depend on no value.

        Such ops can be part of a CUDA graph.
        """
        return False

    @property
    def takes_turns(self) -> bool:
        """Whether samples take turns between epochs, instead of being chosen at random."""
        return False

    def check(self, size: Size) -> None:  # noqa: B027 - most ops work on any size
        """Refuse image sizes (height, width) that the op cannot work on. Raises ValueError."""

    def chosen(self, n: int, generator: torch.Generator, mirrored: Tensor | None) -> Tensor:
        """Which of n samples (n,) the op applies to. mirrored (n,): for ops that take turns between epochs."""
        return torch.rand(n, generator=generator, dtype=torch.float64) < self.p

    @abstractmethod
    def draw(self, n: int, size: Size, generator: torch.Generator) -> Params:
        """The parameters of n samples of `size` (height, width): CPU tensors of n rows. A pure function."""

    @abstractmethod
    def apply(self, images: Tensor, params: Params, generator: torch.Generator) -> Tensor:
        """Images (n, 3, H, W), uint8 or float32 on the 0..255 scale, with one row of `params` each -> images alike.

        The result is a new tensor, never a view of `images`, which stay as they are. generator: on the images' device.
        """


def draw(op: Op, n: int, size: Size, generator: torch.Generator, mirrored: Tensor | None = None) -> Params:
    """The parameters of `op` for n samples, and which of them it applies to."""
    op.check(size)
    return {APPLIES: op.chosen(n, generator, mirrored), **op.draw(n, size, generator)}


def apply_where(
    op: Op, images: Tensor, applies: Tensor, params: Params, generator: torch.Generator, *, overwrite: bool
) -> Tensor:
    """Apply `op` to the samples that `applies` (n,) marks, at a cost in proportion to their number.

    `applies` is on the host, so that choosing never waits for the device. The result's dtype does not depend on which
    samples are marked. overwrite: `images` may be written to.
    """
    rows = applies.nonzero().flatten()
    if len(rows) == len(images):
        return op.apply(images, params, generator)
    if op.arithmetic and images.dtype != torch.float32:
        images, overwrite = images.float(), True
    if len(rows) == 0:
        return images
    there = rows.to(images.device, non_blocking=True)
    part = op.apply(images.index_select(0, there), select(params, rows), generator)
    changed = images if overwrite else images.clone()
    _replace(changed, there, part)
    return changed


def _replace(images: Tensor, rows: Tensor, part: Tensor) -> None:
    """Write `part` into the given rows of `images`, in place."""
    if all(one.is_contiguous() and one.shape[-1] * one.element_size() % 8 == 0 == one.data_ptr() % 8 for one in (images, part)):
        images, part = images.view(torch.int64), part.view(torch.int64)  # a CPU copies number by number: make them large
    images.index_copy_(0, rows, part)


def apply_fixed(op: Op, images: Tensor, applies: Tensor, params: Params, generator: torch.Generator) -> Tensor:
    """The same by operations of fixed shape: everything is computed, then chosen. `applies` and `params` on the device."""
    return torch.where(applies[:, None, None, None], op.apply(images, params, generator), images)


def select(params: Params, rows: Tensor) -> Params:
    """The given rows of every parameter."""
    return {name: value.index_select(0, rows) for name, value in params.items()}


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Float32 (n,), uniform over [low, high)."""
    return torch.rand(n, generator=generator).mul_(high - low).add_(low)


def whole(n: int, low: Tensor | int, high: Tensor | int, generator: torch.Generator) -> Tensor:
    """Int64 (n,), uniform over low..high, both included; the limits may differ from sample to sample."""
    fraction = torch.rand(n, generator=generator, dtype=torch.float64)  # float32 could round up to high + 1
    return (fraction * (high - low + 1)).floor().long() + low


def present(ops: Mapping[str, Op | None], owner: str) -> dict[str, Op]:
    """The entries that are not None. Raises ValueError where one is not an Op."""
    for name, op in ops.items():
        if not isinstance(op, Op | None):
            raise ValueError(f"{owner}: {name} is {op!r}; allowed is an augmentation (a config with _target_), or null")
    return {name: op for name, op in ops.items() if op is not None}


def check_number(op: Op, name: str, low: float, high: float = inf, *, kind: type = float) -> None:
    """Raise ValueError unless the field is a number of low..high, and a whole one where kind is int."""
    value = getattr(op, name)
    if not (_is_number(value, kind) and low <= value <= high):
        raise ValueError(f"{type(op).__name__}({name}={value!r}): allowed is {_numbers(kind)}{_range(low, high)}")


def check_interval(op: Op, name: str, low: float, high: float = inf, *, kind: type = float) -> None:
    """Raise ValueError unless the field is [lo, hi] with low <= lo <= hi <= high."""
    value = getattr(op, name)
    pair = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if not (len(pair) == 2 and all(_is_number(v, kind) for v in pair) and low <= pair[0] <= pair[1] <= high):
        allowed = f"[lo, hi] with lo <= hi, both {_numbers(kind)}{_range(low, high)}"
        raise ValueError(f"{type(op).__name__}({name}={value!r}): allowed is {allowed}")


def _is_number(value: object, kind: type) -> bool:
    return isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)


def _numbers(kind: type) -> str:
    return "whole numbers, " if kind is int else ""


def _range(low: float, high: float) -> str:
    return f"{low:g} or more" if high == inf else f"{low:g} to {high:g}"
