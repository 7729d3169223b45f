"""The files that tests/test_hostile_images.py reads: odd, damaged, or made to exhaust memory or time."""

import random
import struct
import zlib

from hostile_files import (
    GREEN,
    RED,
    Case,
    bmp,
    chunk,
    exif,
    gif,
    jpeg,
    plain,
    png,
    refused,
    saved,
    segment,
    shows,
    tags,
    tiff,
    webp,
)
from PIL import Image, ImageCms, features


def formats():
    """The ordinary file of each format."""
    yield "jpeg", saved(plain(), "JPEG")
    yield "jpeg_progressive", saved(plain(), "JPEG", progressive=True)
    yield "png", saved(plain(), "PNG")
    yield "webp", saved(plain(), "WEBP")
    yield "webp_lossless", saved(plain(), "WEBP", lossless=True)
    yield "gif", saved(plain(), "GIF")
    yield "bmp", saved(plain(), "BMP")
    yield "tiff", saved(plain(), "TIFF")
    yield "tiff_lzw", saved(plain(), "TIFF", compression="tiff_lzw")
    yield "tiff_jpeg", saved(plain(), "TIFF", compression="jpeg")
    yield "tiff_deflated", saved(plain(), "TIFF", compression="tiff_adobe_deflate")
    if features.check("avif"):
        yield "avif", saved(plain(), "AVIF")


def odd():
    """Files that a person may well have."""
    for kind, data in formats():
        yield f"{kind}.dat", shows(data, near=10)
        yield f"{kind}_called.txt.png", shows(data, near=10)
        yield f"{kind}_with_a_tail", shows(data + b"trailing bytes" * 99, near=10)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        yield f"one_pixel.{kind}", shows(saved(plain(size=(1, 1)), kind), (1, 1), near=6)
        yield f"thread.{kind}", shows(saved(plain(size=(1, 5000)), kind), (1, 5000), near=6)
    for mode in ("L", "LA", "P", "RGBA"):
        yield f"mode_{mode}.png", shows(saved(plain((200, 200, 200), mode="RGB").convert(mode), "PNG"), colour=(200, 200, 200))
    yield "mode_1.png", shows(saved(plain((255, 255, 255), mode="1"), "PNG"), colour=(255, 255, 255))
    yield "mode_I16.png", shows(saved(Image.new("I;16", (32, 24), 200 * 257), "PNG"), colour=(200, 200, 200))
    yield "grey_alpha.png", shows(saved(Image.new("LA", (32, 24), (0, 0)), "PNG"), colour=(255, 255, 255))
    half = Image.new("RGBA", (32, 24), (0, 0, 0, 128))
    yield "half_clear.webp", shows(saved(half, "WEBP", lossless=True), colour=(127, 127, 127))
    yield "cmyk.jpg", shows(saved(plain(mode="CMYK"), "JPEG"), near=6)
    yield "cmyk.tif", shows(saved(plain(mode="CMYK"), "TIFF"))
    yield "ycbcr.tif", shows(saved(plain(mode="YCbCr"), "TIFF", compression="tiff_lzw"))
    yield "lab.tif", shows(saved(plain(mode="LAB"), "TIFF"))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield "profile.png", shows(saved(plain(), "PNG", icc_profile=profile))
    yield "profile_nonsense.jpg", shows(saved(plain(), "JPEG", icc_profile=b"nonsense" * 20_000))
    yield "interlaced.png", shows(png(interlace=1, size=(1, 1)), (1, 1))
    rgb16 = b"".join(b"\0" + struct.pack(">HHH", *(part * 256 + 7 for part in RED)) * 4 for _ in range(4))
    yield "rgb16.png", shows(png(bits=16, pixels=rgb16), (4, 4))
    yield (
        "rgb16_clear.png",
        shows(
            png(chunk(b"tRNS", struct.pack(">HHH", *(part * 256 + 7 for part in RED))), bits=16, pixels=rgb16),
            (4, 4),
            (255, 255, 255),
        ),
    )
    for orientation in range(1, 9):
        turned = (24, 32) if orientation > 4 else (32, 24)
        for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
            yield f"turned{orientation}.{kind}", shows(saved(plain(), kind, exif=exif(orientation)), turned)
    frames = [plain((index % 250, 160, 90), (16, 16)) for index in range(1000)]
    yield "frames1000.gif", shows(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), (16, 16), (0, 160, 90))
    few = [plain(GREEN), plain(RED)]
    for kind in ("PNG", "WEBP", "TIFF", "GIF", *(["AVIF"] if features.check("avif") else [])):
        yield f"frames.{kind}", shows(saved(few[0], kind, save_all=True, append_images=few[1:]), colour=GREEN, near=8)
    yield "phone.mpo", shows(saved(few[0], "MPO", save_all=True, append_images=few[1:]), colour=GREEN)
    yield "phone_turned.mpo", shows(saved(few[0], "MPO", save_all=True, append_images=few[1:], exif=exif(6)), (24, 32), GREEN)
    yield "motion_photo.jpg", shows(saved(plain(), "JPEG") + random.Random(1).randbytes(2_000_000))
    yield "scans_behind_the_end.jpg", shows(saved(plain(), "JPEG") + b"\0\2" + b"\xff\xda\0\2" * 1000)
    yield "upside_down.bmp", shows(bmp(height=-4), (4, 4))
    yield "bits32.bmp", shows(bmp(bits=32, body=bytes((*RED[::-1], 0)) * 16), (4, 4))
    runs = bmp(bits=8, compression=1, body=b"\4\0\0\0" * 3 + b"\4\0\0\1", palette=bytes((*RED[::-1], 0)) * 2)
    yield "run_lengths.bmp", shows(runs, (4, 4))
    yield "exif_of_thumbnails.jpg", shows(jpeg(segment(0xE1, b"Exif\0\0" + tags([(270, 2, 60_000, 26)], 60_100))))
    yield "comment.gif", shows(gif(before=b"\x21\xfe" + (b"\x0a" + b"a" * 10) * 500 + b"\0"), (4, 4))
    yield "text.png", shows(png(chunk(b"tEXt", b"Comment\0" + b"a" * 500_000)), (4, 4))
    yield "grey.tif", shows(tiff(), (4, 4), (77, 77, 77))
    yield "grey16.tif", shows(tiff(bits=16), (4, 4), (77, 77, 77))
    many = [(tag, 3, 1, 1) for tag in range(50_000, 52_000)]
    yield "tags2000.tif", shows(tiff(extra=many), (4, 4), (77, 77, 77))


