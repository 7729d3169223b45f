import io

import numpy as np
import pytest
import torch
from picture_checks import PIXELS, WHITE, encoded, pixels, refused
from PIL import Image

from cifar_lit import pictures
from cifar_lit.data import folder
from cifar_lit.pictures import fit, read


def test_every_kind_of_source_gives_the_same_pixels(tmp_path):
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "a.png")
    scaled = PIXELS / 255
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), encoded(image), bytearray(encoded(image)), memoryview(encoded(image))]
    sources += [image, Image.open(tmp_path / "a.png"), PIXELS, PIXELS.astype(np.uint16) * 257, scaled, scaled.astype(np.float32)]
    sources += [PIXELS[::-1][::-1], PIXELS.astype(">u2") * 256, np.asfortranarray(PIXELS)]
    sources += [
        tensor,
        tensor.contiguous(),
        tensor / 255,
        (tensor / 255).double().requires_grad_(),
        tensor.to(torch.uint16) * 257,
    ]
    for source in sources:
        assert (pixels(source) == PIXELS).all(), type(source)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_tensors_of_few_bits_come_as_near_as_they_can(kind):
    tensor = (torch.from_numpy(PIXELS).permute(2, 0, 1) / 255).to(kind)
    assert abs(pixels(tensor).astype(int) - PIXELS).max() <= 1


def test_greys_and_bools():
    grey = PIXELS[..., 0]
    for source in (grey, grey[..., None], torch.from_numpy(grey), torch.from_numpy(grey)[None], Image.fromarray(grey)):
        assert (pixels(source) == grey[..., None]).all()
    assert (pixels(grey > 99) == np.where(grey > 99, 255, 0)[..., None]).all()
    assert (pixels(torch.from_numpy(grey) > 99) == np.where(grey > 99, 255, 0)[..., None]).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_alpha_is_blended_over_white(kind):
    full = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[kind]
    array = np.zeros((1, 3, 4), kind)
    array[0, :, 0] = full  # red: opaque, half and clear
    array[0, :, 3] = [full, full * 128 // 255 if full > 1 else 128 / 255, 0]
    wanted = [(255, 0, 0), (255, 127, 127), WHITE]
    assert (pixels(array) == wanted).all()
    assert (pixels(torch.from_numpy(array).permute(2, 0, 1)) == wanted).all()


def clear_left(image):
    """A picture of two pixels as each mode with transparency, the left clear and the right black."""
    alpha = Image.fromarray(np.array([[0, 255]], np.uint8))
    image = image.copy()
    image.putalpha(alpha)
    return image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "La", "RGBa", "PA"])
def test_modes_with_alpha(mode):
    image = clear_left(Image.new("L" if mode[0] == "L" else "RGB", (2, 1)))
    if mode == "PA":
        image = Image.new("P", (2, 1))
        image.putpalette([0, 0, 0])
        image = clear_left(image)
    elif image.mode != mode:
        image = image.convert(mode)
    assert image.mode == mode
    assert (pixels(image) == [WHITE, (0, 0, 0)]).all()


@pytest.mark.parametrize(
    ("image", "transparency", "wanted"),
    [
        (Image.fromarray(np.array([[0, 1]], np.uint8)).convert("L"), 1, [(0, 0, 0), WHITE]),
        (Image.fromarray(np.array([[[1, 2, 3], [0, 0, 9]]], np.uint8)), (1, 2, 3), [WHITE, (0, 0, 9)]),
        (Image.fromarray(np.array([[300, 301]], np.uint16)), 300, [WHITE, (1, 1, 1)]),
        (Image.new("1", (2, 1)), 0, [WHITE, WHITE]),
    ],
    ids=["L", "RGB", "I;16", "1"],
)
def test_one_colour_may_be_transparent(image, transparency, wanted):
    assert (pixels(encoded(image, transparency=transparency)) == wanted).all()


def test_transparent_palettes():
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 255, 255, 0, 0])
    image.putpixel((1, 0), 1)
    assert (pixels(encoded(image, transparency=bytes([0, 128]))) == [WHITE, (255, 127, 127)]).all()
    assert (pixels(encoded(image, "GIF", transparency=1)) == [(0, 0, 255), WHITE]).all()
    assert (pixels(encoded(image)) == [(0, 0, 255), (255, 0, 0)]).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "LAB", "RGBX"])
def test_other_modes_look_as_they_should(mode):
    source = Image.new("RGB", (3, 2), (200, 200, 200) if mode in ("1", "L") else (200, 30, 60))
    image = source.convert(mode, dither=Image.Dither.NONE)
    wanted = WHITE if mode == "1" else source.getpixel((0, 0))
    assert image.mode == mode
    assert abs(pixels(image).astype(int) - wanted).max() <= (25 if mode == "P" else 3)


def test_cmyk_jpeg_is_stored_inverted_and_tiff_is_not():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert abs(pixels(encoded(image, "JPEG", quality=100)).astype(int) - (255, 0, 0)).max() <= 3
    assert (pixels(encoded(image, "TIFF")) == (255, 0, 0)).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_greys_are_scaled_not_clipped(kind):
    values = np.array([[0, 255, 256, 30000, 65535]], np.uint16)
    assert (pixels(encoded(Image.fromarray(values), kind)) == [[[v] * 3 for v in (0, 0, 1, 117, 255)]]).all()


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_both_byte_orders_of_16_bits(mode):
    image = Image.new(mode, (2, 2), 30000)
    assert (pixels(image) == 117).all()


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.array([[0, 77, 255]], np.int32), (0, 77, 255)),
        (np.array([[0, 256, 65535]], np.int32), (0, 1, 255)),
        (np.array([[0, 0.5, 1]], np.float32), (0, 128, 255)),
        (np.array([[0, 77, 255]], np.float32), (0, 77, 255)),
    ],
    ids=["I of 8 bits", "I of 16 bits", "F to 1", "F to 255"],
)
def test_modes_without_a_range(values, wanted):
    for source in (Image.fromarray(values), encoded(Image.fromarray(values), "TIFF")):
        assert pixels(source)[0, :, 0].tolist() == list(wanted)


