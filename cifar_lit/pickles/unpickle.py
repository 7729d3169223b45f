"""A machine that reads pickles without running them.

`pickle.Unpickler` looks names up and calls what it finds; restricting the names still leaves it NEWOBJ, BUILD and the hashing
of whatever the file makes a key, and its memory follows the numbers in the file. This machine knows the same opcodes
(Lib/pickletools.py describes each) and moves plain data only: a name stays a name, a call becomes a value of the
allow-list or a Record, and every step is counted.
"""

import pickletools
from collections.abc import Callable, Sized
from typing import IO, Any

from cifar_lit.pickles.builders import call, check_name
from cifar_lit.pickles.limits import COPIED, DIMENSIONS, KEYS, OPCODES, PICKLE_BYTES, ConvertError
from cifar_lit.pickles.records import Name, Record
from cifar_lit.pickles.tensors import Array, NumpyType, Weight

_LINE = 1 << 16  # of the text opcodes
_MEMO = 1 << 32
_LONG = f"its pickle is longer than {PICKLE_BYTES >> 20} MB, weights not counted: made up?"

# Opcodes that push what they carry, and those that push a fresh value.
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "FLOAT", "BINFLOAT",
}  # fmt: skip
_FRESH: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,  # as a list: its entries need no hash
    "EMPTY_DICT": dict,
}


class Window:
    """A file of which no more is read than it has, nor more than a pickle may take: lengths in a pickle are only claims."""

    def __init__(self, file: IO[bytes]) -> None:
        start = file.tell()
        self.file, self.end = file, file.seek(0, 2)
        self.left = PICKLE_BYTES
        file.seek(start)

    def read(self, length: int = -1) -> bytes:
        """Up to `length` bytes."""
        if not 0 <= length < _LINE:
            rest = self.end - self.file.tell()
            length = min(length, rest) if length >= 0 else rest
            if length > self.left:  # before it is read
                raise ConvertError(_LONG)
        return self._spend(self.file.read(length))

    def readline(self) -> bytes:
        """Up to the end of the line."""
        return self._spend(self.file.readline(_LINE))

    def _spend(self, data: bytes) -> bytes:
        self.left -= len(data)
        if self.left < 0:
            raise ConvertError(_LONG)
        return data


class Machine:
    """Reads one pickle after another from a file. storage: what a persistent id stands for. records: names of classes met."""

    def __init__(self, file: IO[bytes], storage: Callable[[Any], Any]) -> None:
        self.window = Window(file)
        self.storage = storage
        self.records: dict[str, int] = {}
        self.steps = self.copied = self.keys = 0
        self.stack: list[Any] = []
        self.above: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The value of the next pickle. Raises ConvertError."""
        self.stack, self.above, self.memo = [], [], {}
        try:
            for opcode, argument, _ in pickletools.genops(self.window):  # type: ignore[arg-type]
                self.steps += 1
                if self.steps > OPCODES:
                    raise ConvertError(f"its pickle takes more than {OPCODES:,} steps: made up?")
                if opcode.name in _LITERALS:
                    self.push(argument)
                elif opcode.name in _FRESH:
                    self.push(_FRESH[opcode.name]())
                elif opcode.name != "STOP":
                    _STEPS[opcode.name](self, argument)
            return self.stack.pop()
        except ConvertError:
            raise
        except Exception as error:  # a made up pickle can fail anywhere
            raise ConvertError(f"its pickle is damaged, torn or made up ({type(error).__name__}: {error})") from None

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def popped(self) -> list[Any]:
        """What lies above the last mark."""
        items = self.stack
        self.stack = self.above.pop()
        return items

    def mark(self) -> None:
        """Start a new stack above this one."""
        self.above.append(self.stack)
        self.stack = []

    def remember(self, index: int) -> None:
        """Put the top of the stack into the memo."""
        if not 0 <= index < _MEMO:
            raise ConvertError("its pickle numbers its values out of bounds: made up")
        self.memo[index] = self.stack[-1]

    def name(self, module: Any, name: Any) -> None:
        """Push the name of a class or function, which stays a name."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ConvertError("its pickle names a class by something that is no text: made up")
        check_name(module, name)
        self.push(Name(module, name))

    def call(self, function: Any, args: Any, options: Any = None) -> None:
        """Push what a call becomes."""
        # Builders copy what they are given. Without this count a short file could have one long text copied a million times.
        self.copied += sum(len(item) for item in args if isinstance(item, Sized)) if isinstance(args, tuple) else 0
        if self.copied > COPIED:
            raise ConvertError("its pickle repeats long values: made up")
        self.push(self.noted(call(function, args, options)))

    def noted(self, value: Any) -> Any:
        """The value; the name of its class is written down if it is a record."""
        if isinstance(value, Record) and isinstance(value.kind, Name):
            kind = str(value.kind)
            self.records[kind] = self.records.get(kind, 0) + 1
        return value

    def append(self, items: list[Any]) -> None:
        """Append to the list on the stack."""
        target = self.stack[-1]
        target = target.items if isinstance(target, Record) else target
        if not isinstance(target, list):
            raise ConvertError(f"its pickle appends to a {type(target).__name__}: damaged or made up")
        target.extend(items)

    def set(self, items: list[Any]) -> None:
        """Set keys of the table on the stack."""
        target = self.stack[-1]
        target = target.entries if isinstance(target, Record) else target
        if not isinstance(target, dict):
            raise ConvertError(f"its pickle sets entries of a {type(target).__name__}: damaged or made up")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self.key(key)] = value

    def key(self, key: Any) -> Any:
        """A key that may be hashed: deep tuples would take for ever, or all of Python's own stack."""
        if isinstance(key, str):
            return key
        self.keys += 1
        if self.keys > KEYS:
            raise ConvertError(f"its tables have more than {KEYS:,} keys that are no texts: made up?")
        if isinstance(key, Record) or _is_plain(key):
            return key
        if isinstance(key, tuple) and len(key) <= DIMENSIONS and all(_is_plain(part) for part in key):
            return key
        raise ConvertError(f"its tables have a {type(key).__name__} as a key: damaged or made up")

    def build(self, state: Any) -> None:
        """Give an object its attributes."""
        target = self.stack[-1]
        if isinstance(target, Record):
            target.state = state
        elif isinstance(target, Array | NumpyType):
            target.build(state)
        # Attributes of tables (`_metadata` of a state dict) and of tensors say nothing about the weights.
        elif not isinstance(target, dict | Weight):
            raise ConvertError(f"its pickle gives attributes to a {type(target).__name__}: damaged or made up")


