import ast
import json
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import cifar_lit.model
from cifar_lit.model import NETWORKS, build, describe
from cifar_lit.model.preact import PreActResNet, resnet44v2, wrn28_10
from cifar_lit.model.resnet import ResNet, resnet8, resnet34
from cifar_lit.model.timm_model import create


def test_describe_flattens_partials_and_later_ones_win():
    network = partial(partial(resnet8, dropout=0.1, stem="imagenet"), dropout=0.2)
    assert describe(network, num_classes=7) == {
        "network": "ResNet",
        "block": "basic",
        "layers": [1, 1, 1],
        "widths": [16, 32, 64],
        "dropout": 0.2,
        "stem": "imagenet",
        "num_classes": 7,
    }
    assert describe(partial(resnet8, num_classes=10), num_classes=7)["num_classes"] == 7
    assert describe(wrn28_10, num_classes=3)["network"] == "PreActResNet"
    assert describe(ResNet, block="basic", layers=(1, 2), widths=(4, 8), num_classes=2)["layers"] == [1, 2]
    assert describe(partial(create, name="resnet18", options={"a": (1,)}), num_classes=2) == {
        "network": "timm",
        "name": "resnet18",
        "options": {"a": [1]},
        "num_classes": 2,
    }


def test_a_description_is_a_copy():
    describe(resnet8, num_classes=7)["layers"].append(9)
    assert resnet8.keywords["layers"] == [1, 1, 1]


@pytest.mark.parametrize(
    "network",
    [
        partial(resnet8, dropout=0.1, pool="max", stem="imagenet", drop_path=0.1),
        partial(PreActResNet, layers=[2, 1], widths=[4, 8], stem_width=3, block_dropout=0.1, zero_init_residual=True),
    ],
)
def test_round_trip(network):
    net = network(num_classes=7).eval()
    description = json.loads(json.dumps(describe(network, num_classes=7)))
    again = build(description).eval()
    assert type(again) is type(net)
    assert str(again) == str(net)  # dropout and drop_path have no weights to compare
    again.load_state_dict(net.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(images), net(images))


@pytest.mark.parametrize("network", [resnet34, resnet44v2, wrn28_10])
def test_round_trip_of_large_networks_keeps_keys_and_shapes(network):
    with torch.device("meta"):
        net, again = network(num_classes=100), build(describe(network, num_classes=100))
    shapes = {key: value.shape for key, value in net.state_dict().items()}
    assert {key: value.shape for key, value in again.state_dict().items()} == shapes


def test_pretrained_is_not_described_and_not_built():
    description = describe(partial(create, name="resnet18", pretrained=True), num_classes=2)
    assert "pretrained" not in description
    with pytest.raises(ValueError, match="weights come from the checkpoint"):
        build({**description, "pretrained": True})


@pytest.mark.parametrize(
    ("network", "more", "said"),
    [
        (torch.nn.Linear, {}, "'Linear' is no known network: allowed is ResNet, PreActResNet, SpeedNet, timm"),
        (partial(torch.nn.Linear, 3), {}, "by name"),
        (resnet8, {}, "needs the argument num_classes"),
        (resnet8, {"num_classes": 2, "blocks": 3}, "no argument blocks: allowed is block, layers"),
        (resnet8, {"num_classes": torch.tensor(2)}, "num_classes=tensor"),
        (partial(create, name="resnet18", options={"act": {"a": len}}), {"num_classes": 2}, "options.act.a="),
    ],
)
def test_describe_refuses(network, more, said):
    with pytest.raises(ValueError, match=said) as refused:
        describe(network, **more)
    assert "\n" not in str(refused.value)


RESNET8 = describe(resnet8, num_classes=2)


@pytest.mark.parametrize(
    ("description", "said"),
    [
        (None, 'key "network"'),
        ({"num_classes": 2}, 'key "network"'),
        ({"network": "os.system", "command": "true"}, "'os.system' is unknown: allowed is ResNet, PreActResNet, SpeedNet, timm"),
        ({"network": ["ResNet"]}, "is unknown"),
        ({"network": "ResNet"}, "needs the argument block, layers, widths, num_classes"),
        ({**RESNET8, "_target_": "os.system"}, "no argument _target_"),
        ({**RESNET8, "dropout": 1}, "model.dropout=1"),
        ({**RESNET8, "layers": ["a", "b", "c"]}, "model.layers"),
        ({"network": "PreActResNet", "layers": [1], "widths": [4], "num_classes": 2, "block": "basic"}, "no argument block"),
    ],
)
def test_build_refuses(description, said):
    with pytest.raises(ValueError, match=said) as refused:
        build(description)
    assert "\n" not in str(refused.value)


def test_every_network_takes_arguments_by_name_only():
    for network in NETWORKS.values():
        with pytest.raises(TypeError, match="positional"):
            network("basic", 3)


def test_modules_import_torch_only():
    allowed = {*sys.stdlib_module_names, "torch", "cifar_lit"}
    for path in Path(cifar_lit.model.__file__).parent.glob("*.py"):
        for statement in ast.parse(path.read_text()).body:  # top level only: timm is imported inside its function
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                names = [statement.module] if isinstance(statement, ast.ImportFrom) else [alias.name for alias in statement.names]
                for name in names:
                    assert name.split(".")[0] in allowed, f"{path.name} imports {name}"
                    assert not name.startswith("cifar_lit") or name.startswith("cifar_lit.model"), f"{path.name} imports {name}"