@pytest.mark.parametrize("values", [[[0, 65536]], [[-1, 5]], [[0.0, 256.5]], [[-0.5, 0.5]], [[np.nan, 1.0]], [[1.0, np.nan]]])
def test_values_out_of_any_range_are_refused(values):
    array = np.array(values, np.int32 if isinstance(values[0][0], int) else np.float32)
    refused(Image.fromarray(array), "values", "8 bits")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind, orientation):
    if kind not in pictures.FORMATS:
        pytest.skip("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[0x0112] = orientation
    corners = np.zeros((16, 32, 3), np.uint8)
    corners[:8, :16], corners[:8, 16:], corners[8:, :16] = 255, 160, 80
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind in ("JPEG", "AVIF") else {}
    got = pixels(encoded(Image.fromarray(corners), kind, exif=exif, **options))
    # EXIF 2.32, 4.6.5: which side of what is seen the first row and the first column of the file are.
    turned = {
        1: corners,
        2: corners[:, ::-1],
        3: corners[::-1, ::-1],
        4: corners[::-1],
        5: corners.transpose(1, 0, 2),
        6: corners[::-1].transpose(1, 0, 2),
        7: corners[::-1, ::-1].transpose(1, 0, 2),
        8: corners.transpose(1, 0, 2)[::-1],
    }[orientation]
    assert got.shape == turned.shape
    assert abs(got.astype(int) - turned).max() <= (8 if kind in ("JPEG", "AVIF") else 0)


def test_an_opened_photo_is_turned_once_and_left_alone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    photo = Image.open(tmp_path / "a.jpg")
    image = read(photo)
    assert image.size == (4, 8) and photo.size == (8, 4) and photo.getexif()[0x0112] == 6
    assert read(image).size == (4, 8)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense" * 9, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_broken_exif_is_ignored(exif):
    for kind in ("PNG", "JPEG", "WEBP"):
        assert pixels(encoded(Image.fromarray(PIXELS), kind, exif=exif)).shape == (5, 7, 3)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_that_do_not_exist_are_ignored(value):
    exif = Image.Exif()
    exif[0x0112] = value
    assert (pixels(encoded(Image.fromarray(PIXELS), exif=exif)) == PIXELS).all()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_counts(kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (pixels(data) == (255, 0, 0)).all()


def test_of_a_pil_image_the_frame_it_stands_at():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    image = Image.open(io.BytesIO(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    image.seek(1)
    assert (pixels(image) == (0, 0, 255)).all()


def test_what_is_returned_shares_nothing_with_the_source():
    image, array = Image.fromarray(PIXELS), PIXELS.copy()
    read(image).putpixel((0, 0), (1, 1, 1))
    read(array).putpixel((0, 0), (1, 1, 1))
    assert (np.asarray(image) == PIXELS).all() and (array == PIXELS).all()


def test_fit_leaves_an_image_of_that_size_alone():
    result = fit(Image.fromarray(PIXELS), 5, 7)
    assert (result == PIXELS).all() and result.flags.writeable


@pytest.mark.parametrize("size", [(32, 64), (64, 32), (100, 37), (31, 33), (7, 500)])
def test_fit_is_what_data_folder_does(tmp_path, size):
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    assert (folder.read(str(tmp_path / "a.png"), 32) == fit(read(tmp_path / "a.png"), 32, 32)).all()
    short = min(size)  # said once more in other words: resize the whole, cut the middle
    whole = Image.fromarray(noise).resize([max(32, round(side * 32 / short)) for side in size], Image.Resampling.BILINEAR)
    left, top = (whole.width - 32) // 2, (whole.height - 32) // 2
    assert (fit(Image.fromarray(noise), 32, 32) == np.asarray(whole)[top : top + 32, left : left + 32]).all()


def test_fit_to_what_is_not_square():
    stripes = np.zeros((40, 90, 3), np.uint8)
    stripes[:, 30:60] = 200
    result = fit(Image.fromarray(stripes), 20, 10)
    assert result.shape == (20, 10, 3) and (result == 200).all()
    assert fit(Image.fromarray(stripes), 10, 40).shape == (10, 40, 3)


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (65_535, 1), (1, 65_535), (1, 1)])
@pytest.mark.parametrize("side", [32, 224])
def test_fit_of_extreme_shapes(size, side):
    result = fit(Image.new("RGB", size, (9, 99, 200)), side, side)
    assert result.shape == (side, side, 3) and (result == (9, 99, 200)).all()


def test_the_shortcut_for_extreme_shapes_only_rounds_otherwise(monkeypatch):
    for size in ((3, 200), (200, 3), (50, 70), (9, 9)):
        image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (size[1], size[0], 3), np.uint8))
        whole = fit(image, 16, 24)
        with monkeypatch.context() as patch:
            patch.setattr(pictures, "MAX_PIXELS", 0)
            assert abs(fit(image, 16, 24).astype(int) - whole).max() <= 1
