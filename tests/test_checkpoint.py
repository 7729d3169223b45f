import logging
import os
import pickle
import random
import zipfile

import pytest
import torch

from cifar_lit import bundle, checkpoint
from cifar_lit.bundle import CheckpointError
from cifar_lit.trainer import AtomicCheckpointIO

NETWORK = {"network": "ResNet", "block": "basic", "layers": [1, 1], "widths": [4, 8], "num_classes": 5}


def contents():
    torch.manual_seed(0)
    return {
        "state_dict": {"net.a": torch.randn(40), "net.b": torch.ones(3, dtype=torch.float16), "loss.c": torch.zeros(1)},
        "epoch": 3,
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.randn(7)}}, "param_groups": [{"lr": 0.1}]}],
        "facts": {"network": NETWORK},
    }


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(contents(), path)
    return path


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text and len(text) < 600
    return text


def refused(path):
    with pytest.raises(CheckpointError) as error:
        checkpoint.read(path)
    return one_line(error)


def test_round_trip(saved):
    for loaded in (
        AtomicCheckpointIO().load_checkpoint(saved),
        AtomicCheckpointIO().load_checkpoint(str(saved), map_location=None, weights_only=False),
        torch.load(saved, weights_only=True),
    ):
        assert loaded["epoch"] == 3 and loaded["facts"]["network"] == NETWORK
        for name, tensor in contents()["state_dict"].items():
            assert torch.equal(loaded["state_dict"][name], tensor) and loaded["state_dict"][name].dtype == tensor.dtype
        state = loaded["optimizer_states"][0]["state"][0]["momentum_buffer"]
        assert torch.equal(state, contents()["optimizer_states"][0]["state"][0]["momentum_buffer"])
    assert os.listdir(saved.parent) == ["last.ckpt"]


def test_a_sealed_file_is_still_a_whole_zip(saved):
    with zipfile.ZipFile(saved) as file:
        assert file.testzip() is None
        assert file.comment.startswith(b"sha256:") and len(file.comment) == 71


def test_every_altered_byte_is_noticed(saved):
    data = bytearray(saved.read_bytes())
    size = len(data)
    positions = {0, 1, size // 2, *range(size - 200, size), *random.Random(0).sample(range(size), 200)}
    for position in sorted(positions):
        data[position] ^= 1 << (position % 8)
        saved.write_bytes(data)
        with pytest.raises(CheckpointError, match="altered|torn"):
            checkpoint.verify(saved)
        data[position] ^= 1 << (position % 8)
    saved.write_bytes(data)
    checkpoint.verify(saved)


def test_every_truncation_is_noticed(saved):
    data = saved.read_bytes()
    lengths = [len(data) * tenth // 10 for tenth in range(10)] + [len(data) - cut for cut in (1, 2, 64, 71, 72, 93)]
    for length in lengths:
        saved.write_bytes(data[:length])
        assert "torn" in refused(saved)
    saved.write_bytes(data + b"\0")
    assert "torn" in refused(saved)


def test_a_file_of_one_digest_block_and_more_is_hashed_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "_BLOCK", 7)
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint(contents(), path)
    monkeypatch.undo()
    checkpoint.verify(path)


def test_files_that_are_not_there(tmp_path):
    assert refused(tmp_path / "no.ckpt") == f"{tmp_path / 'no.ckpt'}: No such file or directory"
    assert refused(tmp_path) == f"{tmp_path}: not a regular file"


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("form", ["pickle", "protocol 2", "torch", "legacy torch"])
def test_a_hostile_pickle_never_runs(tmp_path, form, sealed):
    marker, path = tmp_path / "ran", tmp_path / "last.ckpt"
    payload = {"state_dict": {}, "payload": Hostile(marker)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(payload) + b"..")
    elif form == "protocol 2":
        path.write_bytes(pickle.dumps(payload, protocol=2) + b"..")
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=form == "torch")
    if sealed:
        checkpoint.seal(path)
    message = refused(path)
    assert ("no checkpoint" if sealed else "carries no SHA-256") in message
    assert "weights_only" not in message  # torch's own words advise to switch it off
    assert checkpoint.latest(tmp_path) == (path if sealed else None)
    assert not marker.exists()


