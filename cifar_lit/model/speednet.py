"""A small, wide network for short runs, in the line of airbench (Jordan 2024, arXiv:2404.00498)."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar_lit.model.conv import Conv3x3
from cifar_lit.model.parts import INITS, check_choice, check_share, check_size, check_stages, dropout_layer, initialise
from cifar_lit.model.whitening import PatchWhitening


class ConvNorm(nn.Sequential):
    """3x3 convolution and batch normalisation: (N, channels, H, W) -> (N, width, H, W), or half as high and wide where pooled."""

    def __init__(self, channels: int, width: int, norm_momentum: float, *, pool: bool = False) -> None:
        super().__init__()
        self.add_module("conv", Conv3x3(channels, width))
        if pool:
            self.add_module("pool", nn.MaxPool2d(kernel_size=2))
        self.add_module("norm", nn.BatchNorm2d(width, momentum=norm_momentum))
        self.add_module("act", nn.SiLU())


class ResidualPair(nn.Sequential):
    """The input, and what two convolutions make of it: (N, width, H, W) -> alike."""

    def __init__(self, width: int, norm_momentum: float) -> None:
        super().__init__(ConvNorm(width, width, norm_momentum), ConvNorm(width, width, norm_momentum))

    def forward(self, features: Tensor) -> Tensor:
        return features + super().forward(features)


class SpeedNet(nn.Module):
    """Patch whitening, groups of convolution + pooling + residual pairs, a max and mean head: images (N, 3, H, W) -> logits.

    widths: channels of each group; each halves H and W. layers: residual pairs of each group. norm_momentum: of batch
    norm's running statistics, high since runs are short. scale: of the logits. init: "dirac" or "kaiming". dropout: before
    the classifier. All arguments are plain values, so that a checkpoint can hold them.
    """

    def __init__(
        self,
        *,
        widths: list[int],
        layers: list[int],
        num_classes: int,
        norm_momentum: float = 0.4,
        scale: float = 0.125,
        init: str = "dirac",
        dropout: float = 0.0,
    ) -> None:
        check_stages(layers, widths)
        check_size("num_classes", num_classes)
        check_share("dropout", dropout)
        check_share("norm_momentum", norm_momentum)
        check_choice("init", init, INITS)
        if not scale > 0.0:
            raise ValueError(f"model.scale={scale!r}: allowed is above 0")
        super().__init__()
        self.scale = scale
        self.stem = PatchWhitening(kernel_size=2)
        self.groups = nn.Sequential()
        channels = self.stem.channels
        for width, depth in zip(widths, layers, strict=True):
            self.groups.append(ConvNorm(channels, width, norm_momentum, pool=True))
            for _ in range(depth):
                self.groups.append(ResidualPair(width, norm_momentum))
            channels = width
        self.dropout = dropout_layer(dropout)
        self.fc = nn.Linear(2 * channels, num_classes, bias=False)
        initialise(self, init)

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> the pooled features (N, 2 C) that the classifier sees: maxima, then means."""
        features = self.groups(self.stem(images))
        return torch.cat([features.amax((2, 3)), features.mean((2, 3))], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        return F.linear(self.dropout(self.features(images)), self.fc.weight) * self.scale


# Parameters are counted with 100 classes.
speednet = partial(SpeedNet, widths=[64, 256, 768], layers=[1, 1, 1])  # 13,961,088; 304 M multiply-adds at 32x32
speednet_small = partial(SpeedNet, widths=[32, 96, 256], layers=[1, 1, 1])  # 1,673,216
