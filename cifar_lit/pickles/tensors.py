"""Weights that are still in their file: checked when the file names them, read when they are wanted."""

import math
import re
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from cifar_lit.pickles.limits import DIMENSIONS, ConvertError

# The storages that torch has written by class; the untyped one counts bytes.
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in STORAGES.values()}
_NUMPY = re.compile(r"[|<>=]?(f[248]|[iu][1248]|b1|\?)")


@dataclass
class Storage:
    """Numbers in a file. start, length: where its bytes lie, which the file may say later than it names the storage."""

    file: IO[bytes]
    dtype: torch.dtype
    numel: int
    start: int = -1
    length: int = -1

    def read(self, first: int, last: int) -> bytearray:
        """The bytes from `first` up to, not with, `last`."""
        if self.start < 0 or not 0 <= first <= last <= self.length:
            raise ConvertError("a tensor reaches beyond the numbers stored for it: damaged or made up")
        buffer = bytearray(last - first)
        self.file.seek(self.start + first)
        if self.file.readinto(buffer) != len(buffer):  # type: ignore[attr-defined]
            raise ConvertError("ends in the middle of a tensor: torn")
        return buffer


@dataclass(eq=False)
class Weight:
    """A tensor of a file: a view of a storage, inside its bounds."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.stride)
        if len(self.shape) != len(self.stride) or len(self.shape) > DIMENSIONS or any(not _is_count(item) for item in numbers):
            raise ConvertError("a tensor whose shape, stride or offset is no list of whole numbers from 0: damaged or made up")
        held = self.storage.numel * self.storage.dtype.itemsize // self.dtype.itemsize
        # More elements than are stored means that numbers are repeated: megabytes of file, terabytes of tensor.
        if self.numel > held or (self.numel and self._end > held):
            raise ConvertError("a tensor reaches beyond the numbers stored for it: damaged or made up")

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize

    @property
    def _end(self) -> int:
        steps = zip(self.shape, self.stride, strict=True)
        return self.offset + 1 + sum((size - 1) * step for size, step in steps)

    def tensor(self) -> Tensor:
        """The tensor, read from the file; its memory is its own."""
        if not self.numel:
            return torch.empty(self.shape, dtype=self.dtype)
        size = self.dtype.itemsize
        flat = torch.frombuffer(self.storage.read(self.offset * size, self._end * size), dtype=self.dtype)
        return flat.as_strided(self.shape, self.stride).contiguous()


class NumpyType:
    """A numpy dtype, as its pickle describes it."""

    def __init__(self, code: object) -> None:
        self.code = code if isinstance(code, str) else ""
        self.order = "<"

    def build(self, state: Any) -> None:
        """Take the byte order of a pickled state."""
        self.order = state[1] if state[1] in ("<", ">", "|") else "<"

    def dtype(self) -> np.dtype[Any]:
        """The dtype, if it is one of plain numbers."""
        if not _NUMPY.fullmatch(self.code):
            raise ConvertError("a numpy array of something else than numbers: not read")
        big = ">" in (self.code[0], self.order)
        return np.dtype(self.code.lstrip("|<>=")).newbyteorder(">" if big else "<")


class Array:
    """A numpy array of a pickle; empty until `build` is called."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.kind: Any = None
        self.data: Any = b""
        self.fortran = False

    def build(self, state: Any) -> "Array":
        """Take a pickled state: version, shape, dtype, whether columns come first, bytes (a list, where they are objects)."""
        _, shape, self.kind, fortran, data = state
        if not isinstance(shape, tuple) or len(shape) > DIMENSIONS or not all(_is_count(size) for size in shape):
            raise ConvertError("a numpy array whose shape is no list of whole numbers from 0: damaged or made up")
        self.shape, self.fortran, self.data = shape, bool(fortran), data if isinstance(data, bytes) else b""
        return self

    @property
    def nbytes(self) -> int:
        return len(self.data)

    def tensor(self) -> Tensor:
        """The array as a tensor; its memory is its own."""
        if not isinstance(self.kind, NumpyType):
            raise ConvertError("a numpy array of something else than numbers: not read")
        dtype = self.kind.dtype()
        if math.prod(self.shape) * dtype.itemsize != len(self.data):
            raise ConvertError("a numpy array whose shape does not fit its numbers: damaged or made up")
        array = np.frombuffer(self.data, dtype).reshape(self.shape, order="F" if self.fortran else "C")
        return torch.from_numpy(np.array(array, dtype.newbyteorder("="), order="C"))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48
