import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from cifar_lit.data import cache
from cifar_lit.data.dataset import DataError, Dataset, Split, statistics

PROJECT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "cifar_lit"


def small(value=7):
    images = np.full((4, 2, 3, 3), value, np.uint8)
    split = Split(images, np.arange(4, dtype=np.int64))
    return Dataset("folder", split, split, ("a", "b", "c", "d"), (), (), *statistics(images))


class Builder:
    def __init__(self, value=7):
        self.value, self.calls = value, 0

    def __call__(self):
        self.calls += 1
        return small(self.value)


def key(state="one", **more):
    return {"source": "test", "fingerprint": state, **more}


def folders(place):
    return sorted(path for path in place.iterdir() if path.is_dir())


def test_the_fingerprint_is_of_the_images_wherever_they_lie(tmp_path):
    for name in ("here", "there", "other"):
        (tmp_path / name).mkdir()
    here = cache.cached(tmp_path / "here", key("one"), Builder())
    there = cache.cached(tmp_path / "there", key("two"), Builder())
    other = cache.cached(tmp_path / "other", key("one"), Builder(8))
    assert len(here.fingerprint) == 16 and here.fingerprint == there.fingerprint != other.fingerprint
    [kept] = (tmp_path / "here").rglob(cache.CONTENT)
    kept.write_text("0" * 16)
    assert cache.cached(tmp_path / "here", key("one"), Builder()).fingerprint == "0" * 16, "kept, and not made again"
    for lost in (lambda: kept.write_text("torn"), kept.unlink):  # as in a cache of before
        lost()
        assert cache.cached(tmp_path / "here", key("one"), Builder()).fingerprint == here.fingerprint == kept.read_text()


def test_second_load_is_mapped_and_does_not_build(tmp_path, caplog):
    caplog.set_level("INFO")
    build = Builder()
    first = cache.cached(tmp_path, key(), build)
    again = cache.cached(tmp_path, key(), build)
    assert build.calls == 1
    [folder] = (tmp_path / cache.FOLDER).glob("*/")
    assert caplog.messages == [f"Decoded images are kept in {folder}: 0 MB"], "said once, by who built it"
    for dataset in (first, again):
        assert isinstance(dataset.train.images, np.memmap) and not dataset.train.images.flags.writeable
        assert dataset.train.images.shape == (4, 2, 3, 3) and (dataset.test.images == 7).all()
        assert dataset.train.labels.tolist() == [0, 1, 2, 3]
        assert dataset.mean == (0.0275, 0.0275, 0.0275) and dataset.std == (0.0, 0.0, 0.0)
        assert dataset.classes == ("a", "b", "c", "d") and dataset.superclasses == ()


def test_new_fingerprint_replaces_the_old_one_and_leaves_other_keys(tmp_path):
    cache.cached(tmp_path, key("one"), Builder(1))
    cache.cached(tmp_path, key("one", image_size=16), Builder(2))
    dataset = cache.cached(tmp_path, key("two"), Builder(3))
    assert (dataset.train.images == 3).all()
    assert len(folders(tmp_path / cache.FOLDER)) == 2
    unbuilt = Builder()
    assert (cache.cached(tmp_path, key("one", image_size=16), unbuilt).train.images == 2).all()
    assert unbuilt.calls == 0


def test_another_format_is_another_cache(tmp_path, monkeypatch):
    cache.cached(tmp_path, key(), Builder(1))
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    assert (cache.cached(tmp_path, key(), Builder(2)).train.images == 2).all()


def truncate(folder):
    os.truncate(folder / "train_images.npy", 150)


def extend(folder):
    with (folder / "test_images.npy").open("ab") as file:
        file.write(b"x")


def garble_meta(folder):
    (folder / "meta.json").write_text('{"sizes": ')


def remove_array(folder):
    (folder / "test_labels.npy").unlink()


def swap_arrays(folder):
    meta = json.loads((folder / "meta.json").read_text())
    np.save(folder / "train_labels.npy", np.arange(3))
    meta["sizes"]["train_labels"] = (folder / "train_labels.npy").stat().st_size
    (folder / "meta.json").write_text(json.dumps(meta))