def other():
    """Files of other kinds, and none at all."""
    yield "empty.png", refused(b"", "the file is empty")
    yield "text.jpg", refused(b"this is no image\n" * 9, "damaged, or not an image", "PNG")
    yield "drawing.svg", refused(b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG")
    yield "drawing_xml.svg", refused(b'\xef\xbb\xbf<?xml version="1.0"?><svg/>', "SVG")
    yield "document.pdf", refused(b"%PDF-1.7\n", "PDF", "give JPEG, PNG, WebP")
    yield "script.eps", refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript")
    yield "script_with_preview.eps", refused(b"\xc5\xd0\xd3\xc6" + bytes(99), "PostScript")
    yield "icon.ico", refused(saved(plain(), "ICO"), "icon")
    yield "icon.png", refused(saved(plain(), "ICO"), "icon")
    yield "page.html", refused(b"\n<!DOCTYPE html><html><body>404</body></html>", "HTML")
    yield "archive.zip", refused(b"PK\3\4" + bytes(99), "zip")
    yield "photo.heic", refused(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "HEIC")
    for kind in ("PPM", "TGA", "PCX", "ICNS", "JPEG2000", "DDS", "SGI", "IM", "MSP", "XBM", "PDF", "EPS"):
        image = plain(mode="1") if kind in ("MSP", "XBM") else plain(size=(32, 32))
        yield f"kind.{kind}", refused(saved(image, kind), "give JPEG, PNG")
    for name, head in (("png", b"\x89PNG\r\n\x1a\n"), ("jpg", b"\xff\xd8\xff"), ("gif", b"GIF89a"), ("bmp", b"BM")):
        yield f"head_only.{name}", refused(head, "give")
        yield f"head_and_zeros.{name}", refused(head + bytes(999), "give")
        yield f"head_and_noise.{name}", refused(head + random.Random(name).randbytes(999))
    for head in (b"II*\0", b"MM\0*", b"II+\0", b"RIFF\x20\0\0\0WEBP", b"\0\0\0\x20ftypavif"):
        for index, tail in enumerate((b"", bytes(999), b"\xff" * 999, random.Random(head).randbytes(999))):
            yield f"head_{head.hex()}_{index}", refused(head + tail, "give")
    yield "noise", refused(random.Random(0).randbytes(100_000), "damaged")
    yield "zeros", refused(bytes(100_000), "damaged")


def damaged():
    """Each format cut off at many places, and with bits flipped: the whole picture or a refusal, or no crash at least."""
    for kind, data in formats():
        cuts = {*range(1, 40, 6), *(len(data) * part // 16 for part in range(1, 16)), len(data) - 2, len(data) - 1}
        for cut in sorted(cuts):
            yield f"cut_{kind}_{cut}", Case(data[:cut], same=f"{kind}.dat")
        noise = random.Random(kind)
        for index in range(20):
            broken = bytearray(data)
            for _ in range(1 + index % 4):
                broken[noise.randrange(len(data))] ^= 1 << noise.randrange(8)
            yield f"flipped_{kind}_{index}", Case(bytes(broken))


def huge():
    """Few bytes that claim, or unfold to, far too much."""
    million = "million"
    yield "bomb.png", refused(png(size=(50_000, 50_000), pixels=b""), million)
    yield "bomb_half.png", refused(png(size=(12_000, 12_000), pixels=bytes(10**6)), million)
    yield "bomb_side.png", refused(png(size=(70_000, 2), pixels=b"\0" * (2 * 210_001)), "65535")
    yield "bomb_max.png", refused(png(size=(2**31 - 1, 2**31 - 1), pixels=b""), million)
    yield "no_pixels.png", refused(png(size=(0, 4)))
    data = saved(plain(), "JPEG", progressive=True)
    frame = data.index(b"\xff\xc2") + 5
    yield "bomb_progressive.jpg", refused(data[:frame] + b"\xff\xff\xff\xff" + data[frame + 4 :], million)
    yield "promises.jpg", refused(data[:frame] + b"\x13\x88\x13\x88" + data[frame + 4 :][:-20], "cannot be decoded")
    yield "no_pixels.jpg", refused(data[:frame] + bytes(4) + data[frame + 4 :])
    yield "bomb.gif", refused(gif((65_535, 65_535)), million)
    yield "bomb.webp", refused(webp((16_383, 16_383)), "give")
    yield "bomb_wide.webp", refused(webp((2**24, 200)), "give")
    for width, height in ((2**30, 2**30), (40_000, 40_000), (2**31 - 1, -(2**31)), (-4, 4), (0, 4), (4, 0)):
        yield f"bomb_{width}_{height}.bmp", refused(bmp(width, height))
    yield "promises.bmp", refused(bmp(5000, 5000), "cannot be decoded")
    yield "far_pixels.bmp", refused(bmp(offset=2**31), "cannot be decoded")
    yield "runs_delta.bmp", refused(bmp(25_000_000, 1, 8, 1, b"\0\2\xff\xff" * 9, palette=bytes(1024)))
    yield "runs_long.bmp", refused(bmp(4900, 4900, 8, 1, b"\1\5" * 10**6, palette=bytes(1024)), "too long")
    yield "bomb.tif", refused(tiff((2**16, 2**16), body=b"x" * 99), million)
    yield "bomb_deflated.tif", refused(tiff((60_000, 60_000), compression=8, body=zlib.compress(bytes(10**7))), million)
    yield "promises.tif", refused(tiff((4000, 4000), body=b"x" * 99), "cannot be decoded")
    yield "strip_nowhere.tif", refused(tiff(t273=(4, 1, 2**32 - 1)), "cannot be decoded")
    yield "no_strip.tif", refused(tiff(t273=(4, 0, 0)))
    yield "strip_of_gigabytes.tif", refused(tiff(compression=8, strip=2**32 - 1))
    yield "strips.tif", refused(tiff(t273=(4, 10**6, 200), t279=(4, 10**6, 200), body=bytes(4 * 10**6 + 200)), "metadata")
    yield "strips_as_bytes.tif", refused(tiff(t273=(7, 10**7, 200), body=bytes(10**7 + 200)), "metadata")
    stack = tiff((4000, 1000), rows=500, t273=(4, 20_000, 200), t279=(4, 20_000, 200), body=bytes(4_000_000))
    yield "strips_on_strips.tif", refused(stack, "too long")
    yield "samples.tif", refused(tiff(samples=60_000, body=b"x" * 99))
    yield "samples_long.tif", refused(tiff(t277=(4, 1, 2**32 - 1)))
    shared = [(40_000 + tag, 7, 500_000, 100) for tag in range(1000)]
    yield "shared_tags.tif", refused(tiff(extra=shared, body=bytes(500_000)), "metadata")
    nested = tags([(33_000 + tag, 7, 300_000, 100) for tag in range(1000)], 320_000)[8:]
    yield "shared_nested.tif", refused(tiff(extra=[(0x8769, 4, 1, 8 + 2 + 120 + 4 + 16)], body=bytes(16) + nested), "metadata")
    yield "tags65535.tif", refused(tiff(extra=[(tag, 3, 1, 1) for tag in range(700, 65_000)]), "metadata")
    yield "circle.tif", shows(_circle(), (4, 4), (77, 77, 77))
    shared = tags([(40_000 + tag, 7, 32_000, 100) for tag in range(2600)], 65_000)
    yield "shared_exif.jpg", refused(jpeg(segment(0xE1, b"Exif\0\0" + shared)), "metadata")
    long = tags([(40_000 + tag, 7, 300_000, 100) for tag in range(4000)], 500_000)
    parts = [segment(0xE1, b"Exif\0\0" + long[at : at + 65_000]) for at in range(0, len(long), 65_000)]
    yield "shared_exif_parts.jpg", refused(jpeg(*parts), "metadata")
    yield "shared_mpf.jpg", refused(jpeg(segment(0xE2, b"MPF\0" + shared)), "metadata")
    yield "shared_exif.png", shows(png(chunk(b"eXIf", long)), (4, 4))
    profile = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n500000\n" + long[:400_000].hex().encode())
    yield "shared_exif_text.png", shows(png(chunk(b"zTXt", profile)), (4, 4))
    yield "shared_exif.webp", shows(saved(plain(), "WEBP", exif=b"Exif\0\0" + long))
    if features.check("avif"):
        data = saved(plain(), "AVIF", exif=b"Exif\0\0" + tags([(270, 2, 60_000, 26)], 500_000))
        yield "exif.avif", shows(data, near=10)
        at = data.index(b"II*\0")
        yield "shared_exif.avif", refused(data[:at] + long + data[at + len(long) :], "metadata")
        yield "headers.avif", refused(data + b"II*\0" * 10**5, "metadata")
    bomb = zlib.compress(bytes(200_000_000), 9)
    yield "text_bomb.png", refused(png(chunk(b"zTXt", b"Comment\0\0" + bomb)), "cannot be decoded")
    texts = [chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10**6)))] * 100
    yield "text_bombs.png", refused(png(*texts), "cannot be decoded")
    yield "text_bomb_after.png", Case(png(after=[chunk(b"iTXt", b"Comment\0\1\0\0\0" + bomb)]), same="rgb4.png")
    yield "rgb4.png", shows(png(), (4, 4))
    yield "profile_bomb.png", Case(png(chunk(b"iCCP", b"name\0\0" + bomb)), same="rgb4.png")
    yield "pixels_bomb.png", shows(png(pixels=b"".join(b"\0" + bytes(RED) * 4 for _ in range(4)) + bytes(10**8)), (4, 4))
    yield "chunks.png", refused(png(chunk(b"abCd", b"") * 10**6), "metadata")
    yield "segments.jpg", refused(jpeg(segment(0xFE, b"") * 10**6), "metadata")
    yield "filling.jpg", refused(jpeg(b"\xff" * 10**7), "metadata")
    data = saved(plain(size=(4000, 4000)), "JPEG", progressive=True)
    yield "scans.jpg", refused(data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 5000 + data[-2:], "metadata")
    yield "comments.gif", refused(gif(before=b"\x21\xfe" + (b"\xff" + b"a" * 255) * 75_000 + b"\0"), "metadata")
    yield "comments_many.gif", refused(gif(before=(b"\x21\xfe\x01a\0") * 10**6), "metadata")
    yield "too_many_bytes.png", refused(saved(plain(), "PNG") + bytes(20 * 2**20), "20 MiB")


