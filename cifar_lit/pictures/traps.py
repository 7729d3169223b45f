"""Image files made to exhaust memory or time: what Pillow 12.3 lets through is found before it does the work.

A file under 20 MiB can cost gigabytes or minutes. `before` looks at the bytes, `opened` at
what Pillow read of the header, `greedy` at one block of EXIF. Honest files stay far below every number here.
"""

from __future__ import annotations

import logging
import os
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

_VALUES = 2**18  # numbers in the tags of a TIFF: strips and tiles come to some ten thousand
_ENTRIES = 4096  # tags in one directory of a TIFF
_PARTS = 10_000  # segments of a JPEG
_CHUNKS = 50_000  # of a PNG
_SCANS = 100  # of a JPEG; progressive ones have about ten, and each costs a pass over the image
_BLOCKS = 4096  # of 255 bytes before the first image of a GIF; comments cost their length squared
_RLE_BYTES, _RLE_PIXELS = 4 * 2**20, 4_000_000  # BMP's run lengths are decoded in Python

# JPEG markers that are followed by a length; not RST, SOI, TEM or stuffed zeros.
_MARKER = re.compile(rb"\xff+([\xc0-\xcf\xd9-\xef\xfe])")
_TIFF = re.compile(rb"II[*+]\0|MM\0[*+]")
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_NESTED = (0x8769, 0x8825, 0xA005)  # EXIF, GPS and interoperability directories


def before(data: bytes) -> bool:
    """Whether opening this file would cost far more than its pixels are worth."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG"):
        return _png(data)
    if data.startswith(b"GIF8"):
        return _gif(data)
    if _TIFF.match(data):
        return greedy(data)
    if data[4:8] == b"ftyp":  # AVIF; its EXIF lies anywhere
        places = [found.start() for found in _TIFF.finditer(data)]
        return len(places) > 64 or any(greedy(data[place:]) for place in places)
    return False


def opened(image: Image.Image) -> bool:
    """Whether loading this image would take Pillow far longer than its size says."""
    tiles = getattr(image, "tile", [])
    pixels = image.width * image.height
    if tiles and tiles[0][0] == "bmp_rle":
        return pixels > _RLE_PIXELS or image.fp.seek(0, 2) > _RLE_BYTES  # type: ignore[attr-defined]
    # Strips of a TIFF may lie over each other; separate planes cover the image once for each.
    return sum((right - left) * (low - top) for _, (left, top, right, low), *_ in tiles) > 6 * pixels


def greedy(block: bytes) -> bool:
    """Whether the tags of this TIFF file or block of EXIF hold many more bytes than it has.

    Each tag names a range of bytes, and Pillow copies them all: tags that share one range multiply it.
    """
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = "<" if block.startswith(b"II") else ">"
    big = block[2:4] in (b"+\0", b"\0+")
    number, entry = struct.Struct(order + ("Q" if big else "H")), struct.Struct(order + ("HHQQ" if big else "HHLL"))
    start = struct.Struct(order + ("Q" if big else "L"))
    held = values = 0
    places, seen = [(8 if big else 4, True)], 0
    try:
        while places and seen < 8:
            seen += 1
            place, indirect = places.pop()
            at = start.unpack_from(block, place)[0] if indirect else place
            (entries,) = number.unpack_from(block, at)
            first = at + number.size
            entries = min(entries, max(0, len(block) - first) // entry.size)  # those that are there in full
            if entries > _ENTRIES:
                return True
            for tag, kind, count, where in entry.iter_unpack(block[first : first + entries * entry.size]):
                size = _WIDTHS.get(kind, 0) * count
                if size > start.size and where + size > len(block):
                    break  # Pillow stops here too
                held += size
                # Blobs are copied, numbers become Python's; and where the pixels lie is a list however it is written.
                values += 0 if kind == 2 or (kind in (1, 7) and tag >= 700) else count
                if tag in _NESTED and kind in (4, 13):
                    places.append((where if order == "<" or size > 2 else 0, False))
    except struct.error:
        pass  # broken or cut off: Pillow reads no further
    return held > 2 * len(block) + 4096 or values > _VALUES


def _jpeg(data: bytes) -> bool:
    at, parts, scans, exif = 2, 0, 0, []
    while found := _MARKER.search(data, at):
        if not scans and found.end() - at > 2**16:  # filling, which Pillow reads byte by byte
            return True
        at, marker = found.end(), found[1][0]
        if marker == 0xD9:
            break
        length = int.from_bytes(data[at : at + 2])
        parts, scans = parts + 1, scans + (marker == 0xDA)
        if parts > _PARTS or scans > _SCANS:
            return True
        if marker == 0xE1 and data.startswith(b"Exif\0\0", at + 2):
            exif.append(data[at + 8 : at + length])
        elif marker == 0xE2 and data.startswith(b"MPF\0", at + 2) and greedy(data[at + 6 : at + length]):
            return True
        at += max(length, 2)
    return greedy(b"".join(exif))  # Pillow joins them


def _png(data: bytes) -> bool:
    at, chunks = 8, 0
    while at < len(data) and chunks <= _CHUNKS:
        at, chunks = at + 12 + int.from_bytes(data[at : at + 4]), chunks + 1
    return chunks > _CHUNKS


def _gif(data: bytes) -> bool:
    if len(data) < 13:
        return False
    at, blocks = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 128 else 0), 0
    while at < len(data) and data[at] != 0x2C:
        extension, at = data[at] == 0x21, at + 1
        if not extension:
            continue
        at += 1
        while at < len(data) and data[at]:
            at, blocks = at + 1 + data[at], blocks + 1
            if blocks > _BLOCKS:
                return True
        at += 1
    return False


_libtiff = threading.Lock()


def load(image: Image.Image) -> None:
    """Decode the pixels, and keep libtiff from writing its complaints to standard error.

    It does so from C, so for these milliseconds, and for compressed TIFF files only, descriptor 2 leads nowhere.
    """
    tiles = getattr(image, "tile", [])
    if not tiles or tiles[0][0] != "libtiff":
        image.load()
        return
    with _libtiff:
        try:
            kept = os.dup(2)
        except OSError:  # there is none
            image.load()
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            image.load()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


class _Silence:
    """How many threads are inside `quiet`, and what to restore after the last."""

    lock = threading.Lock()
    inside = 0
    filters = warnings.catch_warnings()
    propagate = True
    nowhere = logging.NullHandler()  # without any handler, Python would print warnings itself


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow's warnings and log stay silent: they would break a one-line answer, and say nothing that it does not.

    Warning filters belong to the process. The first thread in changes them and the last one out restores them:
    threads that each did so could restore each other's.
    """
    log = logging.getLogger("PIL")
    with _Silence.lock:
        if _Silence.inside == 0:
            _Silence.filters, _Silence.propagate = warnings.catch_warnings(), log.propagate
            _Silence.filters.__enter__()
            warnings.simplefilter("ignore")
            log.propagate = False  # a level would do too, but setting one costs more than decoding a small image
            log.addHandler(_Silence.nowhere)
        _Silence.inside += 1
    try:
        yield
    finally:
        with _Silence.lock:
            _Silence.inside -= 1
            if _Silence.inside == 0:
                _Silence.filters.__exit__(None, None, None)
                log.removeHandler(_Silence.nowhere)
                log.propagate = _Silence.propagate
