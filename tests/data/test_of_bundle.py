"""The test images that go with a bundle, by what it says of its data."""

import numpy as np
import pytest
from PIL import Image

from cifar_lit.data import cifar100, of_bundle, synthetic
from cifar_lit.data.dataset import DataError


def test_drawn_images_as_many_as_the_run_had():
    given = ("synthetic", synthetic.CLASSES, (16, 16), None)
    assert of_bundle.load(*given, ["data.test_per_class=3", "data.test_per_class=2"]).test.images.shape == (200, 16, 16, 3)
    assert np.array_equal(of_bundle.load(*given, ["data.test_per_class=2"]).test.images, synthetic.load(5, 2, 16).test.images), (
        "the number of training images changes the test images"
    )


def test_a_folder_at_the_networks_size(tmp_path):
    for split in ("train", "test"):
        for name in "ab":
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (30, 20), "red").save(tmp_path / split / name / "1.png")
    found = of_bundle.load("folder", ("a", "b"), (16, 16), str(tmp_path), [])
    assert found.test.images.shape == (2, 16, 16, 3) and found.test.labels.tolist() == [0, 1]
    with pytest.raises(DataError, match="other classes than the network's: 2 instead of 3, differing in c; give the data"):
        of_bundle.load("folder", ("a", "b", "c"), (16, 16), str(tmp_path), [])


def test_cifar_100_is_looked_for_in_root_then_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFAR100_ROOT", str(tmp_path / "there"))
    assert of_bundle.cifar100_root(None) == tmp_path / "there" and of_bundle.cifar100_root("here").name == "here"
    with pytest.raises(DataError, match="there: no CIFAR-100 in it; give its folder with --root or CIFAR100_ROOT"):
        of_bundle.load("cifar100", cifar100.CLASSES, (32, 32), None, [])


@pytest.mark.parametrize(
    ("data", "root", "message"),
    [
        ("synthetic", "x", "which lie nowhere; leave it out"),
        ("folder", None, "give it, with train/ and test/, with --root"),
        ("imagenet", None, "'imagenet': allowed is cifar100, synthetic or folder"),
    ],
)
def test_what_cannot_be_found(data, root, message):
    with pytest.raises(DataError, match=message):
        of_bundle.load(data, ("a",), (16, 16), root, [])
