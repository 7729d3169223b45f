"""Image files put together by hand, for tests/hostile_corpus.py."""

import io
import struct
import zlib
from dataclasses import dataclass

from PIL import Image

RED, GREEN = (200, 30, 60), (40, 160, 90)


@dataclass
class Case:
    """A file and what it must give: a colour and size, words of a refusal, or `same`: the picture of another or a refusal."""

    data: bytes
    size: tuple[int, int] | None = None
    colour: tuple[int, int, int] | None = None
    words: tuple[str, ...] | None = None
    same: str | None = None
    near: int = 4


def plain(colour=RED, size=(32, 24), mode="RGB"):
    return Image.new("RGB", size, colour).convert(mode)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind, data, crc=None):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)


def png(*extra, size=(4, 4), bits=8, colour=2, interlace=0, pixels=None, crc=None, data_crc=None, after=()):
    """A PNG put together by hand; `extra` chunks before the pixels, `after` behind them."""
    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, interlace)
    pixels = b"".join(b"\0" + bytes(RED) * size[0] for _ in range(size[1])) if pixels is None else pixels
    chunks = [chunk(b"IHDR", header, crc), *extra, chunk(b"IDAT", zlib.compress(pixels), data_crc), *after, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg(*segments, **options):
    data = saved(plain(), "JPEG", **options)
    return data[:2] + b"".join(segments) + data[2:]


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def tags(entries, total=0, order="<"):
    """A TIFF directory at byte 8: (tag, type, count, value or place)."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    body = b"".join(struct.pack(order + "HHLL", *entry) for entry in entries)
    return (head + struct.pack(order + "LH", 8, len(entries)) + body + bytes(4)).ljust(total, b"\1")


def tiff(size=(4, 4), strip=None, bits=8, samples=1, photometric=1, compression=1, extra=(), rows=None, body=None, **replaced):
    """A TIFF of one strip put together by hand."""
    body = bytes([77]) * (size[0] * size[1] * samples * bits // 8) if body is None else body
    entries = {256: (4, 1, size[0]), 257: (4, 1, size[1]), 258: (3, 1, bits), 259: (3, 1, compression), 262: (3, 1, photometric)}
    entries |= {273: (4, 1, 0), 277: (3, 1, samples), 278: (4, 1, rows or size[1]), 279: (4, 1, strip or len(body))}
    entries |= {int(key[1:]): value for key, value in replaced.items()}
    entries |= {entry[0]: entry[1:] for entry in extra}
    length = 8 + 2 + 12 * len(entries) + 4
    if entries[273] == (4, 1, 0):
        entries[273] = (4, 1, length)
    return tags([(tag, *entries[tag]) for tag in sorted(entries)]) + body


def bmp(width=4, height=4, bits=24, compression=0, body=None, offset=54, palette=b""):
    body = bytes(RED[::-1]) * 16 if body is None else body
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(body), 0, 0, len(palette) // 4, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, offset + len(palette)) + info + palette + body


def gif(size=(4, 4), before=b"", trailer=True):
    data = saved(plain(size=(4, 4)).quantize(2), "GIF")
    table = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:6] + struct.pack("<HH", *size) + data[10:table] + before + data[table : None if trailer else -1]


def webp(size):
    """An extended WebP whose canvas has this size, with a small still image in it."""
    image = saved(plain(), "WEBP")[12:]
    sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + sides + image
    return b"RIFF" + struct.pack("<I", len(body)) + body


def refused(data, *words):
    return Case(data, words=words)


def shows(data, size=(32, 24), colour=RED, near=4):
    return Case(data, size, colour, near=near)
