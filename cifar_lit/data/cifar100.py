"""CIFAR-100 (Krizhevsky, 2009): its facts, the layouts in which people have it, and its download."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal

import numpy as np
from filelock import FileLock

from cifar_lit.data import cifar100_facts as facts
from cifar_lit.data import folder
from cifar_lit.data.cache import cached, fingerprint
from cifar_lit.data.cifar100_facts import ARCHIVE, CLASSES, EXTRACTED, IMAGE_SIZE, MD5, SUPERCLASS_OF, SUPERCLASSES
from cifar_lit.data.cifar100_pickles import read_archive, read_extracted
from cifar_lit.data.dataset import DataError, DataMissing, Dataset, statistics

_CONNECT_SECONDS = 8
_WANTED = f"the official {ARCHIVE}, its unpacked folder {EXTRACTED}/, or class folders train/<class>/ and test/<class>/"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """A form in which CIFAR-100 lies under `root`; `tree` is the listing of class folders."""

    kind: Literal["pickles", "archive", "folders"]
    root: Path
    tree: folder.Tree | None = None


def find(root: str | Path) -> Layout | None:
    """The layout under `root`, or None when there is nothing. Listings only: no file is opened.

    Order: the unpacked official folder, the official archive, class folders. Raises DataError when the first of them
    that is there is incomplete or not CIFAR-100.
    """
    root = Path(root).expanduser()
    if (root / EXTRACTED).is_dir():
        for name in ("train", "test", "meta"):
            if not (root / EXTRACTED / name).is_file():
                raise DataError(f"{root / EXTRACTED}: lacks the file {name}; unpack {ARCHIVE} again or delete this")
        return Layout("pickles", root)
    if (root / ARCHIVE).is_file():
        return Layout("archive", root)
    if (root / "train").is_dir() or (root / "test").is_dir():
        return Layout("folders", root, _class_folders(root))
    return None


def load(root: str | Path, download: bool = True, layout: Layout | None = None) -> Dataset:
    """CIFAR-100 from whatever `find` finds under `root`, else downloaded into it; decoded once, then from the cache.

    Images are ordered by class and file name in every layout, so an index means the same image in all of them.
    layout: what `find` has just said, where it was asked: it lists 60,000 files.

    Nothing that is read can run code. Raises DataMissing when there is nothing and no download, DataError for
    incomplete, altered or unreadable data.
    """
    root = Path(root).expanduser()
    layout = layout or find(root)
    if layout is None:
        if not download:
            raise DataMissing(f"{root}: no CIFAR-100 in it; put there {_WANTED}, set data.download=true, or use data=synthetic")
        _download(root)
        layout = Layout("archive", root)
    key = {"source": f"cifar100_{layout.kind}", "fingerprint": _fingerprint(layout)}
    return cached(root, key, lambda: _build(layout))


def _fingerprint(layout: Layout) -> str:
    if layout.tree is not None:
        return layout.tree.fingerprint
    names = [ARCHIVE] if layout.kind == "archive" else [f"{EXTRACTED}/{name}" for name in ("train", "test", "meta")]
    return fingerprint((name, (layout.root / name).stat()) for name in names)


def _build(layout: Layout) -> Dataset:
    if layout.tree is not None:
        first = layout.tree.files["train"][0]
        if folder.read(first, None).shape != (IMAGE_SIZE, IMAGE_SIZE, 3):
            raise DataError(f"{first}: not {IMAGE_SIZE}x{IMAGE_SIZE} pixels, as CIFAR-100 is; use data=folder")
        train, test = folder.decode(layout.tree, None)
    elif layout.kind == "archive":
        train, test = read_archive(layout.root / ARCHIVE)
    else:
        train, test = read_extracted(layout.root / EXTRACTED)
    return Dataset("cifar100", train, test, CLASSES, SUPERCLASSES, SUPERCLASS_OF, *statistics(train.images))


# ---- class folders


def _class_folders(root: Path) -> folder.Tree:
    advice = (
        f"CIFAR-100 has 100 classes of {facts.PER_CLASS['train']} training and {facts.PER_CLASS['test']} test images: unzip all "
        "its parts, or use data=folder for a subset or other classes"
    )
    try:
        tree = folder.scan(root)
    except DataError as error:
        raise DataError(f"{error}. {advice}") from error
    unknown = [name for name in tree.classes if name not in facts.SUPERCLASS]
    lacking = [name for name in CLASSES if name not in tree.classes]
    if unknown or lacking:
        found = "; ".join(
            f"{what} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
            for what, names in (("unknown:", unknown), ("missing:", lacking))
            if names
        )
        raise DataError(f"{root}: {len(tree.classes)} class folders that are not CIFAR-100's ({found}). {advice}")
    for split, wanted in facts.PER_CLASS.items():
        for name, number in zip(tree.classes, np.bincount(tree.labels[split]), strict=True):
            if number != wanted:
                raise DataError(f"{root / split / name}: {number} images, not {wanted}. {advice}")
    return tree


# ---- download


def _download(root: Path) -> None:
    """Put the official archive into `root`, under its name only when it is whole; one process does it for all."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{ARCHIVE}.lock"):
            if not (root / ARCHIVE).is_file():  # else another process was quicker
                _fetch(root)
    except (OSError, RuntimeError, HTTPException) as error:  # no network, a wrong sum, a disk that is full or read-only
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataMissing(
            f"{root}: no CIFAR-100 in it, and downloading it failed ({reason}); put there {_WANTED}, or use "
            "data=synthetic, which needs no files"
        ) from error


def _fetch(root: Path) -> None:
    from torchvision.datasets import CIFAR100  # slow to import (torch), and only needed here
    from torchvision.datasets.utils import download_url

    partial = root / f"{ARCHIVE}.part"
    logger.info("Downloading %s into %s ...", CIFAR100.url, root)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_CONNECT_SECONDS)  # torchvision sets none: without a network it would hang for minutes
    try:
        download_url(CIFAR100.url, root, filename=partial.name, md5=MD5["archive"])
        partial.replace(root / ARCHIVE)
    finally:
        socket.setdefaulttimeout(before)
        partial.unlink(missing_ok=True)
