import importlib.util
import inspect
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate

from cifar_lit.model import build, describe

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
SIZES = {"block", "layers", "widths", "stem_width", "num_classes"}


def composed(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(overrides=[f"+model={name}", *overrides]).model


def network(name, *overrides):
    return instantiate(composed(name, *overrides), _convert_="all")


def test_every_network_has_a_file():
    assert set(NAMES) == {
        "resnet8",
        "resnet18",
        "resnet20",
        "resnet34",
        "resnet34_deep",
        "resnet44v2",
        "resnet50",
        "resnet50v2_narrow",
        "speednet",
        "speednet_small",
        "timm",
        "wrn28_10",
    }


@pytest.mark.parametrize("name", NAMES)
def test_first_line_describes(name):
    first = (CONF / "model" / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ") and 20 < len(first) < 130


@pytest.mark.parametrize("name", [name for name in NAMES if name != "timm"])
def test_composes_instantiates_and_runs(name):
    made = network(name)
    with torch.device("meta"):  # weightless, so that large networks are quick
        logits = made(num_classes=7)(torch.empty(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    assert describe(made, num_classes=7)["num_classes"] == 7


@pytest.mark.parametrize("name", [name for name in NAMES if name != "timm"])
def test_keys_and_values_are_the_constructors_options_and_defaults(name):
    cfg = composed(name)
    assert cfg._target_.endswith(f".{name}") and cfg._partial_ is True
    network_of = get_object(cfg._target_)  # with what it sets itself, beside the defaults of the class
    defaults = {key: parameter.default for key, parameter in inspect.signature(network_of).parameters.items() if key not in SIZES}
    assert {key: value for key, value in cfg.items() if not key.startswith("_")} == defaults


def test_resnet8_gives_logits():
    assert network("resnet8")(num_classes=7)(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_overrides_reach_the_network_and_its_description():
    made = network("resnet44v2", "model.block_dropout=0.3", "model.stem=imagenet", "+model.layers=[1,1,1]")
    description = describe(made, num_classes=7)
    assert description["layers"] == [1, 1, 1] and description["stem"] == "imagenet"
    assert build(description).layer3[0].dropout.p == 0.3


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_timm():
    made = network("timm", "model.name=test_vit", "model.image_size=32", "+model.options.patch_size=8")
    assert made(num_classes=7).eval()(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    assert describe(made, num_classes=7)["options"] == {"patch_size": 8}
    cfg = composed("timm")
    parameters = inspect.signature(made.func).parameters
    assert {key for key in cfg if not key.startswith("_")} == set(parameters) - SIZES