@pytest.mark.parametrize(
    "data", [b"", b"hello" * 100, b"PK\x03\x04" + bytes(30), bytes(range(256)) * 4, b"\x80\x02}."], ids=range(5)
)
def test_sealed_nonsense_is_refused_in_one_line(tmp_path, data):
    path = tmp_path / "a.ckpt"
    path.write_bytes(data + b"..")
    checkpoint.seal(path)
    assert "refused" in refused(path) or "not a Lightning checkpoint" in refused(path)


def test_a_compressed_checkpoint_is_refused_unread(saved, tmp_path):
    bomb = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    checkpoint.seal(bomb)
    assert "a compressed zip" in refused(bomb)


@pytest.mark.parametrize("thing", [[1, 2], {"weights": 1}, torch.ones(2)], ids=["list", "dict", "tensor"])
def test_what_is_no_lightning_checkpoint_is_refused(tmp_path, thing):
    AtomicCheckpointIO().save_checkpoint(thing, tmp_path / "a.ckpt")
    assert refused(tmp_path / "a.ckpt").endswith("not a Lightning checkpoint")


def test_latest_is_the_last_and_falls_back_aloud(saved, caplog):
    folder = saved.parent
    assert checkpoint.latest(folder) == saved
    checkpoint.keep_previous(folder)
    assert checkpoint.latest(folder) == folder / "previous.ckpt" and not caplog.messages
    AtomicCheckpointIO().save_checkpoint(contents() | {"epoch": 4}, saved)
    assert checkpoint.latest(folder) == saved
    saved.write_bytes(saved.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        assert checkpoint.latest(folder) == folder / "previous.ckpt"
    assert "last.ckpt: torn" in caplog.text
    assert checkpoint.read(folder / "previous.ckpt")["epoch"] == 3
    (folder / "previous.ckpt").write_bytes(b"")
    assert checkpoint.latest(folder) is None
    assert checkpoint.latest(folder / "nowhere") is None


def test_the_latest_of_numbered_checkpoints_is_that_of_the_highest_number(tmp_path):
    for epoch in (999, 1001, 1000):
        AtomicCheckpointIO().save_checkpoint(contents() | {"epoch": epoch}, tmp_path / f"epoch={epoch:03d}.ckpt")
    assert checkpoint.latest(tmp_path) == tmp_path / "epoch=1001.ckpt"


def test_keep_previous_without_a_last_one(tmp_path):
    checkpoint.keep_previous(tmp_path)
    (tmp_path / "previous.ckpt").write_text("old")
    checkpoint.keep_previous(tmp_path)
    assert (tmp_path / "previous.ckpt").read_text() == "old"


@pytest.mark.parametrize("at", ["save", "seal", "replace"])
def test_a_failing_write_leaves_the_old_file_and_no_part(saved, monkeypatch, at):
    def fail(*args, **options):
        if at == "save":
            args[1].write_bytes(b"half")
        raise OSError(28, "No space left on device")

    owner, name = {"save": (torch, "save"), "seal": (checkpoint, "seal"), "replace": (os, "replace")}[at]
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(OSError, match="No space left"):
        AtomicCheckpointIO().save_checkpoint(contents() | {"epoch": 4}, saved)
    monkeypatch.undo()
    assert os.listdir(saved.parent) == ["last.ckpt"]
    assert checkpoint.read(saved)["epoch"] == 3


def test_network_weights_are_the_averaged_ones_where_there_are():
    plain = contents()
    assert list(checkpoint.network_weights(plain)) == ["a", "b"]
    average = {"a": torch.zeros(40), "b": torch.zeros(3)}
    assert checkpoint.network_weights(plain | {"callbacks": {"EMA": {"net": average, "steps": 3}}}) is average
    assert list(checkpoint.network_weights(plain | {"callbacks": {"Target": {}}})) == ["a", "b"]
