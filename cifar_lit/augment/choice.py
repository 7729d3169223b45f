"""One of several."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cifar_lit.augment.op import Op, Params, Size, apply_where, present


@dataclass(kw_only=True, frozen=True)
class OneOf(Op):
    """Apply exactly one of `ops` to a share p of the samples; each op's own p is its weight in the choice."""

    ops: Mapping[str, Op | None]

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(op.p for op in self.members.values()) == 0.0:
            raise ValueError(f"OneOf(ops={self.ops!r}): allowed is one op or more, not all of p=0")
        if any(op.takes_turns for op in self.members.values()):
            raise ValueError("OneOf chooses at random: an alternating flip cannot be among its ops")

    @property
    def members(self) -> dict[str, Op]:
        """The ops to choose from; those set to null are left out."""
        return present(self.ops, "OneOf")

    @property
    def batched(self) -> bool:
        return all(op.batched for op in self.members.values())

    @property
    def arithmetic(self) -> bool:
        return any(op.arithmetic for op in self.members.values())

    def check(self, size: Size) -> None:
        for op in self.members.values():
            op.check(size)

    def draw(self, n: int, size: Size, generator: torch.Generator) -> Params:
        weights = torch.tensor([op.p for op in self.members.values()], dtype=torch.float64)
        bounds = weights.cumsum(0) / weights.sum()
        fraction = torch.rand(n, generator=generator, dtype=torch.float64)
        params = {"choice": torch.bucketize(fraction, bounds[:-1], right=True)}
        for name, op in self.members.items():
            params |= {f"{name}.{key}": value for key, value in op.draw(n, size, generator).items()}
        return params

    def apply(self, images: Tensor, params: Params, generator: torch.Generator) -> Tensor:
        result = images
        for index, (name, op) in enumerate(self.members.items()):
            own = {key.removeprefix(f"{name}."): value for key, value in params.items() if key.startswith(f"{name}.")}
            chosen = params["choice"] == index
            result = apply_where(op, result, chosen, own, generator, overwrite=result is not images)
        return result
