"""Residual networks (He et al. 2016a): two blocks, one class, a table of sizes.

State-dict keys are torchvision's, so that weights go both ways.
"""

from functools import partial

from torch import Tensor, nn

from cifar_lit.model.parts import (
    INITS,
    POOLS,
    STEMS,
    check_choice,
    check_flag,
    check_share,
    check_size,
    check_stages,
    drop_path_layer,
    drop_path_rates,
    dropout_layer,
    initialise,
    pool_features,
    stem_conv,
    stem_pool,
)


def _downsample(channels: int, width: int, stride: int) -> nn.Module:
    """The shortcut: a 1x1 convolution where the shape changes, else nothing."""
    if stride == 1 and channels == width:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels, width, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(width))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions: (N, channels, H, W) -> (N, width, H / stride, W / stride)."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int, drop_path: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(channels, width, stride)
        self.drop_path = drop_path_layer(drop_path)

    def forward(self, features: Tensor) -> Tensor:
        branch = self.relu(self.bn1(self.conv1(features)))
        branch = self.bn2(self.conv2(branch))
        output: Tensor = self.relu(self.drop_path(branch) + self.downsample(features))
        return output

    def zero_init_residual(self) -> None:
        nn.init.zeros_(self.bn2.weight)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last four times as wide: (N, channels, H, W) -> (N, 4 width, H / stride, W / stride).

    The stride sits in the 3x3 convolution ("ResNet v1.5"), as in torchvision.
    """

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int, drop_path: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(channels, width * self.expansion, stride)
        self.drop_path = drop_path_layer(drop_path)

    def forward(self, features: Tensor) -> Tensor:
        branch = self.relu(self.bn1(self.conv1(features)))
        branch = self.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        output: Tensor = self.relu(self.drop_path(branch) + self.downsample(features))
        return output

    def zero_init_residual(self) -> None:
        nn.init.zeros_(self.bn3.weight)


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNet(nn.Module):
    """Residual network: images (N, 3, H, W) -> logits (N, num_classes).

    block: "basic" or "bottleneck". layers, widths: blocks and channels of each stage; every stage but the first halves H and W.
    stem: "cifar" (3x3, stride 1, no pooling) or "imagenet" (7x7, stride 2, then max-pooling) or "whitening" (see stem_conv).
    pool: "avg" or "max". init: "kaiming" or "dirac" (see initialise).
    dropout: share of features dropped before the classifier. drop_path: of the last block, linear over depth.
    zero_init_residual: every residual branch starts at zero (Goyal et al. 2017).

    All arguments are plain values, so that a checkpoint can hold them. Bad ones raise ValueError before any weight is allocated.
    """

    def __init__(
        self,
        *,
        block: str,
        layers: list[int],
        widths: list[int],
        num_classes: int,
        stem: str = "cifar",
        pool: str = "avg",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        zero_init_residual: bool = False,
        init: str = "kaiming",
    ) -> None:
        check_choice("block", block, tuple(BLOCKS))
        check_stages(layers, widths)
        check_size("num_classes", num_classes)
        check_choice("stem", stem, STEMS)
        check_choice("pool", pool, POOLS)
        check_share("dropout", dropout)
        check_share("drop_path", drop_path)
        check_flag("zero_init_residual", zero_init_residual)
        check_choice("init", init, INITS)
        super().__init__()
        self.stage_names = [f"layer{number}" for number in range(1, len(layers) + 1)]
        self.pool = pool

        self.conv1 = stem_conv(stem, widths[0])
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = stem_pool(stem)
        rates = iter(drop_path_rates(drop_path, sum(layers)))
        channels = widths[0]
        for name, depth, width in zip(self.stage_names, layers, widths, strict=True):
            stage = nn.Sequential()
            for index in range(depth):
                stride = 2 if index == 0 and name != "layer1" else 1
                stage.append(BLOCKS[block](channels, width, stride, next(rates)))
                channels = width * BLOCKS[block].expansion
            self.add_module(name, stage)
        self.dropout = dropout_layer(dropout)
        self.fc = nn.Linear(channels, num_classes)

        initialise(self, init)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, (BasicBlock, Bottleneck)):
                    module.zero_init_residual()

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> the pooled features (N, C) that the classifier sees."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for name in self.stage_names:
            features = getattr(self, name)(features)
        return pool_features(features, self.pool)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(self.features(images)))
        return logits


# Parameters are counted with 100 classes. The first two are small enough to train on a CPU: He et al.'s CIFAR family, with
# 1x1 convolutions instead of padding as shortcuts.
resnet8 = partial(ResNet, block="basic", layers=[1, 1, 1], widths=[16, 32, 64])  # 83,892
resnet20 = partial(ResNet, block="basic", layers=[3, 3, 3], widths=[16, 32, 64])  # 278,324
resnet18 = partial(ResNet, block="basic", layers=[2, 2, 2, 2], widths=[64, 128, 256, 512])  # 11,220,132
resnet34 = partial(ResNet, block="basic", layers=[3, 4, 6, 3], widths=[64, 128, 256, 512])  # 21,328,292
resnet34_deep = partial(ResNet, block="basic", layers=[5, 5, 5, 5], widths=[64, 128, 256, 512])  # 30,032,292
resnet50 = partial(ResNet, block="bottleneck", layers=[3, 4, 6, 3], widths=[64, 128, 256, 512])  # 23,705,252
