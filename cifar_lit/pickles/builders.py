"""The allow-list: what a pickle's calls become. Every other call becomes a Record of what was asked for.

Nothing here imports or calls anything that the file names; what torch and numpy would build, functions of ours build,
after checking it.
"""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from cifar_lit.pickles.limits import ConvertError
from cifar_lit.pickles.records import Name, Record
from cifar_lit.pickles.tensors import DTYPES, STORAGES, Array, NumpyType, Storage, Weight

# No checkpoint needs these. A file that names them is not worth a second look, though it could do nothing here.
_RUNS = {
    "os", "posix", "nt", "subprocess", "sys", "importlib", "runpy", "pty", "shutil", "socket", "ctypes", "webbrowser", "pip",
    "timeit", "pdb", "bdb",
}  # fmt: skip
_RUNS_BUILTINS = {
    "eval",
    "exec",
    "execfile",
    "compile",
    "open",
    "__import__",
    "input",
    "breakpoint",
    "globals",
    "setattr",
    "vars",
}
_BUILTINS = ("builtins", "__builtin__")


def check_name(module: str, name: str) -> None:
    """Refuse the names of functions that run programs."""
    inside = module in _BUILTINS and name.partition(".")[0] in _RUNS_BUILTINS
    if inside or module.partition(".")[0] in _RUNS:
        raise ConvertError(f"asks for {module}.{name}, which no checkpoint needs: made to run code? Refused, and nothing was run")


def storage_dtype(name: object) -> Any:
    """The dtype of a storage class, by its name."""
    if isinstance(name, Name) and name.name.removeprefix("_").replace("TypedStorage", "UntypedStorage") in STORAGES:
        return STORAGES[name.name.removeprefix("_").replace("TypedStorage", "UntypedStorage")]
    raise ConvertError(f"numbers stored as {name}, which is not supported: allowed is {', '.join(DTYPES)}")


def _view(storage: Any, dtype: Any, offset: Any, shape: Any, stride: Any) -> Weight:
    if not isinstance(storage, Storage):
        raise ConvertError("a tensor without numbers (meta or fake): save it from a device that holds them")
    if not isinstance(shape, tuple | list) or not isinstance(stride, tuple | list):
        raise ConvertError("a tensor whose shape or stride is no list: damaged or made up")
    return Weight(storage, dtype, offset, tuple(shape), tuple(stride))


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> Weight:
    """Source: torch._utils._rebuild_tensor and _rebuild_tensor_v2; requires_grad and hooks say nothing about the numbers."""
    return _view(storage, getattr(storage, "dtype", None), offset, shape, stride)


def _tensor_v3(storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any) -> Weight:
    """Source: torch._utils._rebuild_tensor_v3, whose storage is untyped."""
    if not isinstance(dtype, Name) or dtype.name not in DTYPES:
        raise ConvertError(f"a tensor of type {dtype}, which is not supported: allowed is {', '.join(DTYPES)}")
    return _view(storage, DTYPES[dtype.name], offset, shape, stride)


def _first(data: Any, *rest: Any) -> Any:
    return data


def _from_type(function: Any, *rest: Any) -> Any:
    """Source: torch._tensor._rebuild_from_type_v2(function, type, arguments, attributes)."""
    if isinstance(function, Name) and (function.module, function.name) in TENSORS:
        return TENSORS[function.module, function.name](*rest[1])
    return Record(function, rest)


def _unsupported(kind: str) -> Callable[..., Any]:
    def refuse(*rest: Any) -> Any:
        raise ConvertError(f"a {kind} tensor, which is not supported: save dense floating-point weights")

    return refuse


def _table(*args: Any) -> dict[Any, Any]:
    """OrderedDict(), OrderedDict([[key, value], ...]), defaultdict(factory), Counter({...})."""
    pairs = args[-1] if args and isinstance(args[-1], list | dict) else []
    if isinstance(pairs, dict):
        return dict(pairs)
    return {key: value for key, value in pairs if isinstance(key, str | int)}


def _bytes(text: Any = b"", encoding: Any = "latin1") -> Any:
    """Bytes, as pickles of protocol 2 write them."""
    return text.encode("latin1") if isinstance(text, str) else text if isinstance(text, bytes) else b""


