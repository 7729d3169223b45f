import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from cifar_lit.model.conv import Conv3x3
from cifar_lit.model.registry import build, describe
from cifar_lit.model.speednet import PoolTo2x2, SpeedNet, speednet

TINY = {"widths": [4, 8, 12], "layers": [1, 1, 1], "num_classes": 5}


@pytest.mark.parametrize(("size", "dtype"), [((2, 2), torch.float64), ((3, 2), torch.float64), ((5, 5), torch.float64)])
def test_conv3x3_is_a_convolution(size, dtype):
    torch.manual_seed(0)
    conv = Conv3x3(6, 7).to(dtype)
    features = torch.randn(4, 6, *size, dtype=dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    expected = F.conv2d(features, conv.weight, padding=1)
    weight = torch.randn_like(expected)
    grads = torch.autograd.grad((expected * weight).sum(), (features, conv.weight))
    found = conv(features)
    torch.testing.assert_close(found, expected)
    for mine, theirs in zip(torch.autograd.grad((found * weight).sum(), (features, conv.weight)), grads, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_conv3x3_takes_the_short_way_on_2x2_only(monkeypatch):
    taken = []
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, features: taken.append(tuple(features.shape[2:])))
    for side in (2, 3):
        Conv3x3(3, 3)(torch.zeros(1, 3, side, side))
    assert taken == [(3, 3)]


def test_size_of_the_network():
    with torch.device("meta"):
        net = speednet(num_classes=100)
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 32, 32))
    assert sum(parameter.numel() for parameter in net.parameters()) == 13_961_088
    assert counter.get_total_flops() / 2e6 == pytest.approx(226.9, abs=0.1)


@pytest.mark.parametrize("size", [17, 20, 24, 32])
def test_any_size_of_image(size):
    net = SpeedNet(**TINY)
    assert net(torch.zeros(2, 3, size, size)).shape == (2, 5) and net.features(torch.zeros(2, 3, size, size)).shape == (2, 24)


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("sides", [(4, 4), (5, 5), (7, 6), (3, 2)])
def test_the_last_group_leaves_2x2(sides, overlap):
    features = torch.randn(2, 3, *sides)
    pooled = PoolTo2x2(overlap)(features)
    assert pooled.shape == (2, 3, 2, 2)
    half = [-(-side // 2) for side in sides]
    second = [side // 2 if overlap else first for side, first in zip(sides, half, strict=True)]
    assert torch.equal(pooled[:, :, 0, 0], features[:, :, : half[0], : half[1]].amax((2, 3)))
    assert torch.equal(pooled[:, :, 1, 1], features[:, :, second[0] :, second[1] :].amax((2, 3)))
    with pytest.raises(RuntimeError, match="1x4"):
        PoolTo2x2(overlap)(torch.randn(2, 3, 1, 4))


def test_dirac_filters_pass_their_channels_on():
    net = SpeedNet(**TINY)
    conv = net.groups[1][0].conv
    features = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(conv(features), features)
    wider = net.groups[2].conv  # 4 channels in, 8 out
    assert torch.equal(F.conv2d(features, wider.weight, padding=1)[:, :4], features)
    assert wider.weight[4:].std() > 0
    assert not torch.equal(SpeedNet(**TINY, init="kaiming").groups[1][0].conv(features), features)


def test_a_description_is_enough():
    net = SpeedNet(**TINY, scale=0.25, dropout=0.1)
    again = build(describe(SpeedNet, **TINY, scale=0.25, dropout=0.1))
    again.load_state_dict(net.state_dict())
    images = torch.randn(2, 3, 20, 20)
    assert torch.equal(again.eval()(images), net.eval()(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "tanh"}, "model.activation='tanh'"),
        ({"widths": [4, 8]}, "model.layers"),
        ({"scale": 0.0}, "model.scale=0.0"),
        ({"norm_momentum": 1.0}, "model.norm_momentum=1.0"),
        ({"init": "zeros"}, "model.init='zeros'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        SpeedNet(**{**TINY, **options})
