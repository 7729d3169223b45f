"""What the networks share: argument checks, stem, stochastic depth, initialisation."""

from collections.abc import Sequence

from torch import Tensor, nn

from cifar_lit.model.whitening import PatchWhitening

STEMS = ("cifar", "imagenet", "whitening")
POOLS = ("avg", "max")
INITS = ("kaiming", "dirac")


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse what is not one of the names allowed."""
    if value not in allowed:
        raise ValueError(f"model.{name}={value!r} is unknown: allowed is {', '.join(allowed)}")


def check_share(name: str, value: object) -> None:
    """Refuse what is not a number from 0 up to, not with, 1."""
    # Written so that NaN is refused too.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value < 1.0:
        raise ValueError(f"model.{name}={value!r} is a share: allowed is 0 up to, not with, 1")


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def check_size(name: str, value: object) -> None:
    """Refuse what is not a whole number from 1."""
    if not _is_size(value):
        raise ValueError(f"model.{name}={value!r} is a size: allowed is a whole number from 1")


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither true nor false."""
    if not isinstance(value, bool):
        raise ValueError(f"model.{name}={value!r} is a flag: allowed is true, false")


def check_stages(layers: list[int], widths: list[int]) -> None:
    """Refuse stages without blocks or channels, and lists of different lengths."""
    for name, sizes in (("layers", layers), ("widths", widths)):
        if not isinstance(sizes, (list, tuple)) or not sizes or not all(_is_size(size) for size in sizes):
            raise ValueError(f"model.{name}={sizes!r}: allowed is a list of whole numbers from 1, one a stage, such as [2, 2, 2]")
    if len(layers) != len(widths):
        raise ValueError(f"model.layers={layers} and model.widths={widths} must be equally long: one number a stage")


def stem_conv(stem: str, width: int) -> nn.Module:
    """First convolution: 3x3 with stride 1 for 32x32 images, or 7x7 with stride 2 for images of ImageNet's size.

    `whitening` puts a fixed whitening of 2x2 patches before a 3x3 convolution; images get a pixel smaller.
    """
    if stem == "cifar":
        return nn.Conv2d(3, width, kernel_size=3, stride=1, padding=1, bias=False)
    if stem == "whitening":
        whitening = PatchWhitening(kernel_size=2)
        return nn.Sequential(whitening, nn.Conv2d(whitening.channels, width, kernel_size=3, padding=1, bias=False))
    return nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)


def stem_pool(stem: str) -> nn.Module:
    """What follows the first convolution: nothing for images of 32x32."""
    return nn.MaxPool2d(kernel_size=3, stride=2, padding=1) if stem == "imagenet" else nn.Identity()


def pool_features(features: Tensor, pool: str) -> Tensor:
    """(N, C, H, W) -> (N, C)."""
    # amax, since the backward pass of AdaptiveMaxPool2d is slow.
    return features.mean((2, 3)) if pool == "avg" else features.amax((2, 3))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, each sample's residual branch is dropped with probability `rate`.

    Kept branches are divided by 1 - rate, so that the expectation stays. Equals torchvision's StochasticDepth(rate, "row").
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training:
            return branch
        kept = 1.0 - self.rate
        return branch * branch.new_empty(branch.shape[0], 1, 1, 1).bernoulli_(kept).div_(kept)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.4g}"


def drop_path_layer(rate: float) -> nn.Module:
    """Stochastic depth at a rate; nothing at all where that is 0."""
    return DropPath(rate) if rate else nn.Identity()


def dropout_layer(rate: float) -> nn.Module:
    """Dropout at a rate; nothing at all where that is 0."""
    return nn.Dropout(rate) if rate else nn.Identity()


def drop_path_rates(last: float, blocks: int) -> list[float]:
    """Rates that grow linearly over depth, from last / blocks in the first block to `last` in the last one."""
    return [last * (index + 1) / blocks for index in range(blocks)]


def initialise(net: nn.Module, init: str = "kaiming") -> None:
    """First weights of the convolutions; the rest keeps PyTorch's own.

    kaiming: normal, fan out, as torchvision does it (He et al. 2015). dirac: as many filters as there are input channels
    pass their channel on, and the others keep PyTorch's own (Zagoruyko & Komodakis 2017; Jordan 2024).
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:  # there is nothing to fill, and a try takes long
            if init == "dirac":
                nn.init.dirac_(module.weight.data[: module.in_channels])
            else:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
