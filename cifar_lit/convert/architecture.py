"""The network that weights belong to, as far as their names and shapes tell."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cifar_lit.convert.layouts import Sizes, is_preact, rename, stages
from cifar_lit.convert.state import State, Stored
from cifar_lit.model.registry import build
from cifar_lit.pickles.limits import ConvertError

_STEMS = {3: "cifar", 7: "imagenet"}
_SHOWN = 6  # names in a message
_UNSEEN = (
    "not visible in weights, assumed: every stage but the first halves height and width, ReLU, average pooling,"
    " batch norm's eps 1e-5"
)


@dataclass
class Found:
    """A network's description and weights by our names, and what could not be seen."""

    network: dict[str, Any]
    weights: dict[str, Tensor]
    notes: list[str]


def recognise(state: State) -> Found:
    """The network of a state dict, with every tensor in its place. Raises ConvertError, naming what does not fit."""
    shapes = {name: weight.shape for name, weight in state.weights.items()}
    ours, left_out = rename(shapes)
    theirs = {name: theirs for theirs, name in ours.items()}
    given = {name: shapes[theirs[name]] for name in theirs}
    network, notes = describe(given)
    if left_out:
        notes.append(f"left out, no part of the network: {_few(left_out)}")
    if any(name.endswith("fc.weight") and before.split(".")[-2].isdigit() for before, name in ours.items()):
        notes.append("the classifier is an element of a Sequential: something without weights stands before it, dropout perhaps")
    _dropout(state, network, notes)

    with torch.device("meta"):  # shapes first: nothing is allocated for weights that do not fit
        expected = {name: tuple(tensor.shape) for name, tensor in build(network).state_dict().items()}
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    _compare(given, expected, counters, theirs)
    weights = {name: _read(name, state.weights[theirs[name]], notes) for name in expected if name in theirs}
    missing = [name for name in expected if name not in weights]
    if missing:  # files from before torch 0.4.1
        weights.update({name: torch.tensor(0) for name in missing})
        notes.append("the file does not say over how many batches statistics were taken: set to 0, which evaluation does not use")
    return Found(network, weights, notes)


def describe(shapes: Sizes) -> tuple[dict[str, Any], list[str]]:
    """The description of a network, from the shapes of its weights by our names, and notes on what shapes do not tell."""
    conv, head = _wanted(shapes, "conv1.weight", 4), _wanted(shapes, "fc.weight", 2)
    if conv[1] != 3 or conv[2] != conv[3] or conv[2] not in _STEMS:
        raise ConvertError(f"the first convolution is {list(conv)}: allowed is 3x3 or 7x7 on 3 channels")
    layers = stages(shapes)
    if not layers:
        raise ConvertError(f"no stages of blocks among {_few(list(shapes))}: no known ResNet")
    widths = [_wanted(shapes, f"layer{stage}.0.conv1.weight", 4)[0] for stage in range(1, len(layers) + 1)]
    stem = _STEMS[conv[2]]
    network: dict[str, Any] = {"layers": layers, "widths": widths, "num_classes": head[0], "stem": stem}
    pooled = "stride 2 and max-pooling" if stem == "imagenet" else "stride 1, no max-pooling"
    notes = [f"{_UNSEEN}; the {conv[2]}x{conv[2]} stem: {pooled}"]
    bottleneck = "layer1.0.conv3.weight" in shapes
    if is_preact({name.removesuffix(".weight"): shape for name, shape in shapes.items() if name.endswith(".weight")}):
        if bottleneck:
            raise ConvertError("a pre-activation network of bottleneck blocks: only basic blocks are supported")
        notes.append("not visible in weights, assumed: shortcuts begin behind a block's first norm and ReLU (He et al. 2016b)")
        return {"network": "PreActResNet", **network, "stem_width": conv[0]}, notes
    if bottleneck:
        notes.append("not visible in weights, assumed: a bottleneck's stride sits in its 3x3 convolution (torchvision, v1.5)")
    return {"network": "ResNet", "block": "bottleneck" if bottleneck else "basic", **network}, notes


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _wanted(shapes: Sizes, name: str, dimensions: int) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None:
        outside = [key for key in shapes if key.endswith("weight") and not key.startswith("layer")]
        raise ConvertError(f"no {name} under any name that is known; outside of its stages are {_few(outside)}: no known ResNet")
    if len(shape) != dimensions or not all(shape):
        raise ConvertError(f"{name} is {list(shape)}: allowed is {dimensions} dimensions, none of them 0")
    return shape


def _compare(given: Sizes, expected: Sizes, counters: set[str], theirs: dict[str, str]) -> None:
    extra = [theirs[name] for name in given if name not in expected]
    missing = [name for name in expected if name not in given and name not in counters]
    if extra or missing:
        both = (("it has more: ", extra), ("it lacks: ", missing))
        words = [f"{what}{_few(names)}" for what, names in both if names]
        raise ConvertError(f"not the network that its shapes suggest; {'; '.join(words)}")
    for name, shape in expected.items():
        if name in given and given[name] != shape:
            raise ConvertError(f"{theirs[name]} is {list(given[name])}; {list(shape)} fits the other shapes: no known ResNet")


def _read(name: str, weight: Stored, notes: list[str]) -> Tensor:
    tensor = weight.tensor()
    if name.endswith("num_batches_tracked"):
        return tensor.to(torch.int64)
    if not tensor.is_floating_point():
        raise ConvertError(f"{name} holds {str(tensor.dtype).removeprefix('torch.')}: allowed are floating-point weights")
    if tensor.dtype != torch.float32:
        note = f"weights were stored as {str(tensor.dtype).removeprefix('torch.')}, and are float32 now"
        notes.extend([note] if note not in notes else [])
        tensor = tensor.float()
    if not math.isfinite(tensor.sum(dtype=torch.float64)) and not bool(tensor.isfinite().all()):
        raise ConvertError(f"{name} holds infinity or what is no number: the training went wrong, or the file is damaged")
    return tensor


def _dropout(state: State, network: dict[str, Any], notes: list[str]) -> None:
    """Dropout leaves no trace in weights. It does nothing in evaluation, so that a wrong value changes no prediction."""
    said = ", ".join(f"{where} = {value:g}" for where, value in state.dropout.items())
    network["dropout"] = next(iter(state.dropout.values())) if len(set(state.dropout.values())) == 1 else 0.0
    if len(set(state.dropout.values())) == 1:
        notes.append(f"dropout is not visible in weights; the file says {said}")
    else:
        notes.append(f"dropout is not visible in weights, and set to 0{f'; the file says {said}' if said else ''}")
