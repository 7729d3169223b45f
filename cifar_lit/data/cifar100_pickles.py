"""The official files of CIFAR-100, which are pickles: read without running anything in them."""

import hashlib
import logging
import pickle
import tarfile
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import numpy as np

from cifar_lit.data import cifar100_facts as facts
from cifar_lit.data.dataset import DataError, Split

logger = logging.getLogger(__name__)


def read_archive(path: Path) -> tuple[Split, Split]:
    """The archive's training and test images, streamed: nothing is unpacked to disk, or read before the sum is right.

    Raises DataError.
    """
    logger.info("Checking and reading %s once ...", path)
    with path.open("rb") as file:
        if (found := _md5(file)) != facts.MD5["archive"]:
            raise DataError(
                f"{path}: half-downloaded or altered (MD5 {found}, the official one is {facts.MD5['archive']}); delete it, "
                "then it is downloaded again, or put a good copy there"
            )
        records = {}
        with tarfile.open(fileobj=file, mode="r|gz") as archive:
            for member in archive:
                name = member.name.removeprefix(f"{facts.EXTRACTED}/")
                content = archive.extractfile(member) if name in facts.MD5 and member.isreg() else None
                if content is not None:
                    records[name] = _unpickle(content, f"{path}, {member.name}")
    return _splits(records, path)


def read_extracted(path: Path) -> tuple[Split, Split]:
    """The unpacked files of a folder, training and test images. Other sums than the official ones are told. Raises DataError."""
    logger.info("Reading %s once ...", path)
    records = {}
    for name in ("train", "test", "meta"):
        with (path / name).open("rb") as file:
            if (found := _md5(file)) != facts.MD5[name]:
                message = "%s: not the official file (MD5 %s, official %s); using it all the same"
                logger.warning(message, path / name, found, facts.MD5[name])
            records[name] = _unpickle(file, str(path / name))
    return _splits(records, path)


def _md5(file: BufferedReader) -> str:
    digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    file.seek(0)
    return digest


_RECONSTRUCT: Any = np.empty(0, np.uint8).__reduce__()[0]
_FROM_BUFFER: Any = np.empty(0, np.uint8).__reduce_ex__(5)[0]
_HARMLESS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # What Python 3 writes for bytes in protocol 2, and for arrays in protocol 5.
    ("_codecs", "encode"): lambda text, _encoding: text.encode("latin1"),
    ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
}


class _Unpickler(pickle.Unpickler):
    """Containers, numbers, strings and numpy arrays; any other global is refused before it is imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it asks to run {module}.{name}")
        return _HARMLESS[module, name]


def _unpickle(file: IO[bytes], where: str) -> dict[str, Any]:
    try:
        record = _Unpickler(file, encoding="latin1").load()  # the files were written by Python 2
    except Exception as error:  # broken pickles raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{where}: not a readable CIFAR-100 file ({reason}); delete it and get the official one"
        raise DataError(message) from error
    if not isinstance(record, dict):
        raise DataError(f"{where}: holds a {type(record).__name__}, not CIFAR-100's dictionary; get the official file")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in record.items()}


def _splits(records: Mapping[str, Mapping[str, Any]], path: Path) -> tuple[Split, Split]:
    if lacking := [name for name in ("train", "test", "meta") if name not in records]:
        raise DataError(f"{path}: lacks {', '.join(lacking)}; get the official archive")
    for key, names in (("fine_label_names", facts.CLASSES), ("coarse_label_names", facts.SUPERCLASSES)):
        given = records["meta"].get(key)
        if not isinstance(given, list) or tuple(_text(name) for name in given) != names:
            raise DataError(f"{path}: the {key} in meta are not CIFAR-100's; get the official files")
    return _split(records["train"], "train", path), _split(records["test"], "test", path)


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _split(record: Mapping[str, Any], split: str, path: Path) -> Split:
    """One pickle's record checked and brought to (N, 32, 32, 3), sorted by class and file name."""

    def check(good: bool, what: str) -> None:
        if not good:
            raise DataError(f"{path}, {split}: {what}; get the official files")

    size = facts.PER_CLASS[split] * len(facts.CLASSES)
    data: Any = record.get("data")
    names: Any = record.get("filenames")
    check(isinstance(data, np.ndarray), "no array of images in it")
    wanted = (size, 3 * facts.IMAGE_SIZE**2)
    check(data.dtype == np.uint8 and data.shape == wanted, f"images are {data.dtype}{data.shape}, not uint8{wanted}")
    labels = {}
    for key in ("fine_labels", "coarse_labels"):
        given = record.get(key)
        good = isinstance(given, list) and len(given) == size and all(type(label) is int for label in given)
        check(good, f"{key} are not a list of {size} integers")
        labels[key] = np.array(given, np.int64)
    fine = labels["fine_labels"]
    in_range = fine.min() >= 0 and fine.max() < len(facts.CLASSES)
    check(in_range, f"fine_labels reach from {fine.min()} to {fine.max()}, not from 0 to {len(facts.CLASSES) - 1}")
    check((np.bincount(fine) == facts.PER_CLASS[split]).all(), f"not {facts.PER_CLASS[split]} images in every class")
    check((np.array(facts.SUPERCLASS_OF)[fine] == labels["coarse_labels"]).all(), "coarse_labels contradict fine_labels")
    check(names is None or (isinstance(names, list) and len(names) == size), f"filenames are not a list of {size} names")
    order = np.argsort(fine, kind="stable") if names is None else np.lexsort((np.array([_text(n) for n in names]), fine))
    images = data.reshape(-1, 3, facts.IMAGE_SIZE, facts.IMAGE_SIZE)[order].transpose(0, 2, 3, 1)
    return Split(np.ascontiguousarray(images), fine[order])
