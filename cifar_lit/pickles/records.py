"""What stands for the classes and objects of a foreign file: plain data, which nothing ever calls."""

from dataclasses import dataclass
from typing import Any

from cifar_lit.pickles.limits import printable

_SHOWN = 12  # entries of a container


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a class or function. It was not imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return printable(f"{self.module}.{self.name}", most=100)


class Record:
    """An object of a class that was not loaded: what the file says of it.

    args, options: what its constructor was to be called with. state: what its attributes were to be. items, entries: what
    was to be appended to it and set in it, if it is some kind of list or table. Hashable by identity, so that it can be a key.
    """

    __slots__ = ("args", "entries", "items", "kind", "options", "state")

    def __init__(self, kind: object, args: tuple[Any, ...] = (), options: dict[Any, Any] | None = None) -> None:
        self.kind = kind
        self.args = args
        self.options = options or {}
        self.state: Any = None
        self.items: list[Any] = []
        self.entries: dict[Any, Any] = {}

    def fields(self) -> dict[Any, Any]:
        """Attributes and entries by name, as far as the file names them; slots too."""
        found = {**self.options, **self.entries}
        # By the pickle protocol a pair is the attributes of __dict__ and those of __slots__.
        parts = self.state if isinstance(self.state, tuple) and len(self.state) == 2 else (self.state,)
        for part in parts:
            if isinstance(part, dict):
                found.update(part)
            elif isinstance(part, list | tuple):  # frozen dataclasses with slots write values without names
                found.update({str(index): value for index, value in enumerate(part[:_SHOWN])})
        return found


def show(value: object, depth: int = 3) -> str:  # noqa: PLR0911  one for each kind
    """Any value of a foreign file in a few words, however deep or large it is, or tangled with itself."""
    if isinstance(value, Record):
        return _call(value, depth)
    if isinstance(value, Name):
        return str(value)
    if isinstance(value, bool | None):
        return str(value)
    if isinstance(value, int):  # Python refuses to write down very long ones
        return str(value) if value.bit_length() < 200 else f"a number of {value.bit_length()} bits"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return printable(value, most=80)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, dict):
        entries = (f"{show(key, 0)}={show(item, depth - 1)}" for key, item in list(value.items())[:_SHOWN])
        return _bracket("{}", entries, len(value), depth)
    if isinstance(value, list | tuple):
        return _bracket("[]", (show(item, depth - 1) for item in value[:_SHOWN]), len(value), depth)
    return f"a {type(value).__name__.lower()}"


def _call(record: Record, depth: int) -> str:
    kind = str(record.kind) if isinstance(record.kind, Name) else "a call" if depth <= 0 else show(record.kind, depth - 1)
    if depth <= 0:
        return f"{kind}(...)"
    words = [show(value, depth - 1) for value in (*record.args[:_SHOWN], *record.items[:_SHOWN])]
    words += [f"{show(name, 0)}={show(value, depth - 1)}" for name, value in list(record.fields().items())[:_SHOWN]]
    return printable(f"{kind}({', '.join(words)})")


def _bracket(brackets: str, entries: Any, length: int, depth: int) -> str:
    if depth <= 0 and length:
        return f"{length} entries"
    more = ", ..." if length > _SHOWN else ""
    return printable(f"{brackets[0]}{', '.join(entries)}{more}{brackets[1]}")
