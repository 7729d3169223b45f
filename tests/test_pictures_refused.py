import contextlib
import io
import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from picture_checks import PIXELS, encoded, pixels, refused
from PIL import Image
from running import REPOSITORY

from cifar_lit import pictures
from cifar_lit.pictures import PictureError, read, traps


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((4, 4), np.int64), ("int64", "uint8")),
        (np.zeros((4, 4), complex), ("complex128",)),
        (np.array([["a"]]), ("<U1",)),
        (np.array([[None]]), ("object",)),
        (np.zeros((3, 8, 8), np.uint8), ("shape (3, 8, 8)", "(H, W, 3)")),
        (np.zeros((1, 8, 8, 3), np.uint8), ("shape", "one image")),
        (np.zeros((8,), np.uint8), ("shape (8,)",)),
        (np.zeros((0, 4, 3), np.uint8), ("no pixels",)),
        (np.zeros((4, 0), np.float32), ("no pixels",)),
        (np.full((4, 4), np.nan), ("NaN",)),
        (np.full((4, 4), np.inf, np.float32), ("infinite",)),
        (np.full((4, 4, 3), 200.0), ("0..1", "divide")),
        (np.full((4, 4, 3), -2.0), ("0..1", "normalised")),
        (torch.randn(3, 8, 8), ("0..1", "normalised")),
        (torch.zeros(8, 8, 3), ("shape (8, 8, 3)", "(3, H, W)")),
        (torch.zeros(1, 3, 8, 8), ("one image",)),
        (torch.zeros(3, 0, 8), ("no pixels",)),
        (torch.zeros(3, 8, 8, dtype=torch.int64), ("int64",)),
        (torch.zeros(3, 8, 8, device="meta"), ("meta",)),
        (None, ("NoneType", "give a path")),
        (7, ("int",)),
        ([[1, 2]], ("list",)),
        (io.BytesIO(b"x"), ("BytesIO",)),
        (b"", ("empty",)),
        (Image.new("RGB", (0, 5)), ("no pixels",)),
    ],
    ids=lambda value: None if isinstance(value, tuple) else type(value).__name__,
)
def test_refusals(source, words):
    refused(source, "image: ", *words)


def test_floats_are_rounded():
    assert pixels(np.array([[0.3 / 255, 0.7 / 255, 254.6 / 255]]))[0, :, 0].tolist() == [0, 1, 255]


def test_floats_just_outside_are_rounding():
    assert (pixels(np.array([[-0.001, 1.001]])) == [[0, 0, 0], [255, 255, 255]]).all()


def test_paths_that_are_no_files(tmp_path):
    refused(tmp_path / "none.png", "none.png: cannot be read (No such file")
    refused(tmp_path, "not a regular file")
    refused("/dev/zero", "/dev/zero: not a regular file")
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "not a regular file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / "loop", "cannot be read")
    refused("a\0b", "null")
    refused("x" * 5000, "cannot be read", "...")
    refused("", "cannot be read")
    refused("https://example.org/a.png", "No such file")


def test_links_are_followed_and_names_of_files_say_nothing(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "link.gif").symlink_to(tmp_path / "a.png")
    assert (pixels(tmp_path / "link.gif") == PIXELS).all()


def test_a_file_that_is_too_large_or_grows_is_read_to_the_limit_only(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    path.write_bytes(b"")
    os.truncate(path, 2**40)  # a sparse terabyte
    refused(path, "large.png: more than 20 MiB")
    monkeypatch.setattr(pictures, "MAX_BYTES", 60)
    refused(bytes(61), "MiB")


def test_limits_are_inclusive(monkeypatch):
    data = encoded(Image.fromarray(PIXELS))
    monkeypatch.setattr(pictures, "MAX_PIXELS", 35)
    monkeypatch.setattr(pictures, "MAX_BYTES", len(data))
    for source in (data, PIXELS, Image.fromarray(PIXELS), torch.from_numpy(PIXELS).permute(2, 0, 1)):
        assert (pixels(source) == PIXELS).all()
    monkeypatch.setattr(pictures, "MAX_PIXELS", 34)
    for source in (data, PIXELS, Image.fromarray(PIXELS), torch.from_numpy(PIXELS).permute(2, 0, 1)):
        refused(source, "7x5 pixels")
    monkeypatch.undo()
    refused(np.zeros((1, 65536), np.uint8), "65536x1", "65535")


def test_names_stay_on_one_short_line():
    for name in ("a\nb", "a\rb\tc", "\x1b[31mred", "\u202egnp.exe", "x" * 10**6, "\ud800", "a\u2028b"):
        message = refused(b"", "the file is empty", name=name)
        assert len(message) < 200
    assert refused(b"", name="photo.png") == "photo.png: the file is empty; give an image file"
    assert refused(b"", name="image 3").startswith("image 3: ")


@pytest.mark.filterwarnings("default")
def test_warnings_and_their_filters_survive_threads():
    before = warnings.filters[:]
    photo = encoded(Image.new("RGB", (64, 64)), "TIFF")

    def work():
        for index in range(50):
            with contextlib.suppress(PictureError):
                read(photo if index % 2 else photo[: 40 + index])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before and traps._Silence.inside == 0


def test_torch_is_not_needed():
    script = "import sys; from cifar_lit import pictures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY).returncode == 0
