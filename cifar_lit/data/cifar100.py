"""CIFAR-100 (Krizhevsky, 2009): its facts, the layouts in which people have it, and its download."""

from __future__ import annotations

import hashlib
import logging
import pickle
import socket
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from filelock import FileLock

from cifar_lit.data import folder
from cifar_lit.data.cache import cached, fingerprint
from cifar_lit.data.dataset import DataError, DataMissing, Dataset, Split, statistics

_MEMBERS = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
SUPERCLASSES = tuple(_MEMBERS)
_SUPERCLASS = {name: index for index, names in enumerate(_MEMBERS.values()) for name in names.split()}
CLASSES = tuple(sorted(_SUPERCLASS))  # alphabetical is the order of the official labels
SUPERCLASS_OF = tuple(_SUPERCLASS[name] for name in CLASSES)

PER_CLASS = {"train": 500, "test": 100}
SIZES = (PER_CLASS["train"] * len(CLASSES), PER_CLASS["test"] * len(CLASSES))
IMAGE_SIZE = 32

MD5 = {
    "archive": "eb9058c3a382ffc7106e4002c42a8d85",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
EXTRACTED = "cifar-100-python"
ARCHIVE = "cifar-100-python.tar.gz"

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
        train, test = _read_archive(layout.root / ARCHIVE)
    else:
        train, test = _read_extracted(layout.root / EXTRACTED)
    return Dataset("cifar100", train, test, CLASSES, SUPERCLASSES, SUPERCLASS_OF, *statistics(train.images))


# ---- class folders


def _class_folders(root: Path) -> folder.Tree:
    advice = (
        f"CIFAR-100 has 100 classes of {PER_CLASS['train']} training and {PER_CLASS['test']} test images: unzip all "
        "its parts, or use data=folder for a subset or other classes"
    )
    try:
        tree = folder.scan(root)
    except DataError as error:
        raise DataError(f"{error}. {advice}") from error
    unknown = [name for name in tree.classes if name not in _SUPERCLASS]
    lacking = [name for name in CLASSES if name not in tree.classes]
    if unknown or lacking:
        found = "; ".join(
            f"{what} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
            for what, names in (("unknown:", unknown), ("missing:", lacking))
            if names
        )
        raise DataError(f"{root}: {len(tree.classes)} class folders that are not CIFAR-100's ({found}). {advice}")
    for split, wanted in PER_CLASS.items():
        for name, number in zip(tree.classes, np.bincount(tree.labels[split]), strict=True):
            if number != wanted:
                raise DataError(f"{root / split / name}: {number} images, not {wanted}. {advice}")
    return tree


# ---- the official pickles


def _read_archive(path: Path) -> tuple[Split, Split]:
    """The archive's pickles, streamed: nothing is unpacked to disk, and nothing is read before the sum is right."""
    logger.info("Checking and reading %s once ...", path)
    with path.open("rb") as file:
        if (found := _md5(file)) != MD5["archive"]:
            raise DataError(
                f"{path}: half-downloaded or altered (MD5 {found}, the official one is {MD5['archive']}); delete it, "
                "then it is downloaded again, or put a good copy there"
            )
        records = {}
        with tarfile.open(fileobj=file, mode="r|gz") as archive:
            for member in archive:
                name = member.name.removeprefix(f"{EXTRACTED}/")
                content = archive.extractfile(member) if name in MD5 and member.isreg() else None
                if content is not None:
                    records[name] = _unpickle(content, f"{path}, {member.name}")
    return _splits(records, path)


def _read_extracted(path: Path) -> tuple[Split, Split]:
    logger.info("Reading %s once ...", path)
    records = {}
    for name in ("train", "test", "meta"):
        with (path / name).open("rb") as file:
            if (found := _md5(file)) != MD5[name]:
                message = "%s: not the official file (MD5 %s, official %s); using it all the same"
                logger.warning(message, path / name, found, MD5[name])
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
    for key, names in (("fine_label_names", CLASSES), ("coarse_label_names", SUPERCLASSES)):
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

    size = PER_CLASS[split] * len(CLASSES)
    data: Any = record.get("data")
    names: Any = record.get("filenames")
    check(isinstance(data, np.ndarray), "no array of images in it")
    wanted = (size, 3 * IMAGE_SIZE**2)
    check(data.dtype == np.uint8 and data.shape == wanted, f"images are {data.dtype}{data.shape}, not uint8{wanted}")
    labels = {}
    for key in ("fine_labels", "coarse_labels"):
        given = record.get(key)
        good = isinstance(given, list) and len(given) == size and all(type(label) is int for label in given)
        check(good, f"{key} are not a list of {size} integers")
        labels[key] = np.array(given, np.int64)
    fine = labels["fine_labels"]
    in_range = fine.min() >= 0 and fine.max() < len(CLASSES)
    check(in_range, f"fine_labels reach from {fine.min()} to {fine.max()}, not from 0 to {len(CLASSES) - 1}")
    check((np.bincount(fine) == PER_CLASS[split]).all(), f"not {PER_CLASS[split]} images in every class")
    check((np.array(SUPERCLASS_OF)[fine] == labels["coarse_labels"]).all(), "coarse_labels contradict fine_labels")
    check(names is None or (isinstance(names, list) and len(names) == size), f"filenames are not a list of {size} names")
    order = np.argsort(fine, kind="stable") if names is None else np.lexsort((np.array([_text(n) for n in names]), fine))
    images = data.reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE)[order].transpose(0, 2, 3, 1)
    return Split(np.ascontiguousarray(images), fine[order])


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
