"""Pixels of any kind as upright 8-bit RGB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from cifar_lit.pictures import traps
from cifar_lit.terminal import one_line

_SLACK = 0.5 / 255  # half a grey step: what rounding leaves outside 0..1
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureError(ValueError):
    """Something that is no image, or none that can be read; one line that begins with its name."""


def rgb(image: Image.Image) -> Image.Image:
    """A loaded image as upright RGB in memory of its own, without its metadata. It may change `image.info`."""
    image = eight_bits(upright(image))
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and max(clear) > 255:  # Pillow gives the 16-bit colour of an image that it made 8-bit
        image.info["transparency"] = tuple(part >> 8 for part in clear)
    if image.has_transparency_data:
        if image.mode == "La":  # converts to LA only
            image = image.convert("LA")
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        paper = Image.new("RGB", image.size, "white")
        paper.paste(image, mask=image)
        return paper
    if image.mode != "RGB":
        image = image.convert("RGB")
    elif type(image) is not Image.Image:  # it holds on to its file
        image = image.copy()
    image.info = {}  # a second reader must not turn it again
    return image


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF says; EXIF that is broken, or a trap, says nothing."""
    try:
        block = image.info.get("exif")
        if block is None and "Raw profile type exif" in image.info:
            block = bytes.fromhex("".join(image.info["Raw profile type exif"].split("\n")[3:]))
        turn = None if block and traps.greedy(block) else _TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # Pillow raises whatever its parser stumbled over
        return image
    return image if turn is None else image.transpose(turn)


def eight_bits(image: Image.Image) -> Image.Image:
    """Greys of more bits as L, scaled where Pillow's convert() would clip, LA where one grey is transparent."""
    if image.mode.startswith("I;16"):
        hidden = image.info.get("transparency")
        if not isinstance(hidden, int):
            return _paint("L", image.size, lambda box: (np.asarray(image.crop(box)) >> 8).astype(np.uint8))

        def with_alpha(box: tuple[int, int, int, int]) -> np.ndarray:
            grey = np.asarray(image.crop(box))
            return np.stack((grey >> 8, np.where(grey == hidden, 0, 255)), -1).astype(np.uint8)

        return _paint("LA", image.size, with_alpha)
    if image.mode not in ("I", "F"):
        return image
    ends = [(band.min(), band.max()) for band in (np.asarray(image.crop(box)) for box in _bands(image.size))]
    low, high = np.min([end[0] for end in ends]), np.max([end[1] for end in ends])
    most = 65535 if image.mode == "I" else 255
    if not (low >= -_SLACK and high <= most):  # NaN too
        raise PictureError(f"its values go from {low:g} to {high:g}, not 0 to {most}; save it with 8 bits a channel")
    if image.mode == "I":
        shift = 0 if high <= 255 else 8
        return _paint("L", image.size, lambda box: (np.asarray(image.crop(box)) >> shift).astype(np.uint8))
    top = 1 if high <= 1 + _SLACK else 255
    return _paint("L", image.size, lambda box: np.rint(np.asarray(image.crop(box)).clip(0, top) * (255 / top)).astype(np.uint8))


def from_tensor(tensor: Any) -> np.ndarray:
    """A torch tensor (H, W) or (1|3|4, H, W) as the array (H, W, 1|3|4); torch itself is not needed for it."""
    tensor = tensor.detach().cpu()
    try:
        array = tensor.numpy()
    except TypeError:  # numpy has no bfloat16
        array = tensor.float().numpy()
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or len(array) not in (1, 3, 4):
        raise PictureError(_shape("a tensor", tuple(tensor.shape), "(H, W), (1, H, W), (3, H, W) or (4, H, W)"))
    return array.transpose(1, 2, 0)


def from_array(array: np.ndarray) -> np.ndarray:
    """An array (H, W) or (H, W, 1|3|4) with its channels last."""
    array = np.asarray(array)
    last = array[..., None] if array.ndim == 2 else array
    if last.ndim != 3 or last.shape[2] not in (1, 3, 4):
        raise PictureError(_shape("an array", array.shape, "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"))
    return last


def _shape(what: str, shape: tuple[int, ...], allowed: str) -> str:
    return f"{what} of shape {one_line(str(shape), 60)}; give one image, {allowed}"


def painted(array: np.ndarray) -> Image.Image:
    """(H, W, 1|3|4) of bool, uint8, uint16 or floats in 0..1 as L, RGB or RGBA."""
    if array.dtype.kind == "f":
        low, high = array.min(), array.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise PictureError("it holds NaN or infinite values; give floats in 0..1")
        if low < -_SLACK or high > 1 + _SLACK:
            why = "it looks normalised, undo that" if low < -_SLACK else "divide by its largest possible value"
            raise PictureError(f"floats from {low:.4g} to {high:.4g}, not in 0..1; {why}")
    elif array.dtype not in (np.bool_, np.uint8, np.uint16):
        raise PictureError(f"values of type {one_line(str(array.dtype), 60)}; give bool, uint8, uint16 or floats in 0..1")

    def rows(box: tuple[int, int, int, int]) -> np.ndarray:
        band = array[box[1] : box[3]]
        if band.dtype.kind == "f":
            band = np.rint(band.astype(np.float32).clip(0, 1) * 255)
        elif band.dtype != np.uint8:
            band = band * np.uint8(255) if band.dtype == np.bool_ else band >> 8
        return np.ascontiguousarray(band[..., 0] if band.shape[2] == 1 else band, np.uint8)

    return _paint({1: "L", 3: "RGB", 4: "RGBA"}[array.shape[2]], (array.shape[1], array.shape[0]), rows)


def _bands(size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Boxes of about a million pixels: what is computed on arrays takes little memory."""
    step = max(1, 2**20 // size[0])
    return [(0, top, size[0], min(size[1], top + step)) for top in range(0, size[1], step)]


def _paint(mode: str, size: tuple[int, int], pixels: Callable[[tuple[int, int, int, int]], np.ndarray]) -> Image.Image:
    image = Image.new(mode, size)
    for box in _bands(size):
        image.paste(Image.fromarray(pixels(box)), box)
    return image
