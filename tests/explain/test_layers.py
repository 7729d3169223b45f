"""Layers found by watching an image pass."""

import torch
from torch import Tensor, nn

from cifar_lit.explain.layers import last_spatial, trace


class Forked(nn.Module):
    """A branch with a map of its own beside a shortcut, one activation used twice, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.trunk = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        features = self.act(self.trunk(self.act(self.stem(images))))
        return self.fc((features + self.branch(features)).mean((2, 3)))


def test_a_branch_beside_a_shortcut_and_what_runs_twice_are_passed_over():
    net, images = Forked(), torch.zeros(1, 3, 16, 16)
    assert [layer.name for layer in trace(net, images)] == ["stem", "trunk", "branch"]
    layer = last_spatial(net, images, (4, 4))
    assert layer is not None and (layer.name, layer.shape, layer.depth) == ("trunk", (1, 4, 16, 16), 2)
    assert not any(module._forward_hooks for module in net.modules())


def test_nothing_is_found_where_maps_are_too_small_or_only_the_first_has_any():
    images = torch.zeros(1, 3, 16, 16)
    assert last_spatial(Forked(), images, (17, 4)) is None
    patches = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.Flatten(), nn.Linear(128, 2))
    assert last_spatial(patches, images, (4, 4)) is None


def test_channels_last_outputs_are_no_maps():
    class Last(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return features.permute(0, 2, 3, 1)

    net = nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 1), Last(), nn.Flatten(), nn.LazyLinear(2))
    images = torch.zeros(1, 3, 16, 16)
    net(images)
    layer = last_spatial(net, images, (4, 4))
    assert layer is not None and layer.name == "1"
