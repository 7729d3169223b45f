"""CIFAR-100 of two training images and one test image a class, in every layout in which it is found."""

import hashlib
import io
import pickle
import tarfile
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from cifar_lit.data import cifar100
from cifar_lit.data.dataset import DataError

PER_CLASS = {"train": 2, "test": 1}


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2's str, as the official files have them."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_str(self, text):
        content = text if isinstance(text, bytes) else text.encode("latin1")
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_str


def python2(record):
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(record)
    return file.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


def record(split):
    """A shuffled record as in the official files; the pixels of an image say its label and its file name."""
    rng = np.random.default_rng(len(split))
    fine = rng.permutation(np.repeat(np.arange(100), PER_CLASS[split]))
    numbers = rng.permutation(len(fine))
    data = rng.integers(0, 256, (len(fine), 3072), np.uint8)
    data[:, 0], data[:, 1024], data[:, 2048] = fine, numbers % 100, numbers // 100
    return {
        "filenames": [f"{cifar100.CLASSES[label]}_s_{number:06d}.png" for label, number in zip(fine, numbers, strict=True)],
        "batch_label": f"{split}ing batch 1 of 1",
        "fine_labels": fine.tolist(),
        "coarse_labels": [cifar100.SUPERCLASS_OF[label] for label in fine],
        "data": data,
    }


def records():
    meta = {"fine_label_names": list(cifar100.CLASSES), "coarse_label_names": list(cifar100.SUPERCLASSES)}
    return {"train": record("train"), "test": record("test"), "meta": meta}


def write_extracted(root, contents):
    (root / "cifar-100-python").mkdir(exist_ok=True)
    for name, content in contents.items():
        (root / "cifar-100-python" / name).write_bytes(content)


def write_archive(root, contents, monkeypatch=None):
    path = root / "cifar-100-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name if "/" in name else f"cifar-100-python/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    if monkeypatch:
        monkeypatch.setitem(cifar100.MD5, "archive", hashlib.md5(path.read_bytes()).hexdigest())
    return path


def write_folders(root):
    for split in PER_CLASS:
        given = record(split)
        images = given["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        for name, label, image in zip(given["filenames"], given["fine_labels"], images, strict=True):
            path = root / split / cifar100.CLASSES[label] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, compress_level=1)


def contents():
    return {name: python2(value) for name, value in records().items()}


def write(layout, root, monkeypatch):
    if layout == "pickles":
        for name, content in contents().items():
            monkeypatch.setitem(cifar100.MD5, name, hashlib.md5(content).hexdigest())
        write_extracted(root, contents())
    elif layout == "archive":
        write_archive(root, contents(), monkeypatch)
    else:
        write_folders(root)


def refused(root, *words, kind=DataError):
    with pytest.raises(kind) as caught:
        cifar100.load(root)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, message


def cached_folders(root):
    place = root / ".cifar_lit_cache"
    return sorted(path.name for path in place.iterdir() if path.is_dir()) if place.exists() else []
