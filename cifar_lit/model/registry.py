"""Networks as plain data: what a checkpoint writes down about its network, and the way back."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from cifar_lit.model.preact import PreActResNet
from cifar_lit.model.resnet import ResNet
from cifar_lit.model.speednet import SpeedNet
from cifar_lit.model.timm_model import create

# The only networks a description can name: no import path is ever followed, so foreign weights cannot choose code to run.
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "ResNet": ResNet,
    "PreActResNet": PreActResNet,
    "SpeedNet": SpeedNet,
    "timm": create,
}

# Says where the first weights come from, not what the network is. A rebuilt network gets its weights from the checkpoint.
NOT_DESCRIBED = "pretrained"


def describe(network: Callable[..., nn.Module], **more: Any) -> dict[str, Any]:
    """The description of a network: its name in NETWORKS as "network", and every constructor argument that was set.

    network: a class or function of NETWORKS, or (nested) functools.partial of one. more: arguments that are set later, such as
    num_classes. Values are plain JSON types. Raises ValueError for other networks, unknown or missing arguments and other types.
    """
    arguments = dict(more)
    while isinstance(network, partial):
        if network.args:
            raise ValueError(f"describe: network arguments must be given by name, got {network.args!r}")
        arguments = {**network.keywords, **arguments}
        network = network.func
    for name, known in NETWORKS.items():
        if network is known:
            arguments.pop(NOT_DESCRIBED, None)
            _check_arguments(name, arguments)
            return {"network": name, **{key: _plain(key, value) for key, value in arguments.items()}}
    raise ValueError(
        f"describe: {getattr(network, '__qualname__', network)!r} is no known network: allowed is {', '.join(NETWORKS)}"
    )


def build(description: Mapping[str, Any]) -> nn.Module:
    """The network of a description, with fresh weights. Raises ValueError for an unknown network and unknown or bad arguments."""
    if not isinstance(description, Mapping) or "network" not in description:
        raise ValueError(f'a network\'s description must be a mapping with the key "network", got {description!r}')
    arguments = dict(description)
    name = arguments.pop("network")
    if not isinstance(name, str) or name not in NETWORKS:
        raise ValueError(f"network {name!r} is unknown: allowed is {', '.join(NETWORKS)}")
    if NOT_DESCRIBED in arguments:
        raise ValueError(f"network {name}: a description must not hold {NOT_DESCRIBED!r}: weights come from the checkpoint")
    _check_arguments(name, arguments)
    return NETWORKS[name](**arguments)


def _check_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    parameters = inspect.signature(NETWORKS[name]).parameters.values()
    allowed = [parameter.name for parameter in parameters if parameter.name != NOT_DESCRIBED]
    required = [parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty]
    if unknown := sorted(str(key) for key in arguments.keys() - set(allowed)):
        raise ValueError(f"network {name} has no argument {', '.join(unknown)}: allowed is {', '.join(allowed)}")
    if missing := [key for key in required if key not in arguments]:
        raise ValueError(f"network {name} needs the argument {', '.join(missing)}")


def _plain(key: str, value: object) -> Any:
    """A copy of the value in JSON's types: tuples become lists."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(key, item) for item in value]
    if isinstance(value, dict) and all(isinstance(item, str) for item in value):
        return {name: _plain(f"{key}.{name}", item) for name, item in value.items()}
    raise ValueError(
        f"describe: {key}={value!r} is a {type(value).__name__}: allowed are numbers, strings, lists, dicts (_convert_: all)"
    )
