import errno
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from data.cifar100_files import (
    PER_CLASS,
    cached_folders,
    contents,
    record,
    refused,
    write,
    write_archive,
    write_folders,
)
from PIL import Image

from cifar_lit.data import cifar100
from cifar_lit.data.dataset import DataError, DataMissing

pytestmark = pytest.mark.usefixtures("few_images")

PROJECT = Path(__file__).parents[2]
# As in every published listing of the official files: the coarse label of each fine label.
OFFICIAL_COARSE = """
    4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 5 19 8 8 15 13
    14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15 13 16 19 2 4 6 19 5 5 8 19
    18 1 2 15 6 0 17 8 14 13
"""


# ---- facts


def test_names_and_superclasses_are_the_official_ones():
    assert len(cifar100.CLASSES) == 100 and tuple(sorted(set(cifar100.CLASSES))) == cifar100.CLASSES
    assert tuple(sorted(cifar100.SUPERCLASSES)) == cifar100.SUPERCLASSES and len(cifar100.SUPERCLASSES) == 20
    assert list(cifar100.SUPERCLASS_OF) == [int(label) for label in OFFICIAL_COARSE.split()]
    assert cifar100.facts.SIZES == (50000, 10000)


def test_sums_are_torchvisions():
    from torchvision.datasets import CIFAR100

    official = dict(CIFAR100.train_list + CIFAR100.test_list) | {
        "meta": CIFAR100.meta["md5"],
        "archive": CIFAR100.tgz_md5,
    }
    assert official == cifar100.MD5
    assert (CIFAR100.filename, CIFAR100.base_folder) == (cifar100.ARCHIVE, cifar100.EXTRACTED)


def test_import_is_light():
    code = "import sys, cifar_lit.data.cifar100; print({'torch', 'torchvision', 'rich', 'lightning'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True).stdout == "set()\n"


# ---- layouts


@pytest.mark.parametrize("layout", ["pickles", "archive", "folders"])
def test_every_layout_gives_the_same_images_in_the_same_order(root, monkeypatch, caplog, layout):
    write(layout, root, monkeypatch)
    assert cifar100.find(root).kind == layout
    dataset = cifar100.load(root)
    assert (dataset.name, dataset.classes, dataset.superclasses) == (
        "cifar100",
        cifar100.CLASSES,
        cifar100.SUPERCLASSES,
    )
    assert dataset.superclass_of == cifar100.SUPERCLASS_OF
    assert not [entry for entry in caplog.records if entry.levelname == "WARNING"]
    for split, given in (("train", dataset.train), ("test", dataset.test)):
        source = record(split)
        order = sorted(range(len(given.images)), key=lambda i: (source["fine_labels"][i], source["filenames"][i]))
        wanted = source["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)[order]
        assert (given.images == wanted).all()
        assert given.labels.tolist() == sorted(source["fine_labels"]) == given.images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("layout", ["pickles", "archive", "folders"])
def test_second_load_reads_the_cache(root, monkeypatch, layout):
    write(layout, root, monkeypatch)
    first = cifar100.load(root)
    monkeypatch.setattr(cifar100, "_build", None)
    assert (cifar100.load(root).train.images == first.train.images).all()


def test_nothing_is_unpacked_from_the_archive(root, monkeypatch):
    extra = {"../evil": b"x", "cifar-100-python/evil": b"not a pickle", "/tmp/evil-archive": b"x"}
    write_archive(root, contents() | extra, monkeypatch)
    cifar100.load(root)
    assert sorted(os.listdir(root)) == [".cifar_lit_cache", "cifar-100-python.tar.gz"]
    assert not (root.parent / "evil").exists()


def test_order_of_layouts(root, monkeypatch):
    for layout in ("folders", "archive", "pickles"):
        write(layout, root, monkeypatch)
        assert cifar100.find(root).kind == layout


@pytest.mark.parametrize("make", [True, False])
def test_empty_and_missing_root_are_nothing(root, make):
    place = root if make else root / "nowhere"
    assert cifar100.find(place) is None
    with pytest.raises(DataMissing, match="data=synthetic"):
        cifar100.load(place, download=False)
    assert not (root / "nowhere").exists()


def test_home_is_expanded(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    write_folders(root)
    assert cifar100.find("~/data").kind == "folders"


def test_read_only_root_uses_the_users_cache(root, monkeypatch):
    from cifar_lit.data import cache

    write_folders(root)
    real = cache.tempfile.TemporaryFile

    def temporary_file(dir):
        if Path(dir).is_relative_to(root):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(dir=dir)

    monkeypatch.setattr(cache.tempfile, "TemporaryFile", temporary_file)
    assert len(cifar100.load(root).train.images) == 200
    assert cached_folders(root) == []
    assert any((root.parent / "xdg" / "cifar_lit").glob("*/meta.json"))


# ---- class folders


def test_half_unzipped_class_is_named(root):
    write_folders(root)
    next((root / "train" / "bee").iterdir()).unlink()
    with pytest.raises(DataError, match=r"bee: 1 images, not 2.*unzip all.*data=folder"):
        cifar100.find(root)


def test_half_unzipped_split_is_named(root):
    write_folders(root)
    shutil.rmtree(root / "test")
    refused(root, "no folder test/", "unzip all", "data=folder")


def test_missing_classes_are_named(root):
    write_folders(root)
    for split in PER_CLASS:
        shutil.rmtree(root / split / "bee")
    refused(root, "99 class folders", "missing: bee", "data=folder")


def test_wrong_class_names_are_named(root):
    write_folders(root)
    for split in PER_CLASS:
        (root / split / "bee").rename(root / split / "Biene")
    refused(root, "unknown: Biene", "missing: bee")


def test_classes_of_train_and_test_must_agree(root):
    write_folders(root)
    shutil.rmtree(root / "test" / "bee")
    refused(root, root / "test", "lacks bee")


def test_images_of_another_size_are_refused_before_decoding(root, monkeypatch):
    write_folders(root)
    for path in root.rglob("*.png"):
        Image.new("RGB", (64, 64)).save(path)
    monkeypatch.setattr(cifar100.folder, "decode", None)
    refused(root, "not 32x32", "data=folder")


def test_broken_image_is_named(root):
    write_folders(root)
    path = sorted((root / "test" / "bee").iterdir())[0]
    path.write_text("no image")
    refused(root, path, "no PNG, WebP or JPEG image")


# ---- download


def test_no_network_is_one_line(root):
    words = (root / "new", "Network is unreachable", "cifar-100-python.tar.gz", "data=synthetic")
    refused(root / "new", *words, kind=DataMissing)
    assert list((root / "new").glob("[!.]*")) == []


def test_silent_network_gives_up_soon(root, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent / "xdg"))
    monkeypatch.setattr(cifar100, "_CONNECT_SECONDS", 0.2)
    from torchvision.datasets import CIFAR100

    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, never answers
        monkeypatch.setattr(CIFAR100, "url", f"http://127.0.0.1:{server.getsockname()[1]}/x.tar.gz")
        start = time.monotonic()
        refused(root, "timed out", kind=DataMissing)
    assert time.monotonic() - start < 5
    assert socket.getdefaulttimeout() is None
    assert list(root.glob("[!.]*")) == []


def pretend_download(monkeypatch, content):
    import torchvision.datasets.utils as utils

    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, max_hops: url)
    monkeypatch.setattr(utils, "_urlretrieve", lambda url, path: Path(path).write_bytes(content))


