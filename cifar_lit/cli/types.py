"""Values of the wrong type, found by the signatures of what will be called with them, before anything is."""

import gc
import inspect
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cifar_lit.cli.errors import UsageError

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "null"}


def check(cfg: DictConfig) -> None:
    """Raise UsageError for the first value that is missing, or that its parameter's annotation does not allow.

    Looks at plain annotations (int, float, bool, str, None and unions of them); whatever is called checks the rest.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UsageError(f"{missing[0]}: no value; give one with {missing[0]}=...")
    with _imports():
        called = [(path, node, _hints(node["_target_"])) for path, node in _targets(cfg, "")]
    for path, node, hints in called:
        for name, value in node.items():
            allowed = _plain(hints.get(str(name)))
            if allowed and not isinstance(value, DictConfig) and not _fits(value, allowed):
                words = " or ".join(_WORDS[kind] for kind in allowed)
                raise UsageError(f"{path}{name!s}={value}: allowed is {words}")


@contextmanager
def _imports() -> Iterator[None]:
    """Half a million objects come with torch and Lightning, to stay: nobody looks for garbage among them meanwhile."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _targets(node: Any, path: str) -> Iterator[tuple[str, DictConfig]]:
    if not isinstance(node, DictConfig) or node._is_none():
        return
    if "_target_" in node:
        yield path, node
    for name in node:
        yield from _targets(node[name], f"{path}{name!s}.")


def _hints(target: str) -> dict[str, Any]:
    from hydra.utils import get_object  # what is found imports torch

    called = get_object(target)
    while isinstance(called, partial):
        called = called.func
    if not inspect.isclass(called):  # a wrapper has parameters of its own beside those of what it wraps
        return typing.get_type_hints(inspect.unwrap(called)) | typing.get_type_hints(called)
    # A dataclass is annotated field by field; any other class in its constructor.
    return typing.get_type_hints(called if hasattr(called, "__dataclass_fields__") else called.__init__)


def _plain(hint: Any) -> list[type]:
    """The types of a plain annotation; none for one that is not."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union else (hint,)
    return list(kinds) if all(kind in _WORDS for kind in kinds) else []


def _fits(value: Any, allowed: list[type]) -> bool:
    if isinstance(value, bool):
        return bool in allowed
    if isinstance(value, int) and float in allowed:
        return True
    return isinstance(value, tuple(allowed))