def _is_plain(key: object) -> bool:
    if isinstance(key, int):
        return key.bit_length() <= 64
    return isinstance(key, str | float | bytes | Name | None)


def _class_of(module_name: str) -> tuple[str, str]:
    module, _, name = module_name.partition(" ")  # as pickletools gives both
    return module, name


def _instance(machine: Machine, kind: Any, args: Any, options: Any = None) -> None:
    machine.call(kind, tuple(args), options if isinstance(options, dict) else None)


def _obj(machine: Machine) -> None:
    kind, *args = machine.popped()
    _instance(machine, kind, args)


def _inst(machine: Machine, module_name: str) -> None:
    args = machine.popped()
    machine.name(*_class_of(module_name))
    _instance(machine, machine.stack.pop(), args)


def _with_last(machine: Machine, count: int, action: Callable[..., None]) -> None:
    """Take the last `count` values off the stack and act on them in the order in which they were pushed."""
    values = [machine.stack.pop() for _ in range(count)][::-1]
    action(*values)


def _pairs(machine: Machine) -> None:
    items = machine.popped()
    machine.push({})
    machine.set(items)


def _tuple(machine: Machine, count: int) -> None:
    _with_last(machine, count, lambda *values: machine.push(values))


_STEPS: dict[str, Callable[[Machine, Any], Any]] = {
    "PROTO": lambda machine, version: None,
    "FRAME": lambda machine, length: None,
    "BYTEARRAY8": lambda machine, data: machine.push(bytes(data)),
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.stack.pop() if machine.stack else machine.popped(),
    "POP_MARK": lambda machine, _: machine.popped(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "LIST": lambda machine, _: machine.push(machine.popped()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.popped())),
    "TUPLE1": lambda machine, _: _tuple(machine, 1),
    "TUPLE2": lambda machine, _: _tuple(machine, 2),
    "TUPLE3": lambda machine, _: _tuple(machine, 3),
    "FROZENSET": lambda machine, _: machine.push(machine.popped()),
    "DICT": lambda machine, _: _pairs(machine),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.popped()),
    "ADDITEMS": lambda machine, _: machine.append(machine.popped()),
    "SETITEM": lambda machine, _: _with_last(machine, 2, lambda *pair: machine.set(list(pair))),
    "SETITEMS": lambda machine, _: machine.set(machine.popped()),
    "PUT": lambda machine, index: machine.remember(index),
    "BINPUT": lambda machine, index: machine.remember(index),
    "LONG_BINPUT": lambda machine, index: machine.remember(index),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    "GET": lambda machine, index: machine.push(machine.memo[index]),
    "BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "GLOBAL": lambda machine, both: machine.name(*_class_of(both)),
    "STACK_GLOBAL": lambda machine, _: _with_last(machine, 2, machine.name),
    "REDUCE": lambda machine, _: _with_last(machine, 2, machine.call),
    "NEWOBJ": lambda machine, _: _with_last(machine, 2, machine.call),
    "NEWOBJ_EX": lambda machine, _: _with_last(machine, 3, machine.call),
    "OBJ": lambda machine, _: _obj(machine),
    "INST": _inst,
    "BUILD": lambda machine, _: machine.build(machine.stack.pop()),
    "PERSID": lambda machine, text: machine.push(machine.storage(text)),
    "BINPERSID": lambda machine, _: machine.push(machine.storage(machine.stack.pop())),
}
