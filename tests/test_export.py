"""Exports: the very network, registered in its bundle or leaving no trace, and run without torch."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from export_checks import BASIC, SMALL, asked, contents, made, one_registry  # noqa: F401  a fixture for all
from PIL import Image
from running import REPOSITORY, completed

from cifar_lit import bundle, checkpoint, export
from cifar_lit.bundle import CheckpointError
from cifar_lit.predict import Predictor

pytestmark = pytest.mark.slow

SPEED = {"network": "SpeedNet", "widths": [8, 12, 16], "layers": [1, 1, 1], "num_classes": 5}
# Each family, and each of its ways through forward(); images of 32x32 but where a number says otherwise.
FAMILIES = {
    "basic": (BASIC, 32),
    "bottleneck, imagenet stem, max pool": (
        {**BASIC, "block": "bottleneck", "stem": "imagenet", "pool": "max", "dropout": 0.5},
        48,
    ),
    "whitening stem, drop path": ({**BASIC, "stem": "whitening", "drop_path": 0.5}, 32),
    "preact": ({"network": "PreActResNet", **SMALL, "block_dropout": 0.5, "drop_path": 0.5, "dropout": 0.5}, 32),
    "speednet": ({**SPEED, "dropout": 0.5}, 32),
    "speednet, odd": ({**SPEED, "activation": "relu"}, 27),
    "timm": ({"network": "timm", "name": "test_resnet", "num_classes": 5, "dropout": 0.5}, 32),
    "timm, attention": ({"network": "timm", "name": "test_vit", "num_classes": 5, "image_size": 32}, 32),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "run" / "model")


def run_file(path: Path, images: torch.Tensor) -> torch.Tensor:
    """An exported file run without any of the code under test."""
    if path.suffix == ".pt2":
        with torch.no_grad():
            return torch.export.load(path).module()(images)
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


# Both begin with torch.export: what it makes of a family is tried by itself where the ways through forward() differ most.
ALONE = ("basic", "preact", "speednet, odd", "timm, attention")


@pytest.mark.parametrize(("family", "to"), [*((name, "onnx") for name in FAMILIES), *((name, "torch_export") for name in ALONE)])
def test_every_family(family, to, tmp_path):
    description, side = FAMILIES[family]
    folder = made(tmp_path / "model", description, side)
    before = contents(folder)
    found = export.export(folder, to)
    after = contents(folder)
    name = export.FILES[to]
    assert after.keys() == before.keys() | {name}
    assert after[bundle.WEIGHTS] == before[bundle.WEIGHTS] and after[bundle.CARD] == before[bundle.CARD]
    assert found.path == bundle.verified(folder, name)
    assert (found.size_bytes, found.difference <= 1e-4, found.seconds > 0) == (len(after[name]), True, True)
    assert str(REPOSITORY).encode() not in after[name] and b"site-packages" not in after[name]

    net, _ = checkpoint.load(folder)
    images = torch.randn(5, 3, side, side)
    with torch.no_grad():
        logits = net(images)
    assert logits.std(dim=0).min() > 0.01  # else anything would agree
    torch.testing.assert_close(run_file(found.path, images), logits, atol=1e-4, rtol=1e-4)


def test_an_onnx_file_explains_itself(folder):
    import onnx

    path = export.export(folder, "onnx").path
    model = onnx.load(path, load_external_data=False)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    sides = [[side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
             for value in (*model.graph.input, *model.graph.output)]  # fmt: skip
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["images", "logits"]
    assert sides == [["batch", 3, 32, 32], ["batch", 5]]
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
    assert not any(part.metadata_props for part in (model.graph, *model.graph.node))
    (entry,) = model.metadata_props
    facts = bundle.read(folder).plain()
    told = json.loads(entry.value)
    assert entry.key == "cifar_lit" and told == {name: facts[name] for name in told}
    assert told.keys() == {"title", "classes", "mean", "std", "image_size", "temperature"}


def test_twice_is_once_and_both_stay(folder):
    export.export(folder, "onnx")
    export.export(folder, "torch_export")
    before = contents(folder)
    for to in export.FILES:
        export.export(folder, to)
    assert contents(folder) == before
    assert bundle.read(folder).exports.keys() == {"model.onnx", "model.pt2"}


def test_the_weights_are_read_again(folder, tmp_path):
    """A new bundle in the same place: its export is the new network's."""
    export.export(folder, "onnx")
    made(folder, {**BASIC, "pool": "max"})
    assert not bundle.read(folder).exports
    export.export(folder.parent, "onnx")
    net, _ = checkpoint.load(folder)
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(run_file(folder / "model.onnx", images), net(images), atol=1e-4, rtol=1e-4)


WITHOUT_TORCH = """
import sys
from cifar_lit import predict
code = predict.main(sys.argv[1:])
heavy = {"torch", "torchvision", "lightning", "hydra", "timm"} & sys.modules.keys()
sys.exit(f"imported: {heavy}" if heavy else code)
"""


@pytest.mark.slow
def test_predictor_runs_it_without_torch(folder, tmp_path):
    image = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(image)
    export.export(folder, "onnx")
    command = [sys.executable, "-c", WITHOUT_TORCH, str(folder), str(image), "--runtime", "onnx", "--json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)["guesses"]
    expected = Predictor(folder, device="cpu")(image)
    assert [guess["label"] for guess in found] == [guess.label for guess in expected]
    assert [guess["probability"] for guess in found] == pytest.approx([guess.probability for guess in expected], abs=1e-4)


def test_predictor_refuses_an_altered_export(folder):
    path = export.export(folder, "onnx").path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.onnx: altered since it was written") as error:
        Predictor(folder, runtime="onnx")
    assert "\n" not in str(error.value)


def test_predictor_says_what_to_run(folder):
    with pytest.raises(CheckpointError) as error:
        Predictor(folder, runtime="onnx")
    assert f"python -m cifar_lit.export {folder} --to onnx" in str(error.value)


@pytest.mark.slow
def test_command_says_one_line(folder):
    for to, name in export.FILES.items():
        done = completed(["-m", "cifar_lit.export", str(folder.parent), "--to", to])
        assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
        said = re.escape(str(folder / name)) + r": 0\.\d MB in \d+\.\d s; logits differ from the network's by \d\.\de[+-]\d\d at"
        assert re.match(said, done.stdout)


@pytest.mark.parametrize("to", export.FILES)
def test_another_file(to, folder, tmp_path, capsys):
    before = contents(folder)
    (tmp_path / "elsewhere").write_text("old")
    assert asked(folder, "--to", to, "-o", tmp_path / "elsewhere") == 0
    assert contents(folder) == before
    assert {path.name for path in tmp_path.iterdir()} == {"run", "elsewhere"}
    export.export(folder, to)
    assert (tmp_path / "elsewhere").read_bytes() == (folder / export.FILES[to]).read_bytes()