def test_download_goes_into_root_once(root, monkeypatch):
    content = write_archive(root, contents(), monkeypatch).read_bytes()
    shutil.rmtree(root)
    pretend_download(monkeypatch, content)
    assert len(cifar100.load(root).train.images) == 200
    assert [path.name for path in root.glob("[!.]*")] == ["cifar-100-python.tar.gz"]
    pretend_download(monkeypatch, b"")
    assert len(cifar100.load(root).train.images) == 200


def test_partial_download_is_not_left_behind(root, monkeypatch):
    content = write_archive(root, contents(), monkeypatch).read_bytes()
    (root / "cifar-100-python.tar.gz").unlink()
    pretend_download(monkeypatch, content[:-10])
    refused(root, "corrupted", kind=DataMissing)
    assert list(root.glob("[!.]*")) == [] and not list(root.glob("*.part"))
    pretend_download(monkeypatch, content)
    assert len(cifar100.load(root).train.images) == 200


# ---- the real images

REAL = os.environ.get("CIFAR100_ROOT")
real = pytest.mark.skipif(not REAL, reason="CIFAR100_ROOT is not set to a folder that holds train/ and test/")


@real
@pytest.mark.slow
def test_real_images(monkeypatch):
    monkeypatch.setattr(cifar100.facts, "PER_CLASS", {"train": 500, "test": 100})
    real_root = Path(REAL)
    dataset = cifar100.load(real_root)
    assert dataset.mean == (0.5071, 0.4865, 0.4409) and dataset.std == (0.2673, 0.2564, 0.2762)
    assert dataset.train.images.shape == (50000, 32, 32, 3) and dataset.test.images.shape == (10000, 32, 32, 3)
    assert (np.bincount(dataset.train.labels) == 500).all() and (np.bincount(dataset.test.labels) == 100).all()
    for split, given in (("train", dataset.train), ("test", dataset.test)):
        files = [path for name in dataset.classes for path in sorted((real_root / split / name).iterdir())]
        for index in range(0, len(files), 997):
            with Image.open(files[index]) as image:
                assert (np.asarray(image.convert("RGB")) == given.images[index]).all()
            assert dataset.classes[given.labels[index]] == files[index].parent.name
    start = time.perf_counter()
    cifar100.load(real_root)
    assert time.perf_counter() - start < 2
