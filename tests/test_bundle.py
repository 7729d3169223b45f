"""Bundles: the way there and back, and what happens on it; test_bundle_spoilt.py has what can be wrong with one."""

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from running import REPOSITORY
from safetensors.torch import load_file

from cifar_lit import bundle, checkpoint
from cifar_lit.bundle import CheckpointError, Facts
from cifar_lit.model.registry import build
from cifar_lit.trainer import AtomicCheckpointIO

NETWORK = {"network": "ResNet", "block": "basic", "layers": [1, 1], "widths": [4, 8], "num_classes": 5}
FACTS = Facts(
    title="five",
    data="folder",
    network=NETWORK,
    classes=tuple("abcde"),
    superclasses=("vowel", "consonant"),
    superclass_of=(0, 1, 1, 1, 0),
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.2, 0.2),
    image_size=(16, 16),
    temperature=1.5,
    metrics={"test/acc": 0.5},
)


def network(seed=0):
    torch.manual_seed(seed)
    return build(NETWORK).eval()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run" / "model"
    bundle.save(folder, network().state_dict(), FACTS, "# A card\n")
    return folder


def test_round_trip(folder):
    images = torch.randn(4, 3, 16, 16)
    net, facts = checkpoint.load(folder)
    assert not net.training and facts == FACTS == bundle.read(folder)
    assert torch.equal(net(images), network()(images))
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors"] and os.listdir(folder.parent) == [
        "model"
    ]
    assert (folder / "README.md").read_text() == "# A card\n"
    assert [facts.superclass(index) for index in range(5)] == ["vowel", "consonant", "consonant", "consonant", "vowel"]


def test_a_run_directory_gives_its_bundle_then_its_checkpoints(folder):
    run = folder.parent
    for name, seed in (("last", 1), ("best", 2)):
        weights = {f"net.{key}": value for key, value in network(seed).state_dict().items()}
        AtomicCheckpointIO().save_checkpoint(
            {"state_dict": weights, "facts": FACTS.plain()}, run / "checkpoints" / f"{name}.ckpt"
        )
    images = torch.randn(2, 3, 16, 16)

    def seed_of(path):
        net, facts = checkpoint.load(path)
        assert facts.classes == FACTS.classes
        return next(seed for seed in range(4) if torch.equal(net(images), network(seed)(images)))

    assert seed_of(run) == 0
    assert seed_of(run / "checkpoints" / "last.ckpt") == 1
    (folder / "config.json").unlink()
    assert seed_of(run) == 2
    (run / "checkpoints" / "best.ckpt").unlink()
    assert seed_of(run) == 1
    (run / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(CheckpointError, match="no bundle, and no run directory"):
        checkpoint.load(run)


def test_averaged_weights_are_the_ones_loaded(tmp_path):
    average = network(3).state_dict()
    weights = {f"net.{key}": value for key, value in network(1).state_dict().items()}
    contents = {"state_dict": weights, "facts": FACTS.plain(), "callbacks": {"EMA": {"net": average}}}
    AtomicCheckpointIO().save_checkpoint(contents, tmp_path / "a.ckpt")
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(checkpoint.load(tmp_path / "a.ckpt")[0](images), network(3)(images))


def test_a_checkpoint_that_does_not_say_what_it_is(tmp_path):
    for facts in (None, {}, {"classes": 3}, "no table"):
        AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "facts": facts}, tmp_path / "a.ckpt")
        with pytest.raises(CheckpointError, match="does not say what network it is"):
            checkpoint.load(tmp_path / "a.ckpt")


def sealed(path, contents):
    AtomicCheckpointIO().save_checkpoint({"facts": FACTS.plain()} | contents, path)
    return path


def trained():
    return {f"net.{key}": value for key, value in network().state_dict().items()}


@pytest.mark.parametrize(
    "spoilt",
    [
        {"callbacks": [1]},
        {"callbacks": {"EMA": {}}},
        {"state_dict": [1]},
        {"state_dict": {1: torch.zeros(1)}},
        {"state_dict": {"net.fc.weight": "text"}},
        {"state_dict": {key: value.long() for key, value in trained().items()}},
        {"state_dict": {key: torch.zeros(1).expand(1 << 30, 1 << 10) for key in trained()}},  # terabytes, of one number
    ],
    ids=["callbacks", "average", "list", "number", "text", "integers", "stretched"],
)
def test_a_sealed_checkpoint_of_anything_gets_one_line(tmp_path, spoilt):
    """The seal tells of damage; anybody can write one."""
    path = sealed(tmp_path / "a.ckpt", {"state_dict": trained()} | spoilt)
    with pytest.raises(CheckpointError) as refused:
        checkpoint.load(path)
    assert "\n" not in str(refused.value) and str(path) in str(refused.value)


