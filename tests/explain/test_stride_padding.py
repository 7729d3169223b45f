"""What stride and padding do: sizes by the formula, maps as convolution makes them, the table and the picture."""

import csv

import numpy as np
import pytest
from PIL import Image

from cifar_lit.explain import stride_padding
from cifar_lit.explain.__main__ import main
from cifar_lit.model.resnet import resnet8


@pytest.mark.parametrize("size", [(32, 32), (33, 20)])
def test_sizes_are_those_of_the_formula(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = stride_padding.maps(pixels)
    assert [(made.stride, made.padding) for made in found] == [(s, p) for s in (1, 2, 3) for p in (0, 1, 2)]
    for made in found:
        expected = tuple(int(np.floor((n + 2 * made.padding - 3) / made.stride)) + 1 for n in size)
        assert made.values.shape == expected == tuple(stride_padding.side(n, 3, made.stride, made.padding) for n in size)


def test_a_map_is_the_convolution():
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    made = next(made for made in stride_padding.maps(pixels) if (made.stride, made.padding) == (2, 1))
    grey = np.pad((pixels / 255).mean(2), 1)
    by_hand = [[(grey[r : r + 3, c : c + 3] * stride_padding.KERNEL).sum() for c in range(0, 8, 2)] for r in range(0, 8, 2)]
    np.testing.assert_allclose(made.values, by_hand, atol=1e-5)


def test_the_command_writes_a_picture_and_a_table(bundle_of, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(bundle_of(resnet8)), "--what", "stride_padding", "-o", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [str(out / f"stride_padding.{kind}") for kind in ("png", "csv", "md")]
    assert said[5] == "- stride 1 with padding 1 keeps the size of 32x32 (a kernel of 3x3)."
    with open(out / "stride_padding.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["map height"]) for row in rows] == [30, 32, 34, 15, 16, 17, 10, 11, 12]
    assert all(row["map height"] == row["height by formula"] for row in rows)
    with Image.open(out / "stride_padding.png") as image:
        assert image.info["dpi"][0] >= 149.9


def test_one_image_at_a_time(bundle_of, tmp_path, capsys):
    assert main([str(bundle_of(resnet8)), "--what", "stride_padding", "--images", "a", "b", "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "error: --images: 2 are given, stride_padding shows one\n"
