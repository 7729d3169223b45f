"""Values of the wrong type, found by the signatures of what will be called with them, before anything is."""

import gc
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from cifar_lit.cli.errors import UsageError

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "null"}
_MANY = {int: "whole numbers", float: "numbers", str: "words"}
_CLASSES = ("base", "algorithm")  # of an optimizer: who gets the options that cifar_lit.optim.build hands on


@dataclass(frozen=True)
class _List:
    """A list, all of one kind; length: None for any."""

    of: type
    length: int | None


def check(cfg: DictConfig) -> None:
    """Raise UsageError for the first value that is missing, or that its parameter's annotation does not allow.

    Looks at plain annotations (int, float, bool, str, None, lists of them, and unions), at the defaults of parameters
    without one, and whether objects by name, as callbacks are, are objects; whatever is called checks the rest.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UsageError(f"{missing[0]}: no value; give one with {missing[0]}=...")
    with _imports():
        called = [(path, node, _hints(path, node)) for path, node in _targets(cfg, "")]
    for path, node, hints in called:
        for name, value in node.items():
            _check(f"{path}{name!s}", value, hints.get(str(name)))


def _check(key: str, value: Any, hint: Any) -> None:
    if isinstance(value, DictConfig):
        if typing.get_origin(hint) is dict and any(_is_object(member) for member in _members(typing.get_args(hint)[1])):
            for name, one in value.items():
                if one is not None and not (isinstance(one, DictConfig) and "_target_" in one):
                    raise UsageError(f"{key}.{name!s}={one}: allowed is null, or a mapping with a _target_")
        return
    allowed = _plain(hint)
    if allowed and not any(_fits(value, kind) for kind in allowed):
        words = [_words(kind) for kind in allowed if not (kind is int and float in allowed)]
        raise UsageError(f"{key}={value}: allowed is {' or '.join(words)}")


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


def _hints(path: str, node: DictConfig) -> dict[str, Any]:
    """The annotations of what a node calls, and of the classes that it names, whose options are among its own."""
    found: dict[str, Any] = {}
    for key in (*(_CLASSES if "algorithm" in node else ()), "_target_"):
        if isinstance(node.get(key), str):
            found |= _annotations(_object(f"{path}{key}", node[key]))
    return found


def _object(key: str, name: str) -> Any:
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"{key}={name}: {str(error).splitlines()[0]}") from error


def _annotations(called: Any) -> dict[str, Any]:
    while isinstance(called, partial):
        called = called.func
    if not inspect.isclass(called):  # a wrapper has parameters of its own beside those of what it wraps
        return _of_function(inspect.unwrap(called)) | _of_function(called)
    if hasattr(called, "__dataclass_fields__"):  # annotated field by field; any other class in its constructor
        return typing.get_type_hints(called)
    found: dict[str, Any] = {}
    for owner in called.__mro__:
        if "__init__" in vars(owner):
            found = _of_function(vars(owner)["__init__"]) | found
            if all(p.kind != p.VAR_KEYWORD for p in inspect.signature(vars(owner)["__init__"]).parameters.values()):
                break  # else the other options are those of the class that it derives from
    return found


def _of_function(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations by parameter, and what the defaults of the others say."""
    try:
        parameters = inspect.signature(function).parameters
    except (ValueError, TypeError):  # written in C, or no function at all
        return {}
    try:
        annotated = typing.get_type_hints(function)
    except NameError:  # of a name that only type checkers import
        annotated = inspect.get_annotations(function)
    defaults = {name: _of_default(p.default) for name, p in parameters.items()}
    return {name: kind for name, kind in defaults.items() if kind is not None} | annotated


def _of_default(default: Any) -> Any:
    """The annotation that a default stands for: a whole number may stand for any; None where it does not say."""
    if isinstance(default, tuple) and all(_of_default(one) is float for one in default):
        return types.GenericAlias(tuple, (float,) * len(default)) if default else None
    return bool if isinstance(default, bool) else float if isinstance(default, int | float) else None


def _members(hint: Any) -> tuple[Any, ...]:
    """Of a union its members; of another annotation itself."""
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    return typing.get_args(hint) if union else (hint,)


def _is_object(kind: Any) -> bool:
    """Whether it comes from a `_target_`: no such value can be typed."""
    return inspect.isclass(kind) and kind not in (*_WORDS, Any, dict, list, tuple)


def _plain(hint: Any) -> list[type | _List]:
    """What an annotation allows of what can be typed; nothing where it does not say."""
    kinds = [_kind(member) for member in _members(hint) if not _is_object(member)]
    known = [kind for kind in kinds if kind is not None]
    return known if len(known) == len(kinds) and known != [type(None)] else []


def _kind(member: Any) -> type | _List | None:
    if member in _WORDS:
        return typing.cast(type, member)
    if typing.get_origin(member) not in (tuple, list, Sequence):
        return None
    args = [arg for arg in typing.get_args(member) if arg is not Ellipsis]
    inner = [_plain(arg) for arg in args]
    [of] = inner[0] if inner and len(inner[0]) == 1 else [None]
    if of not in _MANY or any(one != [of] for one in inner):
        return None
    if typing.get_origin(member) is tuple:
        return _List(of, None if Ellipsis in typing.get_args(member) else len(args))
    return _List(of, None)


def _words(kind: type | _List) -> str:
    if not isinstance(kind, _List):
        return _WORDS[kind]
    return f"a list of {'' if kind.length is None else f'{kind.length} '}{_MANY[kind.of]} in brackets"


def _fits(value: Any, kind: type | _List) -> bool:
    if isinstance(kind, _List):
        return isinstance(value, ListConfig) and kind.length in (None, len(value)) and all(_fits(one, kind.of) for one in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind) or (kind is float and isinstance(value, int))
