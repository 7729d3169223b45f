"""Any images in class folders: `train/<class>/*` and `test/<class>/*`, PNG, WebP or JPEG."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from cifar_lit import pictures
from cifar_lit.cores import cores
from cifar_lit.data.cache import cached, fingerprint
from cifar_lit.data.dataset import DataError, Dataset, Split, statistics

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")

_FORMATS = ("PNG", "WEBP", "JPEG")
_LITTER = ("thumbs.db", "desktop.ini")  # ignored like names that begin with a dot
_BATCH = 256

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tree:
    """What lies in a root of class folders: `files[split]` are paths, sorted by class and name, with `labels[split]`.

    `fingerprint` changes with any name, size or modification time.
    """

    root: Path
    classes: tuple[str, ...]
    files: dict[str, list[str]]
    labels: dict[str, np.ndarray]
    fingerprint: str


def count(root: str | Path) -> tuple[int, int]:
    """How many training and test images there are. From listings alone; DataError as in `scan`."""
    tree = scan(root)
    return len(tree.files["train"]), len(tree.files["test"])


def load(root: str | Path, image_size: int | None = None) -> Dataset:
    """The images under `root`; classes in alphabetical order, as in torchvision's ImageFolder.

    Images become RGB as ImageFolder makes them: an alpha channel is dropped, not blended; of an animation the first
    frame counts. Beyond ImageFolder, EXIF orientation is honoured and 16-bit greys are scaled, not clipped. With
    `image_size` the shorter side is resized to it (bilinear, antialiased) and the middle square cut out; with None
    all images must share one size.

    Raises DataError naming the file for anything that is not a whole image, and as in `scan`.
    """
    if image_size is not None and image_size < 1:
        raise DataError(f"data.image_size={image_size}: give a number of pixels, 1 or more, or null")
    tree = scan(root)

    def build() -> Dataset:
        train, test = decode(tree, image_size)
        return Dataset("folder", train, test, tree.classes, (), (), *statistics(train.images))

    key = {"source": "folder", "image_size": image_size, "fingerprint": tree.fingerprint}
    return cached(tree.root, key, build)


def scan(root: str | Path) -> Tree:
    """List the class folders under `root`; nothing is opened.

    Raises DataError for a missing root, split or class, an empty class folder, a file without content, and anything
    with an image's name that is not a regular file.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; set data.root to the folder that holds train/ and test/")
    strays: list[str] = []
    found: dict[str, dict[str, list[os.DirEntry[str]]]] = {}
    for split in ("train", "test"):
        if not (root / split).is_dir():
            raise DataError(f"{root}: there is no folder {split}/ in it; put the images in {split}/<class>/")
        entries = _visible(root / split)
        strays += [entry.path for entry in entries if not entry.is_dir()]
        found[split] = {entry.name: _images(entry.path, strays) for entry in entries if entry.is_dir()}
        if not found[split]:
            raise DataError(f"{root / split}: there are no class folders in it; put the images in {split}/<class>/")
        for name, images in found[split].items():
            if not images:
                raise DataError(f"{root / split / name}: no images ({', '.join(SUFFIXES)}) in it; add some or delete it")
    for here, there in (("train", "test"), ("test", "train")):
        if lacking := sorted(found[here].keys() - found[there].keys()):
            raise DataError(f"{root / there}: lacks {_few(lacking)}, which {here}/ has; both need the same classes")
    if strays:
        logger.warning("%s: ignored %d files that are no images, such as %s", root, len(strays), strays[0])
    classes = tuple(sorted(found["train"]))
    per_class = {split: [found[split][name] for name in classes] for split in found}
    numbers = {split: [len(images) for images in per_class[split]] for split in found}
    return Tree(
        root=root,
        classes=classes,
        files={split: [entry.path for images in per_class[split] for entry in images] for split in found},
        labels={split: np.repeat(np.arange(len(classes), dtype=np.int64), numbers[split]) for split in found},
        fingerprint=fingerprint(
            (f"{split}/{name}/{entry.name}", entry.stat())
            for split in found
            for name, images in zip(classes, per_class[split], strict=True)
            for entry in images
        ),
    )


def _visible(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if entry.name[0] != "." and entry.name.lower() not in _LITTER]
    return sorted(visible, key=lambda entry: entry.name)


def _images(folder: str, strays: list[str]) -> list[os.DirEntry[str]]:
    """The image files of one class folder; other files are added to `strays`."""
    images = []
    for entry in _visible(folder):
        if entry.is_dir():
            raise DataError(f"{entry.path}: a folder inside a class folder; move its images up, or delete it")
        if not entry.name.lower().endswith(SUFFIXES):
            strays.append(entry.path)
            continue
        if not entry.is_file():  # a pipe or a device would hang the reader
            raise DataError(f"{entry.path}: not a regular file, or a link to nothing; delete it")
        if entry.stat().st_size == 0:
            raise DataError(f"{entry.path}: the file is empty; replace or delete it")
        images.append(entry)
    return images


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def decode(tree: Tree, image_size: int | None) -> tuple[Split, Split]:
    """Read every image of `tree`: training and test images. DataError as in `load`."""
    total = sum(len(files) for files in tree.files.values())
    first = tree.files["train"][0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        shape = read(first, image_size).shape
        splits = {
            split: Split(np.empty((len(files), *shape), np.uint8), tree.labels[split]) for split, files in tree.files.items()
        }

        def fill(split: str, start: int) -> int:
            files = tree.files[split][start : start + _BATCH]
            for index, path in enumerate(files, start):
                image = read(path, image_size)
                if image.shape != shape:
                    raise DataError(
                        f"{path}: {image.shape[1]}x{image.shape[0]} pixels, but {first} has {shape[1]}x{shape[0]}; "
                        "set data.image_size to bring all images to one size"
                    )
                splits[split].images[index] = image
            return len(files)

        # Threads, not processes: larger images decode side by side. 32x32 ones are too small for that (60,000 take
        # about 4 s), but forking beside torch's threads is unsafe, and spawning would import the main program again.
        with _progress(f"Decoding {total:,} images once", total) as advance, ThreadPoolExecutor(cores()) as pool:
            jobs = [
                pool.submit(fill, split, start) for split, files in tree.files.items() for start in range(0, len(files), _BATCH)
            ]
            try:
                for job in jobs:
                    advance(job.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return splits["train"], splits["test"]


def read(path: str, image_size: int | None) -> np.ndarray:
    """One image as (H, W, 3) uint8, converted and cut as `load` says. DataError names the file."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.load()
            whole = _rgb(pictures.upright(image))
            return np.asarray(whole) if image_size is None else pictures.fit(whole, image_size, image_size)
    except UnidentifiedImageError:
        reason = "no PNG, WebP or JPEG image"
    except Exception as error:  # on broken files Pillow raises whatever its parser stumbled over
        reason = f"cannot be decoded ({' '.join(str(error).split()) or type(error).__name__})"
    raise DataError(f"{path}: {reason}; replace or delete it")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    image = pictures.eight_bits(image)
    if "transparency" in image.info:  # straight to RGB, Pillow warns about transparent palettes
        image = image.convert("RGBA")
    return image.convert("RGB")


@contextmanager
def _progress(task: str, total: int) -> Iterator[Callable[[int], None]]:
    """Say `task`; on a terminal also draw a bar. Gives the function that moves it on."""
    logger.info("%s ...", task)
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console  # slow to import, and only needed here
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task(task, total=total)
        yield lambda step: bar.advance(row, step)
