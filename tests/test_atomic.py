import os

import pytest

from cifar_lit import atomic
from cifar_lit.atomic import writing


def test_the_file_is_there_once_the_block_ends(tmp_path):
    target = tmp_path / "a.json"
    target.write_text("old")
    with writing(target) as part:
        part.write_text("new")
        assert part.parent == tmp_path  # a rename is atomic on one file system only
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("started", [True, False])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error, started):
    target = tmp_path / "a.json"
    target.write_text("old")

    def write():
        with writing(target) as part:
            if started:
                part.write_text("ne")
            raise error

    with pytest.raises(error):
        write()
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), writing(tmp_path / "a.json"):
        pass
    assert not os.listdir(tmp_path)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    target = tmp_path / "a.json"
    target.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), writing(target) as part:
        part.write_text("new")
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


def test_content_is_flushed_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    events = []
    sync, replace = atomic.sync, os.replace
    monkeypatch.setattr(atomic, "sync", lambda path: (events.append(("sync", path)), sync(path)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(("replace", b)), replace(a, b)))
    with writing(tmp_path / "a") as part:
        part.write_text("new")
    assert events == [("sync", part), ("replace", tmp_path / "a"), ("sync", tmp_path)]
