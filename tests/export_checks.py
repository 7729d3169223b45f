"""What the tests of exports share: small bundles, and the command run inside the test's own process."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from cifar_lit import bundle, export
from cifar_lit.bundle import Facts
from cifar_lit.model.registry import build

SMALL = {"layers": [1, 1], "widths": [4, 8], "num_classes": 5}
BASIC = {"network": "ResNet", "block": "basic", **SMALL}


@pytest.fixture(scope="module", autouse=True)
def one_registry() -> Iterator[None]:
    """What ONNX has for each operation of torch: half a second to gather, and the same for every export."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


def made(folder: Path, description: dict = BASIC, side: int = 32) -> Path:
    """A bundle of a network that has seen images: its statistics are not those it began with, and its logits differ."""
    torch.manual_seed(0)
    net = build(description)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    with torch.no_grad():
        for _ in range(5):
            net.train()(torch.randn(16, 3, side, side))
        last = [parameter for parameter in net.parameters() if parameter.ndim == 2][-1]
        last.normal_()  # SpeedNet's and timm's begin so small that any two networks would agree
    facts = Facts(
        title="a title", data="drawn", network=description, classes=tuple("abcde"), mean=(0.5, 0.48, 0.44),
        std=(0.27, 0.25, 0.28), image_size=(side, side), temperature=1.5,
    )  # fmt: skip
    bundle.save(folder, net.state_dict(), facts, "# A card\n")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def asked(*arguments: object) -> int:
    try:
        return export.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and len(err) < 500
    return err
