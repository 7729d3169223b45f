"""Images from people: files, bytes, arrays and tensors become upright RGB images, or one clear line."""

from __future__ import annotations

import io
import os
import stat
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from cifar_lit.pictures import traps
from cifar_lit.pictures.pixels import PictureError, eight_bits, from_array, from_tensor, painted, rgb, upright
from cifar_lit.terminal import one_line

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "SUFFIXES",
    "Picture",
    "PictureError",
    "eight_bits",
    "fit",
    "read",
    "upright",
]

Picture = Any  # str | os.PathLike | bytes | Image.Image | np.ndarray | torch.Tensor, which is known by its methods

MAX_BYTES = 20 * 2**20
# Pillow keeps 4 bytes a pixel, and turning or blending an image needs that twice; its JPEG decoder holds up to 6 more
# while it works. So 25 million pixels, a 24-megapixel photo, stay under 300 MB. Some need more, and get fewer pixels.
MAX_PIXELS = 25_000_000
MAX_SIDE = 65_535
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if features.check("avif") else []))
# Of files in a folder; what a file is, its content says.
SUFFIXES = (".jpg", ".jpeg", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")

_FEWER = {"WEBP": 12_500_000, "AVIF": 12_500_000, "TIFF": 20_000_000, "CMYK": 20_000_000}
_ALLOWED = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}".replace("WEBP", "WebP")
_OTHERS = {
    b"%PDF": "a PDF document",
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML or SVG document",
    b"<!doctype": "an HTML page",
    b"<html": "an HTML page",
    b"\0\0\1\0": "an icon (ICO)",
    b"PK\3\4": "a zip archive",
    b"\0\0\0\x0cjP": "JPEG 2000",
}


def read(source: Picture, name: str | None = None) -> Image.Image:
    """An upright RGB image of `source`, as a viewer would show it.

    source: a path; the bytes of a file; a PIL image; an array (H, W) or (H, W, 1|3|4), or a tensor (H, W) or
        (1|3|4, H, W), of bool, uint8, uint16 or floats in 0..1
    name: what errors call it; the path by default

    Alpha is blended over white, 16 bits are scaled to 8, EXIF orientation is honoured where it can be read. Of an
    animation or a file of several pages the first counts; of a PIL image the frame it stands at. PIL's modes I and F
    do not say their range: up to 255 counts as 8 bits, I up to 65535 as 16 bits, F up to 1 as 0..1. Colour profiles
    (ICC) are ignored. Raises PictureError.
    """
    try:
        with traps.quiet():
            return _read(source)
    except PictureError as error:
        reason = str(error)
    except UnidentifiedImageError:
        reason = f"damaged, or not an image that can be read; give {_ALLOWED}"
    except Image.DecompressionBombError:
        reason = f"more than {MAX_PIXELS / 1e6:g} million pixels; make it smaller"
    except Exception as error:  # on broken files Pillow raises whatever its parser stumbled over
        reason = f"cannot be decoded ({one_line(str(error) or type(error).__name__, 120)}); give a whole image, {_ALLOWED}"
    if not name:
        name = os.fsdecode(source) if isinstance(source, str | os.PathLike) else "image"
    raise PictureError(f"{one_line(name, 100)}: {reason}")


def fit(image: Image.Image, height: int, width: int) -> np.ndarray:
    """The middle of an RGB image as (height, width, 3) uint8.

    The shorter side is resized (bilinear, antialiased) and the middle cut out; an image of that size stays as it is.
    """
    if image.size == (width, height):
        return np.array(image)
    wide, high = image.size
    if width * high >= height * wide:
        full = width, max(height, round(high * width / wide))
    else:
        full = max(width, round(wide * height / high)), height
    left, top = (full[0] - width) // 2, (full[1] - height) // 2
    if full[0] * full[1] <= MAX_PIXELS:
        return np.array(image.resize(full, Image.Resampling.BILINEAR).crop((left, top, left + width, top + height)))
    # A thread of 1 x 10000 pixels: only the middle is resized; the same but for rounding.
    across, down = wide / full[0], high / full[1]
    right, low = min(wide, (left + width) * across), min(high, (top + height) * down)
    return np.array(image.resize((width, height), Image.Resampling.BILINEAR, (left * across, top * down, right, low)))


def _read(source: Picture) -> Image.Image:
    if isinstance(source, str | os.PathLike):
        return rgb(_decode(_content(os.fspath(source))))
    if isinstance(source, bytes | bytearray | memoryview):
        return rgb(_decode(source))
    if isinstance(source, Image.Image):
        _check_size(*source.size)
        traps.load(source)
        return rgb(source.copy())
    tensor = all(hasattr(source, method) for method in ("detach", "cpu", "numpy"))
    if tensor or isinstance(source, np.ndarray):
        array = from_tensor(source) if tensor else from_array(source)
        _check_size(array.shape[1], array.shape[0])
        return rgb(painted(array))
    raise PictureError(f"a {type(source).__name__} is no image; give a path, bytes, a PIL image, an array or a tensor")


def _content(path: str | bytes) -> bytes:
    try:
        # A pipe must not be opened, that would wait for a writer; nor a device, which may never end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise PictureError("not a regular file; give an image file")
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            return file.read(MAX_BYTES + 1)  # however large it has grown since
    except OSError as error:
        raise PictureError(f"cannot be read ({error.strerror or error}); give an image file") from None


def _decode(data: bytes | bytearray | memoryview) -> Image.Image:
    if len(data) > MAX_BYTES:
        raise PictureError(f"more than {MAX_BYTES / 2**20:g} MiB; make it smaller")
    data = bytes(data)
    if not data:
        raise PictureError("the file is empty; give an image file")
    begin = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").lower()
    if other := next((what for magic, what in _OTHERS.items() if begin.startswith(magic.lower())), None):
        raise PictureError(f"{other}, no image that can be read; give {_ALLOWED}")
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc") and b"avif" not in data[8:64]:
        raise PictureError(f"a HEIC photo, no image that can be read; give {_ALLOWED}")
    if traps.before(data):
        raise PictureError("its metadata would take too much memory or time to read; save it anew without metadata")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    fewest = min(_FEWER.get(kind or "", MAX_PIXELS) for kind in (image.format, image.mode))
    _check_size(*image.size, min(fewest, MAX_PIXELS))
    if traps.opened(image):
        raise PictureError("it would take too long to decode; save it anew as PNG")
    traps.load(image)
    return image


def _check_size(width: int, height: int, most: int | None = None) -> None:
    most = MAX_PIXELS if most is None else most
    if width < 1 or height < 1:
        raise PictureError("there are no pixels in it")
    if width * height > most:
        raise PictureError(f"{width}x{height} pixels, more than {most / 1e6:g} million; make it smaller")
    if max(width, height) > MAX_SIDE:
        raise PictureError(f"{width}x{height} pixels, a side of more than {MAX_SIDE}; make it smaller")
