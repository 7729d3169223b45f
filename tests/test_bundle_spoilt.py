"""Everything that can be wrong with a bundle is refused in one line."""

import json
import os
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_bundle import FACTS, NETWORK, network

from cifar_lit import bundle, checkpoint
from cifar_lit.bundle import CheckpointError
from cifar_lit.model.registry import build


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run" / "model"
    bundle.save(folder, network().state_dict(), FACTS, "# A card\n")
    return folder


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


def timm(name, image_size=None, **options):
    described = {"network": "timm", "name": name, "num_classes": 5, "image_size": image_size, "options": options}
    return changed(network=described)


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
    (described(layers=[10**9, 1]), r"numbers of its description come to 1e\+09"),
    (described(layers=[1] * 10**5, widths=[4] * 10**5), r"numbers of its description come to 5e\+05"),
    (described(layers=[1] * 10**4, widths=[4] * 10**4), r"too much work to build for so few weights"),
    (described(widths=[10**4, 8]), r"weight \S+ is"),
    (described(widths=[10**9, 8]), r"cannot be loaded"),
    (described(widths=[10**30, 8]), r"cannot be loaded"),
    (timm("test_vit", depth=10**7), r"numbers of its description come to 1e\+07"),
    (timm("test_vit", depth=30_000), r"too much work to build for so few weights"),
    (timm("resnet18", layers=[10**7, 1, 1, 1]), r"numbers of its description come to 1e\+07"),
    (timm("resnet18", layers=[10**4, 1, 1, 1]), r"too much work to build for so few weights"),
    (timm("efficientnet_b0", block_args=["ds_r9999999_k3"]), r"numbers of its description come to 1e\+07"),
    (timm("swin_tiny_patch4_window7_224", image_size=1600, window_size=100), r"it would take 16\.\d GB beside its weights"),
    (timm("test_vit", patch_size=0), r"cannot be loaded: integer division"),
    (timm("test_vit", depth=[[]]), r"cannot be loaded: timm's test_vit does not take these arguments"),
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


def test_a_network_of_timm_still_loads(folder):
    """Its calls are counted while it is built: for its own weights there are enough."""
    described = {"network": "timm", "name": "test_vit", "num_classes": 5, "image_size": 32, "options": {"depth": 40}}
    net = build(described).eval()
    bundle.save(folder, net.state_dict(), replace(FACTS, network=described), "")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(checkpoint.load(folder)[0](images), net(images)) and sys.getprofile() is None


def test_every_truncation_of_the_weights_is_noticed(folder):
    data = (folder / "model.safetensors").read_bytes()
    for quarter in range(4):
        (folder / "model.safetensors").write_bytes(data[: len(data) * quarter // 4])
        with pytest.raises(CheckpointError, match="altered"):
            checkpoint.load(folder)