def _scalar(kind: Any, data: Any = b"") -> Any:
    """A numpy number as Python's."""
    if not isinstance(kind, NumpyType) or not isinstance(data, bytes):
        return Record(Name("numpy", "scalar"), (data,))
    dtype = kind.dtype()
    if len(data) != dtype.itemsize:
        raise ConvertError("a numpy number of the wrong length: damaged or made up")
    return np.frombuffer(data, dtype)[0].item()


def _frombuffer(data: Any, kind: Any, shape: Any, order: Any = "C") -> Array:
    """Source: numpy._core.numeric._frombuffer, in pickles of protocol 5."""
    return Array().build((1, shape, kind, order == "F", data))


def _path(*parts: Any) -> str:
    return "/".join(part for part in parts if isinstance(part, str)).replace("//", "/")


def _time(kind: str, form: str, layout: str) -> Callable[..., Any]:
    """A date or time as text; source: the layout of their pickles in Lib/datetime.py."""

    def build(data: Any = b"", *rest: Any) -> Any:
        data = _bytes(data)
        if len(data) != struct.calcsize(layout):
            return Record(Name("datetime", kind), (data,))
        return form.format(*struct.unpack(layout, data))

    return build


def _reconstructor(kind: Any = None, base: Any = None, value: Any = None) -> Record:
    """Source: copyreg._reconstructor; value: of the built-in class that the object's derives from."""
    record = Record(kind, () if value is None or isinstance(value, dict) else (value,))
    record.entries = value if isinstance(value, dict) else {}
    return record


def _list(values: Any = ()) -> Any:
    """A set or list; the one given, since it is not changed later."""
    return values if isinstance(values, list) else list(values) if isinstance(values, tuple) else []


TENSORS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch.nn.parameter", "Parameter"): _first,
    ("torch._utils", "_rebuild_qtensor"): _unsupported("quantized"),
    ("torch._utils", "_rebuild_sparse_tensor"): _unsupported("sparse"),
    ("torch._utils", "_rebuild_sparse_csr_tensor"): _unsupported("sparse"),
    ("torch._utils", "_rebuild_nested_tensor"): _unsupported("nested"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _unsupported("meta"),
    ("torch._utils", "_rebuild_wrapper_subclass"): _unsupported("wrapped"),
}
BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    **TENSORS,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    ("torch", "Size"): _first,
    ("torch", "device"): lambda kind="cpu", *index: ":".join(map(str, (kind, *index))) if isinstance(kind, str) else "cpu",
    ("collections", "OrderedDict"): _table,
    ("collections", "defaultdict"): _table,
    ("collections", "Counter"): _table,
    ("_codecs", "encode"): _bytes,
    **{(module, name): _list for module in _BUILTINS for name in ("set", "frozenset", "list")},
    **{(module, name): _bytes for module in _BUILTINS for name in ("bytes", "bytearray")},
    ("numpy", "dtype"): lambda code="", *rest: NumpyType(code),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): lambda *rest: Array() for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    **{(module, f"{kind}Path"): _path for module in ("pathlib", "pathlib._local")
       for kind in ("", "Posix", "Windows", "Pure", "PurePosix", "PureWindows")},
    ("datetime", "date"): _time("date", "{}-{:02}-{:02}", ">HBB"),
    ("datetime", "datetime"): _time("datetime", "{}-{:02}-{:02} {:02}:{:02}:{:02}", ">HBBBBB3x"),
    # Objects of protocols 0 and 1, and of 2 where they are called by name.
    **{(module, "_reconstructor"): _reconstructor for module in ("copyreg", "copy_reg")},
    **{(module, "__newobj__"): lambda kind=None, *rest: Record(kind, rest) for module in ("copyreg", "copy_reg")},
}  # fmt: skip


def call(function: object, args: Any, options: dict[Any, Any] | None = None) -> Any:
    """What a call of the file's becomes: a value of the allow-list, else a Record."""
    if not isinstance(args, tuple) or not isinstance(function, Name | Record):
        raise ConvertError("calls something that is no name, or without arguments: damaged or made up")
    if isinstance(function, Name) and not options and (function.module, function.name) in BUILDERS:
        return BUILDERS[function.module, function.name](*args)
    return Record(function, args, options)
