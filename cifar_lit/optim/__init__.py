"""Optimizers: any class that takes parameter groups, made by name; here are those that neither torch nor timm has."""

import inspect
from math import inf
from typing import Any

import torch
from hydra.utils import get_class
from torch import Tensor, nn
from torch.optim import Optimizer


def parameter_groups(net: nn.Module, *, decay_norms_and_biases: bool) -> list[dict[str, Any]]:
    """The trainable parameters, in one group, or with norms and biases (fewer than 2 dimensions) in one without decay."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if decay_norms_and_biases:
        return [{"params": parameters}]
    return [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def build(
    net: nn.Module,
    *,
    algorithm: str,
    lr: float,
    weight_decay: float = 0.0,
    decay_norms_and_biases: bool = True,
    fused: bool = False,
    **options: Any,
) -> Optimizer:
    """The optimizer of a network.

    algorithm: dotted name of the class, `torch.optim.SGD`. lr: the peak, which the schedule scales. fused: by one kernel
    for all parameters, where the algorithm has that. Other options are the algorithm's own. Raises ValueError for a value
    out of range, TypeError for an option that it does not have.
    """
    for name, value, allowed in (("lr", lr, "above 0"), ("weight_decay", weight_decay, "0 or more")):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"optimizer.{name}={value!r} is not a number")
        if not 0 <= value < inf or (name == "lr" and value == 0):
            raise ValueError(f"optimizer.{name}={value}: allowed is {allowed}")
    for name in ("momentum", "alpha", "betas"):  # of running means; torch's algorithms take NaN, and some any from 0
        given = options.get(name)
        if given is not None and not all(0 <= one < 1 for one in (given if name == "betas" else [given])):
            raise ValueError(f"optimizer.{name}={given}: allowed is 0 up to, not with, 1")
    if not options.get("fallback_lr_scale", 1.0) > 0:
        raise ValueError(f"optimizer.fallback_lr_scale={options['fallback_lr_scale']}: allowed is above 0")
    groups = [group for group in parameter_groups(net, decay_norms_and_biases=decay_norms_and_biases) if group["params"]]
    optimizer = get_class(algorithm)
    if fused and "fused" in inspect.signature(optimizer).parameters:
        options["fused"] = True
    return optimizer(groups, lr=lr, weight_decay=weight_decay, **options)


def fit_for_graphs(optimizer: Optimizer, graphs: bool) -> None:
    """Keep learning rates and counts of steps where a CUDA graph reads them, on the parameters' device, or where none does.

    Whatever a checkpoint says that was loaded: it may be of the other kind.
    """
    for group in optimizer.param_groups:
        device = group["params"][0].device
        group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=device) if graphs else float(group["lr"])
        if "capturable" not in group:
            continue
        group["capturable"] = graphs
        for parameter in group["params"]:
            count = optimizer.state.get(parameter, {}).get("step")
            if isinstance(count, Tensor):
                optimizer.state[parameter]["step"] = count.to(device if graphs or group.get("fused") else "cpu")
