"""Pre-activation residual networks (He et al. 2016b) and Wide ResNet (Zagoruyko & Komodakis 2016)."""

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


class PreActBlock(nn.Module):
    """Normalise, activate, convolve, twice: (N, channels, H, W) -> (N, width, H / stride, W / stride).

    Where the shape changes, the shortcut is a bare 1x1 convolution of the activated input; elsewhere it is the input itself.
    """

    def __init__(self, channels: int, width: int, stride: int, block_dropout: float, drop_path: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.dropout = dropout_layer(block_dropout)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != width:
            self.downsample = nn.Conv2d(channels, width, kernel_size=1, stride=stride, bias=False)
        self.drop_path = drop_path_layer(drop_path)

    def forward(self, features: Tensor) -> Tensor:
        activated = self.relu(self.bn1(features))
        shortcut = features if self.downsample is None else self.downsample(activated)
        branch = self.conv1(activated)
        branch = self.conv2(self.dropout(self.relu(self.bn2(branch))))
        output: Tensor = self.drop_path(branch) + shortcut
        return output

    def zero_init_residual(self) -> None:
        # The branch ends in a convolution here, not in a normalisation.
        nn.init.zeros_(self.conv2.weight)


class PreActResNet(nn.Module):
    """Pre-activation residual network of basic blocks: images (N, 3, H, W) -> logits (N, num_classes).

    layers, widths: blocks and channels of each stage; every stage but the first halves H and W. stem_width: channels of the first
    convolution; null takes widths[0]. stem: "cifar" (3x3, stride 1, no pooling) or "imagenet" (7x7, stride 2, then max-pooling)
    or "whitening" (see stem_conv). init: "kaiming" or "dirac" (see initialise).
    pool: "avg" or "max". dropout: share of features dropped before the classifier. block_dropout: share dropped between the two
    convolutions of every block. drop_path: stochastic depth's rate in the last block, linear over depth.
    zero_init_residual: every residual branch starts at zero.

    All arguments are plain values, so that a checkpoint can hold them. Bad ones raise ValueError before any weight is allocated.
    """

    def __init__(
        self,
        *,
        layers: list[int],
        widths: list[int],
        num_classes: int,
        stem: str = "cifar",
        stem_width: int | None = None,
        pool: str = "avg",
        dropout: float = 0.0,
        block_dropout: float = 0.0,
        drop_path: float = 0.0,
        zero_init_residual: bool = False,
        init: str = "kaiming",
    ) -> None:
        check_stages(layers, widths)
        check_size("num_classes", num_classes)
        check_choice("stem", stem, STEMS)
        stem_width = widths[0] if stem_width is None else stem_width
        check_size("stem_width", stem_width)
        check_choice("pool", pool, POOLS)
        check_share("dropout", dropout)
        check_share("block_dropout", block_dropout)
        check_share("drop_path", drop_path)
        check_flag("zero_init_residual", zero_init_residual)
        check_choice("init", init, INITS)
        super().__init__()
        self.stage_names = [f"layer{number}" for number in range(1, len(layers) + 1)]
        self.pool = pool

        self.conv1 = stem_conv(stem, stem_width)
        self.maxpool = stem_pool(stem)
        rates = iter(drop_path_rates(drop_path, sum(layers)))
        channels = stem_width
        for name, depth, width in zip(self.stage_names, layers, widths, strict=True):
            stage = nn.Sequential()
            for index in range(depth):
                stride = 2 if index == 0 and name != "layer1" else 1
                stage.append(PreActBlock(channels, width, stride, block_dropout, next(rates)))
                channels = width
            self.add_module(name, stage)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = dropout_layer(dropout)
        self.fc = nn.Linear(channels, num_classes)

        initialise(self, init)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, PreActBlock):
                    module.zero_init_residual()

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> the pooled features (N, C) that the classifier sees."""
        features = self.maxpool(self.conv1(images))
        for name in self.stage_names:
            features = getattr(self, name)(features)
        return pool_features(self.relu(self.bn(features)), self.pool)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(self.features(images)))
        return logits


# Parameters are counted with 100 classes.
resnet44v2 = partial(PreActResNet, layers=[7, 7, 7], widths=[32, 64, 128])  # 2,647,684
resnet50v2_narrow = partial(PreActResNet, layers=[7, 7, 7, 3], widths=[32, 64, 128, 256])  # 5,940,356
wrn28_10 = partial(PreActResNet, layers=[4, 4, 4], widths=[160, 320, 640], stem_width=16)  # 36,536,884
