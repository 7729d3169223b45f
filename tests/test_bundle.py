"""Bundles: the way there and back, and everything that can be wrong with one."""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from running import REPOSITORY
from safetensors.torch import load_file, save_file

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


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value != "gone"}))


def resign(folder, weights):
    save_file(weights, folder / "model.safetensors")
    edit(folder, sha256=bundle.digest(folder / "model.safetensors"))


def flip(folder):
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def change_weight(change):
    def spoil(folder):
        weights = load_file(folder / "model.safetensors")
        resign(folder, change(weights))

    return spoil


def content(name, data):
    def spoil(folder):
        (folder / name).write_bytes(data)
        if name == "model.safetensors":
            edit(folder, sha256=bundle.digest(folder / name))

    return spoil


def pipe(name):
    def spoil(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return spoil


def changed(**changes):
    return lambda folder: edit(folder, **changes)


def described(**changes):
    return changed(network={**NETWORK, **changes})


SPOILT = [
    (flip, r"model.safetensors: altered since it was written \(its SHA-256 does not fit\)$"),
    (change_weight(lambda w: w | {"fc.weight": torch.zeros(7, 8)}), r"weight fc.weight is \[7, 8\], by the description \[5, 8\]"),
    (change_weight(lambda w: {name: w[name] for name in w if name != "fc.bias"}), r"missing weight fc.bias"),
    (change_weight(lambda w: w | {"more": torch.zeros(1)}), r"unknown weight more"),
    (content("model.safetensors", b"nothing" * 9), r"cannot be loaded|can be loaded"),
    (content("model.safetensors", b"\xff" * 8 + b"{}"), r"can be loaded"),
    (lambda folder: (folder / "model.safetensors").unlink(), r"model.safetensors: No such file"),
    (pipe("model.safetensors"), r"not a regular file"),
    (pipe("config.json"), r"not a regular file"),
    (changed(sha256="gone"), r"no SHA-256 of model.safetensors"),
    (changed(sha256=7), r"no SHA-256 of model.safetensors"),
    (changed(schema=2), r"schema 2, known is 1"),
    (changed(network="gone"), r"it has no network"),
    (changed(classes="gone", mean="gone"), r"it has no classes, mean"),
    (described(network="os.system"), r"network 'os.system' is unknown"),
    (described(num_classes=6), r"as many names as the network has outputs, 6"),
    (described(depth=6), r"no argument depth"),
    (changed(network={"_target_": "os.system", "network": "ResNet", "num_classes": 5}), r"no argument _target_"),
    (changed(network={"_instantiator_": "a", "_class_path": "os.system", "num_classes": 5}), r"the key \"network\""),
    (changed(network={"network": "timm", "name": "local-dir:/etc", "num_classes": 5}), r"no timm model"),
    (changed(network={"network": "timm", "name": "hf-hub:a/b", "num_classes": 5}), r"no timm model"),
    (described(block=3), r"block"),
    (described(layers=[10**9, 1]), r"more layers than it has weights"),
    (described(layers=[1] * 10**5, widths=[4] * 10**5), r"more layers than it has weights"),
    (described(widths=[10**5, 8]), r"weight \S+ is"),
    (described(widths=[10**9, 8]), r"cannot be loaded"),
    (described(widths=[10**30, 8]), r"cannot be loaded"),
    (changed(network="ResNet"), r"network: allowed is a table"),
    (changed(classes=["a"] * 6, superclasses=[], superclass_of=[]), r"as many names"),
    (changed(classes=[1, 2, 3, 4, 5]), r"classes: allowed is a list of texts"),
    (changed(mean=[1, 2]), r"mean: allowed is three numbers"),
    (changed(std=[0.2, 0, 0.2]), r"std: allowed is numbers above 0"),
    (changed(mean=[float("nan"), 0, 0]), r"mean"),
    (changed(image_size=[32]), r"image_size"),
    (changed(image_size=[10**6, 10**6]), r"image_size: allowed is height and width in pixels, from 1 to 4096"),
    (changed(image_size=[0, 8]), r"image_size"),
    (changed(temperature=0), r"temperature"),
    (changed(temperature="hot"), r"temperature"),
    (changed(superclass_of=[0, 1, 2, 0, 0]), r"superclass_of"),
    (changed(superclass_of=[0]), r"superclass_of"),
    (changed(metrics={"a": "b"}), r"metrics"),
    (changed(exports={"../../etc/passwd": "0"}), r"exports: allowed is plain file names"),
    (content("config.json", b'{"network": '), r"no JSON"),
    (content("config.json", b"[]"), r"no table"),
    (content("config.json", b"[" * 200_000), r"no JSON"),
    (content("config.json", b"\xff\xfe"), r"no JSON"),
    (content("config.json", b" " * (9 << 20)), r"more than 8 MB"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILT)
def test_a_spoilt_bundle_is_refused_in_one_line(folder, spoil, message):
    spoil(folder)
    with pytest.raises(CheckpointError, match=message) as error:
        checkpoint.load(folder)
    text = str(error.value)
    assert str(folder) in text and "\n" not in text and len(text) < 600


def test_every_truncation_of_the_weights_is_noticed(folder):
    data = (folder / "model.safetensors").read_bytes()
    for quarter in range(4):
        (folder / "model.safetensors").write_bytes(data[: len(data) * quarter // 4])
        with pytest.raises(CheckpointError, match="altered"):
            checkpoint.load(folder)


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
