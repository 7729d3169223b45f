import errno
import hashlib
import io
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from cifar_lit.data import cifar100, cifar100_pickles
from cifar_lit.data.dataset import DataError, DataMissing

PROJECT = Path(__file__).parents[2]
# As in every published listing of the official files: the coarse label of each fine label.
OFFICIAL_COARSE = """
    4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 5 19 8 8 15 13
    14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15 13 16 19 2 4 6 19 5 5 8 19
    18 1 2 15 6 0 17 8 14 13
"""
PER_CLASS = {"train": 2, "test": 1}


@pytest.fixture(autouse=True)
def fake(tmp_path, monkeypatch):
    """Two training images and one test image a class; the user's cache in a temporary folder; no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(cifar100.facts, "PER_CLASS", PER_CLASS)

    def no_network(*arguments, **options):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


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


# ---- archive and pickles


@pytest.mark.parametrize("damage", ["half", "altered", "empty"])
def test_bad_archive_is_refused_unread_and_a_good_one_then_works(root, monkeypatch, damage):
    path = write_archive(root, contents(), monkeypatch)
    cifar100.load(root)
    before = cached_folders(root)
    good = path.read_bytes()
    path.write_bytes({"half": good[: len(good) // 2], "altered": good[:-1] + b"x", "empty": b""}[damage])
    with monkeypatch.context() as patch:
        patch.setattr(cifar100_pickles.tarfile, "open", None)
        refused(root, path, "half-downloaded or altered", "delete it")
    assert cached_folders(root) == before
    path.write_bytes(good)
    assert len(cifar100.load(root).train.images) == 200


def test_archive_without_a_member(root, monkeypatch):
    given = contents()
    del given["test"]
    write_archive(root, given, monkeypatch)
    refused(root, cifar100.ARCHIVE, "lacks test")


@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_incomplete_extracted_folder(root, name):
    write_extracted(root, contents())
    (root / "cifar-100-python" / name).unlink()
    with pytest.raises(DataError, match=f"lacks the file {name}"):
        cifar100.find(root)


def test_unofficial_pickles_are_used_with_a_warning_of_both_sums(root, caplog):
    given = contents()
    write_extracted(root, given)
    cifar100.load(root)
    warned = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
    assert len(warned) == 3
    for name, message in zip(("train", "test", "meta"), warned, strict=True):
        assert f"cifar-100-python/{name}:" in message
        assert hashlib.md5(given[name]).hexdigest() in message and cifar100.MD5[name] in message


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_written_by_python_3_with_bytes_keys(root, protocol):
    given = {
        name: pickle.dumps({key.encode(): value for key, value in content.items()}, protocol)
        for name, content in records().items()
    }
    write_extracted(root, given)
    assert cifar100.load(root).train.images.shape == (200, 32, 32, 3)


def test_truncated_pickle(root):
    given = contents()
    write_extracted(root, given | {"train": given["train"][:-1000]})
    refused(root, root / "cifar-100-python" / "train", "not a readable CIFAR-100 file")
    assert cached_folders(root) == []


class Hostile:
    def __init__(self, call, *arguments):
        self.call = call, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("layout", ["pickles", "archive"])
@pytest.mark.parametrize("victim", ["train", "test", "meta"])
def test_hostile_pickle_runs_nothing(root, monkeypatch, layout, victim):
    marker = root.parent / "marker"
    hostile = pickle.dumps(Hostile(os.system, f"touch {marker}"), 2)
    given = contents() | {victim: hostile}
    write_extracted(root, given) if layout == "pickles" else write_archive(root, given, monkeypatch)
    refused(root, "asks to run", "system")
    assert not marker.exists()


@pytest.mark.parametrize("call", [(eval, "1"), (getattr, "text", "join"), (np.load, "x"), (__import__, "this"), (np.memmap, "x")])
def test_no_other_global_is_reached(root, call):
    write_extracted(root, contents() | {"meta": pickle.dumps(Hostile(*call), 2)})
    refused(root, "asks to run")


def spoil(split, **changes):
    given = records()
    given[split] |= changes
    return {name: python2(value) for name, value in given.items()}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"data": np.zeros((199, 3072), np.uint8)}, "(199, 3072)"),
        ({"data": np.zeros((200, 3072), np.float32)}, "float32"),
        ({"data": [1, 2]}, "no array"),
        ({"fine_labels": [0] * 199}, "list of 200"),
        ({"fine_labels": ["a"] * 200}, "list of 200 integers"),
        ({"fine_labels": [100] * 200}, "from 100 to 100"),
        ({"fine_labels": [0] * 200}, "in every class"),
        ({"coarse_labels": [0] * 200}, "contradict"),
        ({"filenames": ["a"]}, "filenames"),
    ],
)
def test_wrong_content_is_refused(root, changes, word):
    write_extracted(root, spoil("train", **changes))
    refused(root, word, "train")


def test_other_label_names_are_refused(root):
    write_extracted(root, spoil("meta", fine_label_names=list(cifar100.CLASSES[::-1])))
    refused(root, "fine_label_names", "not CIFAR-100's")


def test_pickle_of_something_else(root):
    write_extracted(root, contents() | {"meta": python2([1, 2])})
    refused(root, "holds a list")


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


@pytest.fixture
def real_root(root, monkeypatch):
    """Links to the real folders, so that the cache is not written beside them."""
    monkeypatch.setattr(cifar100.facts, "PER_CLASS", {"train": 500, "test": 100})
    for split in ("train", "test"):
        (root / split).symlink_to(Path(REAL).resolve() / split)
    return root


@real
@pytest.mark.slow
def test_real_images(real_root):
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
