"""The layers of any network, found by watching one image pass through it: which came when, and what shape left it."""

import copy
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """A module that ran once. shape: of its output, (N, C, H, W). depth: modules with weights up to it, itself included."""

    name: str
    shape: tuple[int, ...]
    depth: int


def twin(net: nn.Module) -> nn.Module:
    """A network of the same weights, in evaluation mode: the tensors are shared, the modules are its own.

    Hooks on it stay off the network itself, which other threads may be using.
    """
    shared = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    return copy.deepcopy(net, shared).eval()


def trace(net: nn.Module, images: Tensor) -> list[Layer]:
    """The layers with spatial outputs, in the order in which they finish. Modules that run several times are left out."""
    calls: Counter[str] = Counter()
    seen: list[Layer] = []
    depth = 0

    def watch(name: str, module: nn.Module) -> Any:
        weighs = any(tensor.ndim for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)))

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            nonlocal depth
            depth += weighs
            calls[name] += 1
            if isinstance(output, Tensor) and output.ndim == 4:
                seen.append(Layer(name, tuple(output.shape), depth))

        return module.register_forward_hook(hook)

    handles = [watch(name, module) for name, module in net.named_modules() if name]
    try:
        with torch.no_grad():
            net(images)
    finally:
        for handle in handles:
            handle.remove()
    return [layer for layer in seen if calls[layer.name] == 1]


def last_spatial(net: nn.Module, images: Tensor, least: tuple[float, float]) -> Layer | None:
    """The last layer whose maps have `least` rows and columns and through which all that reaches the logits passes.

    None where there is none behind the first convolution: a transformer's patches are cut by one, and then no longer a map.
    """
    for layer in reversed(trace(net, images)):
        if layer.depth > 1 and _is_map(layer.shape[2:], images.shape[2:], least) and _carries_all(net, layer.name, images):
            return layer
    return None


def _is_map(shape: tuple[int, ...], whole: tuple[int, ...], least: tuple[float, float]) -> bool:
    shares = [side / full for side, full in zip(shape, whole, strict=True)]
    # Channels-last outputs, as Swin has, are 4-D too: their last axes do not have the picture's proportions.
    return shape[0] >= least[0] and shape[1] >= least[1] and max(shares) < 1.34 * min(shares)


def _carries_all(net: nn.Module, name: str, images: Tensor) -> bool:
    """Whether the logits hear of the images through this layer alone: not if it lies in a branch beside a shortcut."""
    handle = net.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: output.detach())
    try:
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            logits = net(images)
            if not logits.requires_grad:
                return True
            (gradient,) = torch.autograd.grad(logits.sum(), images, allow_unused=True)
    finally:
        handle.remove()
    return gradient is None
