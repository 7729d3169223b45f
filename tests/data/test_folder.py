import os

import numpy as np
import pytest
from PIL import Image

from cifar_lit.data import folder
from cifar_lit.data.dataset import DataError


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


def paint(path, size=(8, 8), seed=0, **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


@pytest.fixture
def root(tmp_path):
    """Two classes; 3 training and 2 test images in each, of 8x8 pixels, in the lossless formats."""
    for split, number in (("train", 3), ("test", 2)):
        for name in ("cat", "ant"):
            for index in range(number):
                if index % 2:
                    paint(tmp_path / "data" / split / name / f"{index}.png", seed=index)
                else:
                    paint(tmp_path / "data" / split / name / f"{index}.WebP", seed=index, lossless=True)
    return tmp_path / "data"


def refused(call, *words):
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, message


def test_loads_classes_in_alphabetical_order_and_exact_pixels(root):
    dataset = folder.load(root)
    assert dataset.name == "folder" and dataset.classes == ("ant", "cat")
    assert dataset.superclasses == () and dataset.superclass_of == ()
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1] and dataset.test.labels.tolist() == [0, 0, 1, 1]
    assert dataset.train.labels.dtype == np.int64
    wanted = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    assert (dataset.train.images[1] == wanted).all() and (dataset.train.images[4] == wanted).all()
    scaled = dataset.train.images / 255
    assert np.allclose(dataset.mean, scaled.mean((0, 1, 2)), atol=1e-4)
    assert np.allclose(dataset.std, scaled.std((0, 1, 2)), atol=1e-4)


def test_count_reads_listings_only(root, monkeypatch):
    monkeypatch.setattr(folder.Image, "open", None)
    assert folder.count(root) == (6, 4)
    assert folder.count(str(root)) == (6, 4)


def test_second_load_decodes_nothing_until_a_file_changes(root, monkeypatch):
    folder.load(root)
    with monkeypatch.context() as patch:
        patch.setattr(folder, "decode", None)
        folder.load(root)
    wanted = paint(root / "train" / "ant" / "0.WebP", seed=99, lossless=True)
    os.utime(root / "train" / "ant" / "0.WebP", ns=(1, 1))
    assert (folder.load(root).train.images[0] == wanted).all()


def test_each_image_size_has_its_own_cache(root):
    assert folder.load(root).train.images.shape == (6, 8, 8, 3)
    assert folder.load(root, 4).train.images.shape == (6, 4, 4, 3)
    assert len([path for path in (root / ".cifar_lit_cache").iterdir() if path.is_dir()]) == 2


def test_shared_size_need_not_be_square(root):
    for path in list(root.rglob("*.[pW]*")):
        paint(path, (6, 9))
    assert folder.load(root).train.images.shape == (6, 9, 6, 3)


def test_different_sizes_ask_for_image_size(root):
    paint(root / "test" / "cat" / "1.png", (8, 9))
    refused(lambda: folder.load(root), root / "test" / "cat" / "1.png", "8x9", "8x8", "data.image_size")
    assert folder.load(root, 8).test.images.shape == (4, 8, 8, 3)


def test_resize_takes_the_shorter_side_then_the_middle(tmp_path):
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    for name in ("wide.png", "tall.png"):
        image = folder.read(str(tmp_path / name), 10)
        assert image.shape == (10, 10, 3) and (image[2:-2, 2:-2] == 200).all()


def test_resize_is_antialiased(tmp_path):
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[::2] = 255
    Image.fromarray(pixels).save(tmp_path / "lines.png")
    image = folder.read(str(tmp_path / "lines.png"), 8)
    assert abs(image.astype(int) - 127).max() < 20


@pytest.mark.parametrize("size", [0, -1])
def test_impossible_image_size(root, size):
    refused(lambda: folder.load(root, size), f"data.image_size={size}")


def test_exif_orientation_is_honoured(tmp_path):
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("turned.png", "turned.webp", "turned.jpg"):
        Image.fromarray(pixels).save(tmp_path / name, exif=exif)
        image = folder.read(str(tmp_path / name), None)
        assert image.shape == (8, 4, 3) and image[1].mean() > 200 and image[6].mean() < 50


