"""Images decoded once: a folder of memory-mapped arrays for each source, built by one process, trusted only when whole.

It lies in `.cifar_lit_cache/` beside the data or, where that cannot be written, in `$XDG_CACHE_HOME/cifar_lit`
(`~/.cache/cifar_lit`). Deleting it is always safe.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from cifar_lit.atomic import sync, writing
from cifar_lit.data.dataset import DataError, Dataset, Split

FOLDER = ".cifar_lit_cache"
FORMAT = 1  # of the files below; another number is another fingerprint
CONTENT = "content.txt"  # the fingerprint of what was decoded, made when first asked for

_CONTENT_LETTERS = 16
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_FACTS = ("name", "classes", "superclasses", "superclass_of", "mean", "std")
_UNUSABLE = (OSError, ValueError, KeyError, TypeError)  # all that a missing or damaged cache can raise
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)

logger = logging.getLogger(__name__)


def fingerprint(files: Iterable[tuple[str, os.stat_result]]) -> str:
    """Digest of the names, sizes and modification times of `files`, in the order given. Nothing is read."""
    digest = hashlib.blake2b(digest_size=16)
    for name, stat in files:
        digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def cached(source_dir: Path | None, key: Mapping[str, Any], build: Callable[[], Dataset]) -> Dataset:
    """The data set that `build` returns, from the cache when it is there.

    `key["source"]` names the cache folder and `key["fingerprint"]` says which state of the source it holds; whatever
    else decides the pixels (`image_size`) goes into `key` too. Once a new fingerprint is built, older ones of the same
    key are removed. `source_dir=None` (nothing on disk) uses the user's cache. The whole data set is in memory while
    it is being built, and mapped from disk afterwards.

    Raises DataError when no place can be written or the disk is full.
    """
    candidates = _candidates(source_dir, key)
    for folder in candidates:
        with suppress(*_UNUSABLE):  # the common way: no lock, nothing written
            return _open(folder)
    folder = _first_writable(candidates)
    family = folder.name.rpartition("-")[0]
    with _alone(folder.parent / f"{family}.lock"):
        if folder.exists():  # another process built it meanwhile, or it is damaged
            try:
                return _open(folder)
            except _UNUSABLE as error:
                logger.warning("%s is damaged (%s): building it again", folder, error)
        for left_over in folder.parent.glob(f"{family}-*.building"):  # their builder is dead: we hold its lock
            shutil.rmtree(left_over, ignore_errors=True)
        built = build()
        _write(folder, key, built)
        logger.info("Decoded images are kept in %s: %d MB", folder, (built.train.images.nbytes + built.test.images.nbytes) >> 20)
        for outdated in folder.parent.glob(f"{family}-*"):
            if outdated != folder:
                shutil.rmtree(outdated, ignore_errors=True)
        return _open(folder)


def _candidates(source_dir: Path | None, key: Mapping[str, Any]) -> list[Path]:
    """Where the cache of `key` may lie, best first. In the user's cache the path of the data is part of the name."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    if source_dir is None:
        return [cache_home / "cifar_lit" / _name(key, None)]
    return [source_dir / FOLDER / _name(key, None), cache_home / "cifar_lit" / _name(key, source_dir.resolve())]


def _name(key: Mapping[str, Any], source_dir: Path | None) -> str:
    identity = {**key, "fingerprint": None, "source_dir": source_dir and str(source_dir)}
    return f"{key['source']}-{_digest(identity)}-{_digest([FORMAT, key['fingerprint']])}"


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=6).hexdigest()


def _first_writable(folders: list[Path]) -> Path:
    """The first of `folders` that can be made. Tried, not asked: permission bits say little to root or over NFS."""
    for folder in folders:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder.parent):
                return folder
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise _no_room(folder.parent, error) from error
            logger.info("%s cannot be written (%s)", folder.parent, error.strerror)
    places = " nor ".join(str(folder.parent) for folder in folders)
    raise DataError(f"decoded images can be kept in neither {places}: set XDG_CACHE_HOME to a folder you may write")


def _no_room(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"{folder}: decoded images cannot be written ({error.strerror or error}); free some space there, "
        "or delete what is in the way"
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock file `path`: one builder at a time; the system frees it when the holder dies."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("Another process is decoding these images; waiting for it (%s)", path)
        lock.acquire()
    except OSError as error:
        raise _no_room(path.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def _write(folder: Path, key: Mapping[str, Any], dataset: Dataset) -> None:
    """Write `dataset` under another name, flush it to disk, then give it its name: `folder` is whole or not there."""
    temporary = folder.with_name(f"{folder.name}.building")
    arrays = (dataset.train.images, dataset.train.labels, dataset.test.images, dataset.test.labels)
    try:
        temporary.mkdir()
        sizes = {name: _save(temporary / f"{name}.npy", array) for name, array in zip(_ARRAYS, arrays, strict=True)}
        meta = {fact: getattr(dataset, fact) for fact in _FACTS} | {"key": dict(key), "sizes": sizes}
        (temporary / "meta.json").write_text(json.dumps(meta, indent=1))
        sync(temporary / "meta.json")
        sync(temporary)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        temporary.rename(folder)
        sync(folder.parent)
    except OSError as error:
        raise _no_room(folder.parent, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _save(path: Path, array: np.ndarray) -> int:
    """Write one .npy file; return its size. By hand, since `np.save` hides the reason (disk full) of a short write."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)
    sync(path)
    return path.stat().st_size


def _open(folder: Path) -> Dataset:
    """The cache in `folder`, mapped. Raises one of `_UNUSABLE` when it is missing or not as it was written."""
    meta = json.loads((folder / "meta.json").read_text())
    for name in _ARRAYS:
        size = (folder / f"{name}.npy").stat().st_size
        if size != meta["sizes"][name]:
            raise ValueError(f"{name}.npy has {size:,} bytes, not {meta['sizes'][name]:,}")
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
    splits = {}
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if (images.dtype, images.ndim, labels.dtype, labels.shape) != (np.uint8, 4, np.int64, (len(images),)):
            raise ValueError(f"{split} arrays of {images.dtype}{images.shape} and {labels.dtype}{labels.shape}")
        splits[split] = Split(images, labels)
    facts = {fact: tuple(meta[fact]) for fact in _FACTS if fact != "name"}
    content = _content(folder)
    return Dataset(name=meta["name"], train=splits["train"], test=splits["test"], fingerprint=content, **facts)


def _content(folder: Path) -> str:
    """Digest of the pixels and labels alone, so that copies have the same; read once, then kept beside them."""
    with suppress(OSError, UnicodeDecodeError):
        kept = (folder / CONTENT).read_text()
        if len(kept) == _CONTENT_LETTERS:
            return kept
    digests = []
    for name in _ARRAYS:
        with (folder / f"{name}.npy").open("rb") as file:  # not through the map, whose pages would count as memory in use
            digests.append(hashlib.file_digest(file, hashlib.blake2b).hexdigest())
    content = hashlib.blake2b("\n".join(digests).encode(), digest_size=_CONTENT_LETTERS // 2).hexdigest()
    with suppress(OSError), writing(folder / CONTENT) as part:  # a cache that is read-only, or a disk that is full
        part.write_text(content)
    return content
