"""The outline of a described network: names, shapes and types of its weights, at a price that a few bytes cannot drive up.

A description comes with foreign weights, and one number in it can stand for ten million layers. Which options there are, and
what each does, only the networks' own code knows; so what is bounded is what any of them is made of, and what any of it does.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from cifar_lit.model.registry import build

# All numbers of a description together, also those in texts; a single call can make as many things as a number says.
# The largest that networks take is 10,000, the period of rotary positions.
_NUMBERS = 1 << 16
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_COUNTED_ELSEWHERE = ("name", "num_classes")  # timm's list has the one, the names of the classes are as many as the other
# Calls and returns while it is built. A ResNet-18 of timm takes 90,000. Of 196 networks of timm none took more than 7,600 for
# each tensor, but TinyViT at 512 pixels, two for each weight, does.
_CALLS, _CALLS_A_TENSOR, _CALLS_A_WEIGHT = 1_000_000, 20_000, 3
_BESIDE_BYTES = 1 << 28  # of buffers that are computed and not stored; BEiT-L at 512 pixels has 200 MB


class _Enough(BaseException):
    """No Exception: the code that is stopped must not take it for one that it expects."""


def outline(description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a described network, on the meta device: no weight is computed, or takes memory.

    Raises ValueError for a description that asks for more than a network with such weights can need, and whatever `build` does.
    """
    told = json.dumps({key: value for key, value in description.items() if key not in _COUNTED_ELSEWHERE})
    total = sum(map(float, _NUMBER.findall(told)))
    if total > _NUMBERS:
        raise ValueError(f"the numbers of its description come to {total:.3g}: no network needs more than {_NUMBERS:,}")
    if description.get("network") == "timm":
        with suppress(ModuleNotFoundError):
            import timm  # noqa: F401  # here, since its import makes more calls than building any network
    most = _CALLS + _CALLS_A_TENSOR * len(weights) + _CALLS_A_WEIGHT * sum(tensor.numel() for tensor in weights.values())
    with torch.device("meta"):
        net = _within(most, lambda: build(description))
    found = net.state_dict()
    beside = _size([*net.parameters(), *net.buffers()]) - _size(found.values())
    if beside > _BESIDE_BYTES + _size(weights.values()):
        raise ValueError(f"it would take {beside / 1e9:.1f} GB beside its weights")
    return found


def _within(most: int, make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` makes, in so many calls and returns. Raises ValueError."""
    if sys.getprofile() is not None:  # somebody measures this program, and one can count only
        return make()
    left = most

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise _Enough

    try:
        sys.setprofile(count)
        return make()
    except _Enough:
        raise ValueError("its network is too much work to build for so few weights") from None
    finally:
        left = sys.maxsize  # taking it away is a call, too
        sys.setprofile(None)


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