def test_every_mode_becomes_rgb(tmp_path):
    rgba = Image.new("RGBA", (4, 4), (10, 200, 30, 0))
    rgba.save(tmp_path / "alpha.png")
    palette = Image.new("RGB", (4, 4), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(tmp_path / "palette.png", transparency=bytes([0, 128]))
    Image.new("L", (4, 4), 77).save(tmp_path / "grey.png")
    Image.new("1", (4, 4), 1).save(tmp_path / "bits.png")
    Image.fromarray(np.full((4, 4), 77 * 256 + 5, np.uint16)).save(tmp_path / "grey16.png")
    Image.new("CMYK", (4, 4), (0, 0, 0, 0)).save(tmp_path / "print.jpg")
    for name, colour in {
        "alpha.png": (10, 200, 30),  # dropped, as ImageFolder does
        "palette.png": (10, 200, 30),
        "grey.png": (77, 77, 77),
        "bits.png": (255, 255, 255),
        "grey16.png": (77, 77, 77),
        "print.jpg": (255, 255, 255),
    }.items():
        image = folder.read(str(tmp_path / name), None)
        assert image.shape == (4, 4, 3) and image.dtype == np.uint8
        assert (image == colour).all(), name


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(tmp_path / "two.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert (folder.read(str(tmp_path / "two.webp"), None) == (255, 0, 0)).all()


@pytest.mark.parametrize("name", ["1.png", "0.WebP"])
def test_truncated_image_is_named(root, name):
    path = root / "test" / "cat" / name
    os.truncate(path, path.stat().st_size // 2)
    refused(lambda: folder.load(root), path, "replace or delete")
    assert not any(path.is_dir() for path in (root / ".cifar_lit_cache").iterdir())


def test_text_file_with_an_images_name_is_named(root):
    path = root / "train" / "ant" / "notes.png"
    path.write_text("no image at all")
    refused(lambda: folder.load(root), path, "no PNG, WebP or JPEG image")


def test_other_image_format_is_refused(root):
    path = root / "train" / "ant" / "picture.png"
    Image.new("RGB", (8, 8)).save(path, format="GIF")
    refused(lambda: folder.load(root), path, "no PNG, WebP or JPEG image")


def test_zero_byte_file_is_named_before_anything_is_decoded(root):
    path = root / "train" / "ant" / "zero.png"
    path.touch()
    refused(lambda: folder.count(root), path, "empty")


@pytest.mark.filterwarnings("default")  # as in a program, where warnings are no errors
def test_decompression_bomb_is_refused(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    refused(lambda: folder.load(root), root / "train" / "ant" / "0.WebP", "decompression bomb")


def test_pipe_and_broken_link_are_refused(root):
    os.mkfifo(root / "train" / "ant" / "pipe.png")
    refused(lambda: folder.count(root), "pipe.png", "not a regular file")
    (root / "train" / "ant" / "pipe.png").unlink()
    (root / "train" / "ant" / "link.png").symlink_to(root / "nowhere.png")
    refused(lambda: folder.count(root), "link.png", "link to nothing")


def test_links_to_images_and_folders_are_followed(root, tmp_path):
    (tmp_path / "linked").mkdir()
    for split in ("train", "test"):
        (tmp_path / "linked" / split).symlink_to(root / split)
    assert folder.count(tmp_path / "linked") == (6, 4)


def test_hidden_files_are_ignored_and_strays_are_counted_once(root, caplog):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png"):
        (root / "train" / "ant" / name).write_text("x")
    (root / "train" / ".ipynb_checkpoints").mkdir()
    assert folder.count(root) == (6, 4) and not caplog.records
    (root / "train" / "ant" / "notes.txt").write_text("x")
    (root / "test" / "README").write_text("x")
    assert len(folder.load(root).train.images) == 6
    assert len(caplog.records) == 1 and "ignored 2 files" in caplog.text


def test_missing_root(tmp_path):
    refused(lambda: folder.count(tmp_path / "nowhere"), tmp_path / "nowhere", "no such folder", "data.root")


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_split(root, split):
    (root / split).rename(root / "elsewhere")
    refused(lambda: folder.count(root), root, f"no folder {split}/")


def test_empty_root_and_empty_split(tmp_path):
    refused(lambda: folder.count(tmp_path), "no folder train/")
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    refused(lambda: folder.count(tmp_path), tmp_path / "train", "no class folders")


def test_empty_class_folder(root):
    (root / "train" / "bee").mkdir()
    refused(lambda: folder.count(root), root / "train" / "bee", "no images")


def test_images_beside_the_class_folders_only(tmp_path):
    for split in ("train", "test"):
        paint(tmp_path / split / "a.png")
    refused(lambda: folder.count(tmp_path), "no class folders")


def test_train_and_test_classes_must_agree(root):
    for name in ("bee", "cow", "dog", "eel", "fly"):
        paint(root / "train" / name / "0.png")
    refused(lambda: folder.count(root), root / "test", "bee, cow, dog and 2 more", "train/")
    for name in ("bee", "cow", "dog", "eel", "fly"):
        (root / "train" / name).rename(root / "test" / name)
    refused(lambda: folder.count(root), root / "train", "bee, cow, dog and 2 more", "test/")


def test_nested_folder_is_refused(root):
    paint(root / "train" / "ant" / "more" / "0.png")
    refused(lambda: folder.count(root), root / "train" / "ant" / "more", "folder inside a class folder")


def test_more_images_than_a_batch_land_in_their_places(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_BATCH", 3)
    for split in ("train", "test"):
        for index in range(10):
            path = tmp_path / split / "only" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (2, 2), (index, 0, 0)).save(path)
    splits = folder.decode(folder.scan(tmp_path), None)
    for split in splits:
        assert split.images[:, 0, 0, 0].tolist() == list(range(10))


def test_progress_bar_only_on_a_terminal(root, monkeypatch, capsys):
    folder.load(root)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(folder.sys.stderr, "isatty", lambda: True)
    assert len(folder.decode(folder.scan(root), None)) == 2
