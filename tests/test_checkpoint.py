import json
import logging
import os
import pickle
import random
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from cifar_lit import checkpoint
from cifar_lit.checkpoint import AtomicCheckpointIO, CheckpointError
from cifar_lit.model.registry import build

NETWORK = {"network": "ResNet", "block": "basic", "layers": [1, 1], "widths": [4, 8], "num_classes": 5}


def contents():
    torch.manual_seed(0)
    return {
        "state_dict": {"net.a": torch.randn(40), "net.b": torch.ones(3, dtype=torch.float16), "loss.c": torch.zeros(1)},
        "epoch": 3,
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.randn(7)}}, "param_groups": [{"lr": 0.1}]}],
        "network": NETWORK,
    }


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(contents(), path)
    return path


@pytest.fixture
def bundle(tmp_path):
    torch.manual_seed(0)
    net = build(NETWORK)
    folder = tmp_path / "run" / "model"
    config = {"network": NETWORK, "classes": list("abcde"), "mean": [0.5, 0.5, 0.5]}
    checkpoint.save_bundle(folder, net, config, "# A card\n")
    return folder, net.eval()


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
        assert loaded["epoch"] == 3 and loaded["network"] == NETWORK
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
    monkeypatch.setattr(checkpoint, "_CHUNK", 7)
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint(contents(), path)
    monkeypatch.undo()
    checkpoint.verify(path)


def test_files_that_are_not_there(tmp_path):
    assert refused(tmp_path / "no.ckpt") == f"{tmp_path / 'no.ckpt'}: No such file or directory"
    assert "directory" in refused(tmp_path)


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


def test_bundle_round_trip_gives_equal_logits(bundle):
    folder, net = bundle
    images = torch.randn(4, 3, 16, 16)
    loaded, config = checkpoint.load(folder)
    assert not loaded.training
    assert torch.equal(loaded(images), net(images))
    assert config["classes"] == list("abcde") and config["network"] == NETWORK
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors"]
    assert os.listdir(folder.parent) == ["model"]
    assert (folder / "README.md").read_text() == "# A card\n"


def test_a_bundle_replaces_the_one_before(bundle):
    folder, _ = bundle
    torch.manual_seed(1)
    other = build(NETWORK).eval()
    checkpoint.save_bundle(folder, other, {"network": NETWORK}, "# Other\n")
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(checkpoint.load(folder)[0](images), other(images))
    assert os.listdir(folder.parent) == ["model"]


def test_a_bundle_that_cannot_be_written_leaves_the_old_one(bundle):
    folder, net = bundle
    with pytest.raises(TypeError):
        checkpoint.save_bundle(folder, net, {"network": {1, 2}}, "")
    checkpoint.load(folder)
    assert os.listdir(folder.parent) == ["model"]


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    config |= changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def resign(folder, weights):
    save_file(weights, folder / "model.safetensors")
    edit(folder, sha256=checkpoint._digest(folder / "model.safetensors", 1 << 30).decode())


def without_a_file(name):
    return lambda folder: (folder / name).unlink()


def flip(folder):
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def wrong_shape(folder):
    weights = load_file(folder / "model.safetensors")
    name = next(name for name, tensor in weights.items() if tensor.ndim == 2)
    resign(folder, weights | {name: torch.zeros(7, 8)})


def missing_weight(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name, tensor in weights.items() if tensor.ndim == 2))
    resign(folder, weights)


def no_safetensors(folder):
    (folder / "model.safetensors").write_bytes(b"nothing" * 9)
    edit(folder, sha256=checkpoint._digest(folder / "model.safetensors", 1 << 30).decode())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (flip, r"model.safetensors: altered since it was written \(its SHA-256 does not fit\)$"),
        (wrong_shape, r"size mismatch for .*\[7, 8\]"),
        (missing_weight, r"Missing key"),
        (no_safetensors, r"not a bundle"),
        (without_a_file("model.safetensors"), r"model.safetensors: No such file"),
        (without_a_file("config.json"), r"config.json: No such file"),
        (lambda folder: edit(folder, sha256=None), r"config.json has no 'sha256'"),
        (lambda folder: edit(folder, network=None), r"config.json has no 'network'"),
        (lambda folder: edit(folder, network={**NETWORK, "network": "os.system"}), r"network 'os.system' is unknown"),
        (lambda folder: edit(folder, network={**NETWORK, "num_classes": 6}), r"size mismatch"),
        (lambda folder: edit(folder, network={**NETWORK, "depth": 6}), r"no argument depth"),
        (lambda folder: edit(folder, network={"_target_": "os.system", "network": "ResNet"}), r"no argument _target_"),
        (lambda folder: edit(folder, network={**NETWORK, "block": 3}), r"not a bundle"),
        (lambda folder: edit(folder, network="ResNet"), r"must be a mapping"),
        (lambda folder: (folder / "config.json").write_text('{"network": '), r"not a bundle"),
        (lambda folder: (folder / "config.json").write_text("[]"), r"not a bundle"),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe"), r"not a bundle"),
    ],
)
def test_a_spoilt_bundle_is_refused_in_one_line(bundle, spoil, message):
    folder, _ = bundle
    spoil(folder)
    with pytest.raises(CheckpointError, match=message) as error:
        checkpoint.load(folder)
    assert str(folder) in one_line(error)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        checkpoint.load(tmp_path / "nowhere")