def forget_facts(folder):
    meta = json.loads((folder / "meta.json").read_text())
    del meta["mean"]
    (folder / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize("damage", [truncate, extend, garble_meta, remove_array, swap_arrays, forget_facts])
def test_damaged_cache_is_built_again_with_a_warning(tmp_path, caplog, damage):
    cache.cached(tmp_path, key(), Builder())
    damage(folders(tmp_path / cache.FOLDER)[0])
    build = Builder(9)
    assert (cache.cached(tmp_path, key(), build).train.images == 9).all()
    assert build.calls == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"] and "damaged" in caplog.text


def refuse(monkeypatch, place, code):
    """Make `place` look as if it could not be written; root may write where permission bits forbid it."""
    real = cache.tempfile.TemporaryFile

    def temporary_file(dir):
        if Path(dir).is_relative_to(place):
            raise OSError(code, os.strerror(code))
        return real(dir=dir)

    monkeypatch.setattr(cache.tempfile, "TemporaryFile", temporary_file)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_read_only_data_uses_the_users_cache_apart_for_each_place(tmp_path, monkeypatch, user_cache, code):
    for name, value in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        refuse(monkeypatch, tmp_path / name, code)
        assert (cache.cached(tmp_path / name, key(), Builder(value)).train.images == value).all()
    assert len(folders(user_cache)) == 2
    assert (cache.cached(tmp_path / "a", key(), Builder(3)).train.images == 1).all()


def test_read_only_data_with_a_cache_inside_uses_it(tmp_path, monkeypatch, user_cache):
    cache.cached(tmp_path, key(), Builder())
    refuse(monkeypatch, tmp_path, errno.EROFS)
    build = Builder()
    cache.cached(tmp_path, key(), build)
    assert build.calls == 0 and not user_cache.exists()


def test_nowhere_to_write_is_one_line(tmp_path, monkeypatch):
    refuse(monkeypatch, tmp_path, errno.EROFS)
    with pytest.raises(DataError, match="XDG_CACHE_HOME") as caught:
        cache.cached(tmp_path, key(), Builder())
    assert "\n" not in str(caught.value)


def test_no_source_folder_uses_the_users_cache(user_cache):
    cache.cached(None, key(), Builder())
    assert len(folders(user_cache)) == 1


@pytest.mark.parametrize("moment", ["_save", "sync"])
def test_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, moment):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache.cached(tmp_path, key("old"), Builder(1))
    before = folders(tmp_path / cache.FOLDER)
    with monkeypatch.context() as patch:
        patch.setattr(cache, moment, full)
        with pytest.raises(DataError, match="No space left on device") as caught:
            cache.cached(tmp_path, key("new"), Builder())
    assert "\n" not in str(caught.value)
    assert folders(tmp_path / cache.FOLDER) == before
    assert (cache.cached(tmp_path, key("new"), Builder(5)).train.images == 5).all()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_short_write_says_why():
    with pytest.raises(OSError) as caught:
        cache._save(Path("/dev/full"), np.zeros((100, 100), np.uint8))
    assert caught.value.errno == errno.ENOSPC


def test_failing_build_leaves_the_old_cache_alone(tmp_path):
    def build():
        raise DataError("broken image")

    cache.cached(tmp_path, key("old"), Builder())
    before = folders(tmp_path / cache.FOLDER)
    with pytest.raises(DataError, match="broken image"):
        cache.cached(tmp_path, key("new"), build)
    assert folders(tmp_path / cache.FOLDER) == before


def child(script, *arguments):
    header = f"""
        import os, signal, sys, time
        from pathlib import Path
        sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(PROJECT)!r}]
        from test_cache import Builder, cache, key, small
        root = Path(sys.argv[1])
    """
    code = textwrap.dedent(header) + textwrap.dedent(script)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_four_cold_processes_build_once(tmp_path):
    script = """
        def build():
            with (root / "calls").open("a") as file:
                file.write("x")
            time.sleep(0.5)
            return small()
        (root / f"ready{os.getpid()}").touch()
        while len(list(root.glob("ready*"))) < 4:
            time.sleep(0.01)
        print(int(cache.cached(root, key(), build).train.images.sum()))
    """
    children = [child(script, tmp_path) for _ in range(4)]
    outputs = [process.communicate(timeout=30) for process in children]
    assert [output for output, _ in outputs] == [f"{7 * 4 * 2 * 3 * 3}\n"] * 4, outputs
    assert (tmp_path / "calls").read_text() == "x"


@pytest.mark.parametrize("state", ["one", "other"])
def test_killed_build_is_never_trusted_and_is_cleaned_up(tmp_path, state):
    script = """
        save = cache._save
        def dying(path, array):
            if path.name.startswith("test"):
                os.kill(os.getpid(), signal.SIGKILL)
            return save(path, array)
        cache._save = dying
        cache.cached(root, key(sys.argv[2]), Builder(1))
    """
    process = child(script, tmp_path, state)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    (left_over,) = folders(tmp_path / cache.FOLDER)
    assert (left_over / "train_images.npy").exists()
    build = Builder(2)
    assert (cache.cached(tmp_path, key(), build).train.images == 2).all()
    assert build.calls == 1 and len(folders(tmp_path / cache.FOLDER)) == 1
    assert left_over not in folders(tmp_path / cache.FOLDER)


def test_fingerprint_sees_name_size_and_time(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    seen = {cache.fingerprint([("a", path.stat())]), cache.fingerprint([("b", path.stat())])}
    path.write_bytes(b"12")
    os.utime(path, ns=(1, 1))
    seen.add(cache.fingerprint([("a", path.stat())]))
    os.utime(path, ns=(2, 2))
    seen.add(cache.fingerprint([("a", path.stat())]))
    assert len(seen) == 4
    assert cache.fingerprint([("a", path.stat())]) in seen
