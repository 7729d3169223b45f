"""A small, wide network for short runs, in the line of airbench (Jordan 2024, arXiv:2404.00498)."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar_lit.model.conv import Conv3x3
from cifar_lit.model.parts import (
    INITS,
    check_choice,
    check_flag,
    check_share,
    check_size,
    check_stages,
    dropout_layer,
    initialise,
)
from cifar_lit.model.whitening import PatchWhitening

ACTIVATIONS = {"silu": nn.SiLU, "relu": nn.ReLU}


class PoolTo2x2(nn.Module):
    """Maxima of four quarters: (N, C, H, W) -> (N, C, 2, 2), H and W at least 2.

    What comes behind sees one size of features, whatever the size of the images, which may change in training. overlap:
    where a side is odd, all quarters have its middle; else those at the top and left have, and the others are smaller.
    """

    def __init__(self, overlap: bool) -> None:
        super().__init__()
        self.overlap = overlap

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[2:]
        if min(height, width) < 2:
            raise RuntimeError(f"features of {height}x{width} have no quarters")
        half = (-(-height // 2), -(-width // 2))
        step = (height // 2, width // 2) if self.overlap else half
        return F.max_pool2d(features, half, step, ceil_mode=not self.overlap)


class ConvNorm(nn.Sequential):
    """3x3 convolution, pooling where there is one, batch normalisation, activation: (N, channels, H, W) -> (N, width, h, w)."""

    def __init__(
        self, channels: int, width: int, *, norm_momentum: float, activation: str, pool: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.add_module("conv", Conv3x3(channels, width))
        if pool is not None:
            self.add_module("pool", pool)
        self.add_module("norm", nn.BatchNorm2d(width, momentum=norm_momentum))
        self.add_module("act", ACTIVATIONS[activation]())


class ResidualPair(nn.Sequential):
    """The input, and what two convolutions make of it: (N, width, H, W) -> alike."""

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__(ConvNorm(width, width, **options), ConvNorm(width, width, **options))

    def forward(self, features: Tensor) -> Tensor:
        return features + super().forward(features)


class SpeedNet(nn.Module):
    """Patch whitening, groups of convolution + pooling + residual pairs, a max and mean head: images (N, 3, H, W) -> logits.

    widths: channels of each group; each halves H and W, but the last, which leaves 2x2. layers: residual pairs of each
    group. activation: "silu" or "relu". norm_momentum: of batch norm's running statistics, high since runs are short.
    scale: of the logits. init: "dirac" or "kaiming". dropout: before the classifier. overlap: of the last group's quarters
    where a side is odd. All arguments are plain values, so that a checkpoint can hold them.
    """

    def __init__(
        self,
        *,
        widths: list[int],
        layers: list[int],
        num_classes: int,
        activation: str = "silu",
        norm_momentum: float = 0.4,
        scale: float = 0.3,
        init: str = "dirac",
        dropout: float = 0.0,
        overlap: bool = True,
    ) -> None:
        check_stages(layers, widths)
        check_size("num_classes", num_classes)
        check_share("dropout", dropout)
        check_share("norm_momentum", norm_momentum)
        check_choice("activation", activation, tuple(ACTIVATIONS))
        check_choice("init", init, INITS)
        check_flag("overlap", overlap)
        if not scale > 0.0:
            raise ValueError(f"model.scale={scale!r}: allowed is above 0")
        super().__init__()
        self.scale = scale
        self.stem = PatchWhitening(kernel_size=2)
        self.groups = nn.Sequential()
        channels = self.stem.channels
        options: dict[str, Any] = {"norm_momentum": norm_momentum, "activation": activation}
        for number, (width, depth) in enumerate(zip(widths, layers, strict=True), start=1):
            pool = PoolTo2x2(overlap) if number == len(widths) else nn.MaxPool2d(kernel_size=2)
            self.groups.append(ConvNorm(channels, width, pool=pool, **options))
            for _ in range(depth):
                self.groups.append(ResidualPair(width, **options))
            channels = width
        self.dropout = dropout_layer(dropout)
        self.fc = nn.Linear(2 * channels, num_classes, bias=False)
        initialise(self, init)

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> the pooled features (N, 2 C) that the classifier sees: maxima, then means."""
        features = self.groups(self.stem(images))
        # Not amax: compiled in bfloat16, its gradient looks for the maximum among numbers that were not rounded, and finds none.
        maxima = F.max_pool2d(features, features.shape[2:])
        return torch.cat([maxima.flatten(1), features.mean((2, 3))], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        return F.linear(self.dropout(self.features(images)), self.fc.weight) * self.scale


# Parameters are counted with 100 classes.
speednet = partial(SpeedNet, widths=[64, 256, 768], layers=[1, 1, 1], overlap=False)  # 13,961,088; 227 M multiply-adds at 32x32
speednet_small = partial(SpeedNet, widths=[32, 96, 256], layers=[1, 1, 1], activation="relu")  # 1,673,216
