"""The file formats in which weights are handed around: torch's zip, torch's stream before 1.6, plain pickles, safetensors."""

import io
import json
import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cifar_lit.pickles.builders import storage_dtype
from cifar_lit.pickles.limits import DIMENSIONS, DIRECTORY_BYTES, PICKLE_BYTES, ConvertError
from cifar_lit.pickles.tensors import DTYPES, Storage, Weight
from cifar_lit.pickles.unpickle import Machine

_MAGIC = 0x1950A86A20F9469CFC6C  # the first of the pickles that torch wrote before 1.6
_PROTOCOL = 1001
_CHUNK = 1 << 20
_ENCRYPTED = 0x1
_SAFETENSORS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
                "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}  # fmt: skip


@dataclass
class Contents:
    """What a file holds: its value, the format, how many objects of which classes were not loaded, and its size in bytes."""

    value: Any
    format: str
    size: int
    records: dict[str, int] = field(default_factory=dict)


class _Directory:
    """A file of which only chunks are read, so that a zip cannot have a gigabyte of entries listed."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size = file, size
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, length: int = -1) -> bytes:
        """Up to `length` bytes."""
        if length < 0:
            length = self.size - self.tell()
        if length > DIRECTORY_BYTES:
            raise ConvertError("a zip with too many entries: made up?")
        return self.file.read(length)


@contextmanager
def opened(path: Path) -> Iterator[Contents]:
    """The contents of a file. Its weights can be read until the block ends. Raises ConvertError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe or a device would never end
            raise ConvertError(f"{path}: not a regular file")
        with open(path, "rb") as file:
            yield _read(file, path.suffix)
    except ConvertError as error:
        raise error if str(error).startswith(str(path)) else ConvertError(f"{path}: {error}") from None
    except OSError as error:
        raise ConvertError(f"{error.filename or path}: {error.strerror or error}") from None
    except Exception as error:  # a made up file can fail anywhere
        raise ConvertError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error


def _read(file: IO[bytes], suffix: str) -> Contents:
    size = os.fstat(file.fileno()).st_size
    head = file.read(512)
    file.seek(0)
    if not head:
        raise ConvertError("empty")
    if suffix == ".safetensors":
        return _safetensors(file, size)
    if head.startswith(b"PK"):
        return _zip(file, size)
    if head[257:262] == b"ustar":
        raise ConvertError("a tar archive, not a checkpoint; unpack it, or if torch before 0.4 wrote it, save it anew with torch")
    return _pickles(file, size)


def _zip(file: IO[bytes], size: int) -> Contents:
    try:
        with zipfile.ZipFile(_Directory(file, size)) as archive:  # type: ignore[call-overload]
            entries = _checked(archive, size)
    except ConvertError:
        raise
    except Exception as error:  # zipfile lets many kinds through
        raise ConvertError(f"a zip that is torn or altered ({error or type(error).__name__})") from None
    pickles = [name for name in entries if name.rpartition("/")[2] == "data.pkl" and name.count("/") <= 1]
    if len(pickles) != 1:
        raise ConvertError("a zip, but not torch's: it has no data.pkl; if it packs a checkpoint, unpack it")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in entries or any(name.startswith(f"{root}code/") for name in entries):
        raise ConvertError("a TorchScript archive: it holds a program; save the network's state_dict() instead")
    if f"{root}byteorder" in entries:
        start, length = _span(file, entries[f"{root}byteorder"])
        file.seek(start)
        if file.read(min(length, 16)) != b"little":
            raise ConvertError("written by a big-endian machine, which is not supported")

    def storage(saved: Any) -> Storage:
        found = _storage(file, saved)
        entry = entries.get(f"{root}data/{saved[2]}")
        if entry is None or entry.file_size < found.numel * found.dtype.itemsize:
            raise ConvertError("numbers of a tensor are missing or too few: damaged or made up")
        found.start, found.length = _span(file, entry)
        return found

    start, length = _span(file, entries[pickles[0]])
    if length > PICKLE_BYTES:
        raise ConvertError(f"its pickle is longer than {PICKLE_BYTES >> 20} MB, weights not counted: made up?")
    file.seek(start)
    machine = Machine(io.BytesIO(file.read(length)), storage)  # apart, since `storage` moves in the file
    value = machine.load()
    return Contents(value, "torch, zip", size, machine.records)