@pytest.mark.parametrize("key", ["deep", "shared"])
def test_a_sealed_key_neither_hangs_nor_crashes_the_reader(tmp_path, key):
    """torch.load without code still hashes what a file makes a key: the deep one ends the process, the shared one never ends."""
    if key == "deep":
        pickled = b")" + b"\x85" * 300_000  # () in a tuple in a tuple ...
    else:
        pickled = b")" + b"".join(
            b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(100)
        )  # (x, x), of which each is ...
    path = sealed(tmp_path / "a.ckpt", {"state_dict": {}})
    with zipfile.ZipFile(path) as file:
        entries = {entry.filename: file.read(entry) for entry in file.infolist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in entries.items():
            file.writestr(name, b"\x80\x02}(" + pickled + b"K\x01u." if name.endswith("data.pkl") else data)
    checkpoint.seal(path)
    with pytest.raises(CheckpointError, match="refused: .*tuple as a key"):
        checkpoint.load(path)


def test_another_programs_file_is_told_the_way(tmp_path):
    torch.save({}, tmp_path / "old.pth")
    with pytest.raises(CheckpointError, match=r"python -m cifar_lit.convert"):
        checkpoint.load(tmp_path / "old.pth")


def test_what_a_fresh_process_loads_has_the_same_logits_bit_for_bit(folder, tmp_path):
    images = torch.randn(3, 3, 16, 16)
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sys, torch; torch.set_num_threads(1); from cifar_lit import checkpoint;"
        "net, _ = checkpoint.load(sys.argv[1]); torch.save(net(torch.load(sys.argv[2])), sys.argv[3]);"
        "assert not {'lightning', 'hydra', 'torchmetrics'} & set(sys.modules), 'slow imports'"
    )
    arguments = [str(folder), str(tmp_path / "images.pt"), str(tmp_path / "logits.pt")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, cwd=REPOSITORY)
    assert torch.equal(torch.load(tmp_path / "logits.pt"), network()(images))


def test_facts_need_no_torch(folder):
    code = (
        "import sys; from pathlib import Path; from cifar_lit import bundle;"
        "bundle.read(Path(sys.argv[1])); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, cwd=REPOSITORY)


def test_a_bundle_replaces_the_one_before(folder):
    bundle.save(folder, network(1).state_dict(), replace(FACTS, title="other"), "# Other\n")
    images = torch.randn(2, 3, 16, 16)
    net, facts = checkpoint.load(folder)
    assert torch.equal(net(images), network(1)(images)) and facts.title == "other"
    assert os.listdir(folder.parent) == ["model"]


@pytest.mark.parametrize("at", ["weights", "rename"])
def test_a_bundle_that_cannot_be_written_leaves_the_old_one(folder, monkeypatch, at):
    def fail(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*{"weights": ("safetensors.torch.save_file", fail), "rename": ("cifar_lit.bundle.os.replace", fail)}[at])
    with pytest.raises(OSError, match="No space left"):
        bundle.save(folder, network(1).state_dict(), FACTS, "")
    monkeypatch.undo()
    assert checkpoint.load(folder)[1] == FACTS
    assert os.listdir(folder.parent) == ["model"]


def test_tied_weights_are_written(tmp_path):
    shared = torch.ones(3)
    bundle.save(tmp_path / "model", {"a": shared, "b": shared}, FACTS, "")
    assert torch.equal(load_file(tmp_path / "model" / "model.safetensors")["b"], shared)


def test_exports_are_written_down_and_checked(folder):
    (folder / "model.onnx").write_bytes(b"onnx")
    bundle.add_export(folder, folder / "model.onnx")
    assert set(bundle.read(folder).exports) == {"model.onnx"}
    assert bundle.verified(folder, "model.onnx") == folder / "model.onnx"
    checkpoint.load(folder)
    (folder / "model.onnx").write_bytes(b"omnx")
    with pytest.raises(CheckpointError, match="altered"):
        bundle.verified(folder, "model.onnx")
    with pytest.raises(CheckpointError, match=r"no SHA-256 of README.md"):
        bundle.verified(folder, "README.md")


def test_what_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="no such file or folder"):
        checkpoint.load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no bundle, and no run directory"):
        checkpoint.load(tmp_path)


def test_the_old_bundle_is_back_when_the_new_one_cannot_take_its_place(folder, monkeypatch):
    before, replace_file = (folder / "model.safetensors").read_bytes(), os.replace

    def failing(source, target):
        if str(source).endswith(".part"):
            raise OSError("the disk is gone")
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="the disk is gone"):
        bundle.save(folder, network(1).state_dict(), FACTS, "# Another\n")
    assert (folder / "model.safetensors").read_bytes() == before
    assert os.listdir(folder.parent) == ["model"]


def test_a_bundle_is_written_where_one_stands(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    bundle.save(Path("."), network().state_dict(), FACTS, "# A card\n")
    assert bundle.is_bundle(tmp_path / "here")
