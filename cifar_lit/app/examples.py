"""The examples of the page: a few images, copied to where the page may show them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from PIL import Image

from cifar_lit import pictures
from cifar_lit.app.uploads import KEPT, Uploads
from cifar_lit.pictures import PictureError

MOST = 8
_TRIED = 4 * MOST  # files, before a folder is taken to hold no images


def gather(source: Path | list[Image.Image], uploads: Uploads) -> list[Path]:
    """Images, or some of a folder, as files that the page may show. Raises PictureError where a folder has none."""
    kept = uploads.folder / KEPT
    kept.mkdir(exist_ok=True)
    made: list[Path] = []
    for image in images(source, MOST) if isinstance(source, Path) else source[:MOST]:
        made.append(kept / f"{len(made)}.png")
        image.save(made[-1])
    return made


def images(folder: Path, most: int) -> list[Image.Image]:
    """Images of a folder and of the folders in it, evenly chosen. Raises PictureError where there are none."""
    files = list(_files(folder))
    chosen = [files[number * len(files) // _TRIED] for number in range(_TRIED)] if len(files) > _TRIED else files
    found: list[Image.Image] = []
    for file in (file for first in range(4) for file in chosen[first::4]):  # evenly spread, whichever are refused
        if len(found) == most:
            break
        with suppress(PictureError):
            found.append(pictures.read(file))
    if not found:
        raise PictureError(f"{folder}: no images there to show as examples")
    return found


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))
