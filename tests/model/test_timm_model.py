import json
import sys
from functools import partial

import pytest
import torch

from cifar_lit.model import build, describe
from cifar_lit.model.timm_model import create

needs_timm = pytest.mark.usefixtures("timm")


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm", reason="timm is not installed")


@needs_timm
def test_options_reach_timm():
    net = create(name="test_vit", num_classes=7, image_size=32, dropout=0.25, drop_path=0.5, options={"patch_size": 8})
    assert net.patch_embed.grid_size == (4, 4)
    assert net.head_drop.p == 0.25
    assert net.blocks[-1].drop_path1.drop_prob == 0.5
    assert net.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 7)


@needs_timm
def test_null_keeps_timms_default_and_zero_does_not(timm, monkeypatch):
    seen = []
    monkeypatch.setattr(timm, "create_model", lambda name, **options: seen.append(options))
    create(name="test_resnet", num_classes=7)
    create(name="test_resnet", num_classes=7, dropout=0.0)
    assert [options["drop_rate"] for options in seen] == [None, 0.0]
    assert all(options["pretrained"] is False for options in seen)


@needs_timm
def test_round_trip():
    network = partial(create, name="test_resnet.r160_in1k", dropout=0.1, options={"stem_type": ""})
    net = network(num_classes=7).eval()
    again = build(json.loads(json.dumps(describe(network, num_classes=7)))).eval()
    again.load_state_dict(net.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(images), net(images))
    assert again.drop_rate == 0.1


@needs_timm
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "resnet_18"}, "the nearest are .*resnet18"),
        ({"name": "resnet18.no_such_tag"}, "the nearest are"),
        ({"name": "hf-hub:someone/resnet18"}, "is no timm model"),
        ({"name": "local-dir:/tmp"}, "is no timm model"),
        ({"name": 18}, "is no timm model"),
        ({"options": {"no_such_option": 1}}, "unexpected keyword argument 'no_such_option'"),
        ({"name": "vgg11", "drop_path": 0.1}, "unexpected keyword argument 'drop_path_rate'"),
        ({"image_size": 32}, "unexpected keyword argument 'img_size'"),
        ({"options": {"drop_rate": 0.1}}, "is set by model.dropout"),
        ({"options": {"checkpoint_path": "weights.pth"}}, "is not allowed"),
        ({"options": {"pretrained_cfg": {"file": "weights.pth"}}}, "is not allowed"),
        ({"options": ["patch_size"]}, "must be a mapping"),
        ({"dropout": 1.0}, "model.dropout=1.0"),
        ({"drop_path": -1}, "model.drop_path=-1"),
        ({"image_size": 0}, "model.image_size=0"),
        ({"num_classes": 0}, "model.num_classes=0"),
        ({"pretrained": "yes"}, "model.pretrained='yes'"),
    ],
)
def test_bad_values_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said) as refused:
        create(**{"name": "test_resnet", "num_classes": 7, **arguments})
    assert "\n" not in str(refused.value)


def test_without_timm_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match="pip install timm") as refused:
        create(name="resnet18", num_classes=7)
    assert "\n" not in str(refused.value)
