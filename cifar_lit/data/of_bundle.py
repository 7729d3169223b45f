"""The test images that go with a trained network, found by what its bundle says of its data. Nothing is downloaded."""

import os
from collections.abc import Iterable
from pathlib import Path

from cifar_lit.data import cifar100, folder, synthetic
from cifar_lit.data.dataset import DataError, Dataset


def load(data: str, classes: tuple[str, ...], image_size: tuple[int, int], root: str | None, overrides: object = ()) -> Dataset:
    """The data set that a network was trained on, for its test images.

    data, classes, image_size: the bundle's facts. root: of the images; None: as usual. overrides: what was typed to start the
    run, which says how many images were drawn; as the bundle has it, which may be anything. Raises DataError.
    """
    dataset = _found(data, image_size, root, overrides if isinstance(overrides, list | tuple) else ())
    if dataset.classes != classes:
        odd = sorted(set(dataset.classes) ^ set(classes)) or ["the order"]
        raise DataError(
            f"the images found are of other classes than the network's: {len(dataset.classes)} instead of {len(classes)}, "
            f"differing in {', '.join(odd[:3])}; give the data that it was trained on with --root"
        )
    return dataset


def cifar100_root(root: str | None) -> Path:
    """Where CIFAR-100 is looked for."""
    return Path(root or os.environ.get("CIFAR100_ROOT") or "data").expanduser()


def _found(data: str, image_size: tuple[int, int], root: str | None, overrides: Iterable[str]) -> Dataset:
    height, width = image_size
    if data == "cifar100":
        place = cifar100_root(root)
        if cifar100.find(place) is None:
            raise DataError(f"{place}: no CIFAR-100 in it; give its folder with --root or CIFAR100_ROOT")
        return cifar100.load(place, download=False)
    if data == "synthetic":
        if root is not None:
            raise DataError("--root: the network was trained on drawn images, which lie nowhere; leave it out")
        # Test images are drawn from a stream of their own: the number of training images does not change them.
        return synthetic.load(train_per_class=1, test_per_class=_typed(overrides, "data.test_per_class", 20), image_size=height)
    if data == "folder":
        if root is None:
            raise DataError("the network was trained on a folder of images: give it, with train/ and test/, with --root")
        return folder.load(root, height if height == width else None)
    raise DataError(f"the network was trained on {data!r}: allowed is cifar100, synthetic or folder")


def _typed(overrides: Iterable[str], key: str, otherwise: int) -> int:
    """A number that was typed to start the run, the last time it was; else the default."""
    for item in reversed([str(item) for item in overrides]):
        name, _, value = item.lstrip("+").partition("=")
        if name == key and value.isdecimal():
            return int(value)
    return otherwise
