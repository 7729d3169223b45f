"""Filters as tiles, and the maps that leave two layers."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from cifar_lit.explain import filters
from cifar_lit.explain.__main__ import main
from cifar_lit.explain.layers import Layer, twin
from cifar_lit.model.registry import create
from cifar_lit.model.resnet import ResNet, resnet8
from cifar_lit.model.speednet import speednet_small

pytestmark = pytest.mark.slow


def test_tiles_show_weights_as_colours_about_grey():
    weight = np.zeros((3, 3, 2, 2), np.float32)
    weight[0, 0, 0, 1], weight[0, 2, 1, 0] = 2.0, -4.0
    weight[1] = 0.1
    coloured, largest = filters.tiles(weight)
    assert coloured.shape == (3, 2, 2, 3) and largest.tolist() == pytest.approx([4.0, 0.1, 0.0])
    assert coloured[0, 0, 1].tolist() == [0.75, 0.5, 0.5]  # half the largest weight, in red
    assert coloured[0, 1, 0].tolist() == [0.5, 0.5, 0.0]
    assert (coloured[1] == 1).all() and (coloured[2] == 0.5).all()


def test_the_liveliest_maps_come_first():
    maps = np.random.default_rng(0).standard_normal((2, 4, 5, 5)) * np.array([1, 10, 0, 3])[None, :, None, None] + 7
    assert filters.liveliest(maps, 3).tolist() == [1, 3, 0]


@pytest.mark.parametrize(
    ("network", "first", "later"),
    [
        (resnet8, "conv1", "layer2"),
        (speednet_small, "stem", "groups.2.conv"),
        (partial(ResNet, block="basic", layers=[1, 1], widths=[8, 8], stem="whitening"), "conv1.0", "layer2"),
        (partial(create, name="resnet18"), "conv1", "layer1"),  # strides of 4 before the first stage
    ],
)
def test_which_layers_are_shown(predictor_of, network, first, later):
    net, images = twin(predictor_of(network).net), torch.zeros(1, 3, 32, 32)
    found = filters.first_layer(net, images)
    assert found is not None and found.name == first
    after = filters.later_layer(net, images, found)
    assert after is not None and after.name == later


def test_maps_are_what_left_the_layer(predictor_of):
    net = predictor_of(resnet8).net
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    layer = filters.first_layer(net, images)
    (maps,) = filters.outputs(net, [layer], images)
    np.testing.assert_allclose(maps, F.conv2d(images, net.conv1.weight, padding=1).detach(), atol=1e-5)  # not after the ReLU
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("network", [resnet8, speednet_small, partial(ResNet, block="basic", layers=[1], widths=[80])])
def test_pictures_are_written(bundle_of, tmp_path, capsys, network):
    assert main([str(bundle_of(network)), "--what", "filters", "-o", str(tmp_path / "out")]) == 0
    paths = [str(tmp_path / "out" / name) for name in ("filters.png", "feature_maps.png")]
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [*paths, str(tmp_path / "out" / "filters.md")]
    assert "filters are nearly dead" in said[5]
    for path in paths:
        with Image.open(path) as image:
            assert image.info["dpi"][0] >= 149.9 and min(image.size) > 300


def test_says_how_many_of_how_many_filters(predictor_of):
    net = predictor_of(partial(ResNet, block="basic", layers=[1], widths=[80])).net
    layer = filters.first_layer(net, torch.zeros(1, 3, 32, 32))
    figure = filters._filters(net.conv1.weight, layer, "wide")
    assert "the first 64 of 80 filters of layer conv1, 3x3" in figure.get_suptitle()
    assert sum(bool(axes.images) for axes in figure.axes) == 64


def test_maps_are_kept_from_work_in_place():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True))
    images = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    (maps,) = filters.outputs(net, [Layer("0", (1, 4, 4, 4), 1)], images)
    assert maps.min() < 0