def _circle():
    """A TIFF whose directory names itself as the next."""
    data = bytearray(tiff())
    end = 10 + 12 * struct.unpack_from("<H", data, 8)[0]
    data[end : end + 4] = struct.pack("<L", 8)
    return bytes(data)


def _deep():
    """A TIFF of one deflated strip, 16 bits in each of R, G, B and alpha, all 51400."""
    at = 8 + 2 + 12 * 10 + 4  # behind the ten tags: the bits of each channel, then the strip
    body = struct.pack("<4H", 16, 16, 16, 16) + zlib.compress(bytes([200, 200]) * (5000 * 4000 * 4), 1)
    options = {"t258": (3, 4, at), "t273": (4, 1, at + 8), "t338": (3, 1, 2), "strip": len(body) - 8}
    return tiff((5000, 4000), samples=4, photometric=2, compression=8, body=body, **options)


def largest():
    """The largest that are allowed, where a decoder and a turn take the most memory; and one row more."""
    turn = exif(6)
    wide = plain(size=(5000, 5000))
    yield "largest.jpg", shows(saved(wide, "JPEG", progressive=True, subsampling=0, exif=turn), (5000, 5000))
    yield "largest_clear.png", shows(saved(wide.convert("RGBA"), "PNG", compress_level=1, exif=turn), (5000, 5000))
    palette = plain(size=(4, 4)).quantize(2).resize(wide.size)
    yield "largest_palette.gif", shows(saved(palette, "GIF", transparency=1), (5000, 5000))
    grey16 = Image.new("I;16", (5000, 5000), 50_000)
    yield "largest_16_bits.png", shows(saved(grey16, "PNG", compress_level=1, exif=turn), (5000, 5000), (195, 195, 195))
    yield "larger.png", refused(saved(plain(size=(5000, 5001)), "PNG", compress_level=1), "25 million")
    cmyk = Image.new("CMYK", (5000, 4000), (0, 255, 255, 0))
    yield "largest_cmyk.jpg", shows(saved(cmyk, "JPEG", progressive=True, exif=turn), (4000, 5000), (255, 0, 0))
    yield "larger_cmyk.jpg", refused(saved(cmyk.resize((5000, 4001)), "JPEG"), "20 million")
    yield "largest_deep.tif", shows(_deep(), (5000, 4000), (211, 211, 211), near=2)
    some = plain(size=(3125, 4000))
    yield "largest.webp", shows(saved(some, "WEBP", method=0, exif=turn), (4000, 3125))
    yield (
        "largest_lossless.webp",
        shows(saved(some.convert("RGBA"), "WEBP", lossless=True, method=0, quality=0, exif=turn), (4000, 3125)),
    )
    yield "larger.webp", refused(saved(plain(size=(3126, 4000)), "WEBP", method=0), "12.5 million")
    if features.check("avif"):
        yield "largest.avif", shows(saved(some, "AVIF", speed=10, subsampling="4:4:4"), (3125, 4000), near=10)


def corpus():
    yield "warm.png", shows(saved(plain(), "PNG"))
    yield "warm.gif", shows(saved(plain(), "GIF"))
    for part in (odd, other, damaged, huge, largest):
        yield from part()