def _checked(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The entries by name. Whatever torch does not write is refused, and every byte is compared with its CRC."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename
        parts = name.split("/")
        if name in entries or ".." in parts or "\\" in entry.orig_filename or name.startswith("/") or ":" in name:
            raise ConvertError(f"a zip with the entry {name!r} twice, or outside of it: made up")
        if entry.flag_bits & _ENCRYPTED:
            raise ConvertError("an encrypted zip: decrypt it first")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise ConvertError("a compressed zip, which torch does not write: if it packs a checkpoint, unpack it")
        entries[name] = entry
    if sum(entry.file_size for entry in entries.values()) > size:
        raise ConvertError("a zip whose entries overlap: made up")
    for entry in entries.values():
        with archive.open(entry) as data:
            while data.read(_CHUNK):  # raises at the end, if the CRC does not fit
                pass
    return entries


def _span(file: IO[bytes], entry: zipfile.ZipInfo) -> tuple[int, int]:
    """Where the bytes of a stored entry begin, and how many they are."""
    file.seek(entry.header_offset)
    name, extra = struct.unpack("<26x2H", file.read(30))
    return entry.header_offset + 30 + name + extra, entry.file_size


def _storage(file: IO[bytes], saved: Any) -> Storage:
    """A storage by its persistent id: ("storage", class, key, device, number of elements, ...)."""
    if not isinstance(saved, tuple) or len(saved) < 5 or saved[0] not in ("storage", b"storage"):
        raise ConvertError("its pickle refers to something that is no tensor: damaged or made up")
    key, numel = saved[2], saved[4]
    if not isinstance(key, str) or not isinstance(numel, int) or isinstance(numel, bool) or not 0 <= numel < 1 << 40:
        raise ConvertError("numbers of a tensor have no name or no length: damaged or made up")
    return Storage(file, storage_dtype(saved[1]), numel)


def _pickles(file: IO[bytes], size: int) -> Contents:
    storages: dict[str, Storage] = {}

    def storage(saved: Any) -> Any:
        if isinstance(saved, tuple) and len(saved) > 1 and saved[0] == "module":
            return saved[1]  # the name of a class, with its source, which is not looked at
        found = _storage(file, saved)
        if len(saved) > 5 and saved[5] is not None:
            raise ConvertError("written by torch before 0.4, which is not supported: save it anew with torch 1 or 2")
        known = storages.setdefault(saved[2], found)
        if (known.dtype, known.numel) != (found.dtype, found.numel):
            raise ConvertError("names the same numbers twice, with different types or lengths: damaged or made up")
        return known

    machine = Machine(file, storage)
    try:
        value = machine.load()
    except ConvertError as error:
        if not machine.steps:
            raise ConvertError("neither a zip nor a pickle nor safetensors: no checkpoint") from None
        raise error from None
    if not isinstance(value, int) or value != _MAGIC:
        if file.tell() != size:
            raise ConvertError("a pickle with something behind its end: damaged or made up")
        return Contents(value, "plain pickle", size, machine.records)
    protocol, system = machine.load(), machine.load()
    if protocol != _PROTOCOL or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ConvertError("of an unknown version of torch's old format, or written by a big-endian machine")
    value, keys = machine.load(), machine.load()
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in storages for key in keys):
        raise ConvertError("lists numbers that no tensor uses: damaged or made up")
    position = file.tell()
    for key in keys:
        found = storages[key]
        file.seek(position)
        found.start, found.length = position + 8, found.numel * found.dtype.itemsize
        if file.read(8) != struct.pack("<q", found.numel) or found.start + found.length > size:
            raise ConvertError("ends in the middle of its tensors, or their lengths do not fit: torn or damaged")
        position = found.start + found.length
    if position != size or any(found.start < 0 for found in storages.values()):
        raise ConvertError("does not end where its last tensor does: torn or damaged")
    return Contents(value, "torch before 1.6", size, machine.records)


def _safetensors(file: IO[bytes], size: int) -> Contents:
    (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
    if length > min(DIRECTORY_BYTES, size - 8):
        raise ConvertError("not safetensors, or torn: its header is longer than the file")
    try:
        table = json.loads(file.read(length))
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise ConvertError("not safetensors, or damaged: its header is no table")
    table.pop("__metadata__", None)
    weights: dict[str, Weight] = {}
    for name, entry in table.items():
        try:
            dtype, shape = DTYPES[_SAFETENSORS[entry["dtype"]]], tuple(entry["shape"])
            first, last = entry["data_offsets"]
            if len(shape) > DIMENSIONS:
                raise ValueError(f"{len(shape)} dimensions")
            stride = [1]
            for extent in shape[:0:-1]:
                stride.insert(0, stride[0] * extent)
            numel = (last - first) // dtype.itemsize
            weights[name] = Weight(Storage(file, dtype, numel, 8 + length + first, last - first), dtype, 0, shape,
                                   tuple(stride[: len(shape)]))  # fmt: skip
        except (TypeError, KeyError, ValueError) as error:
            raise ConvertError(f"not safetensors, or damaged, at {name} ({type(error).__name__}: {error})") from None
        if not 0 <= first <= last <= size - 8 - length or weights[name].nbytes != last - first:
            raise ConvertError(f"not safetensors, or damaged: {name} lies outside of it, or its shape does not fit")
    return Contents(weights, "safetensors", size)
