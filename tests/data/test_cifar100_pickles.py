"""CIFAR-100 from its archive and its pickles: tests of cifar_lit/data/cifar100_pickles.py."""

import hashlib
import os
import pickle

import numpy as np
import pytest
from data.cifar100_files import (
    cached_folders,
    contents,
    python2,
    records,
    refused,
    write_archive,
    write_extracted,
)

from cifar_lit.data import cifar100, cifar100_pickles
from cifar_lit.data.dataset import DataError

pytestmark = pytest.mark.usefixtures("few_images")


@pytest.mark.parametrize("damage", ["half", "altered", "empty"])
def test_bad_archive_is_refused_unread_and_a_good_one_then_works(root, monkeypatch, damage):
    path = write_archive(root, contents(), monkeypatch)
    cifar100.load(root)
    before = cached_folders(root)
    good = path.read_bytes()
    path.write_bytes({"half": good[: len(good) // 2], "altered": good[:-1] + b"x", "empty": b""}[damage])
    with monkeypatch.context() as patch:
        patch.setattr(cifar100_pickles.tarfile, "open", None)
        refused(root, path, "half-downloaded or altered (MD5 ", "delete it")
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
        assert f"(MD5 {hashlib.md5(given[name]).hexdigest()}, official {cifar100.MD5[name]})" in message


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
