"""What pixels become: noise, colour jitter."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cifar_lit.augment.op import Op, Params, Size, check_interval, check_number, uniform

# ITU-R 601: the share of red, green and blue in grey.
_GREY = (0.299, 0.587, 0.114)
_FAR = 1e9  # any difference of two pixels that can be seen comes to more than all hues


@dataclass(kw_only=True, frozen=True)
class Noise(Op):
    """Add Gaussian noise to every pixel and channel. std: [lo, hi] as fractions of 255, drawn for each image."""

    std: tuple[float, float]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_interval(self, "std", 0.0, 1.0)

    @property
    def arithmetic(self) -> bool:
        return True

    def draw(self, n: int, size: Size, generator: torch.Generator) -> Params:
        return {"std": uniform(n, *self.std, generator)}

    def apply(self, images: Tensor, params: Params, generator: torch.Generator) -> Tensor:
        std = (params["std"] * 255).to(images.device, non_blocking=True)
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        return noise.mul_(std[:, None, None, None]).add_(images).clamp_(0, 255)


@dataclass(kw_only=True, frozen=True)
class Jitter(Op):
    """Change brightness, contrast, saturation and hue, in an order drawn for each sample, as torchvision's ColorJitter.

    brightness, contrast, saturation: x draws a factor of max(0, 1 - x) to 1 + x. hue: x draws a turn of -x to x, where
    1 is the whole circle.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("brightness", "contrast", "saturation"):
            check_number(self, name, 0.0)
        check_number(self, "hue", 0.0, 0.5)

    @property
    def arithmetic(self) -> bool:
        return True

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The limits of the four factors."""
        factors = {name: getattr(self, name) for name in ("brightness", "contrast", "saturation")}
        limits = {name: (max(0.0, 1.0 - reach), 1.0 + reach) for name, reach in factors.items()}
        return {**limits, "hue": (-self.hue, self.hue)}

    def draw(self, n: int, size: Size, generator: torch.Generator) -> Params:
        params = {name: uniform(n, *limits, generator) for name, limits in self.ranges().items()}
        params["order"] = torch.rand(n, len(_ADJUST), generator=generator).argsort(dim=1)
        return params

    def apply(self, images: Tensor, params: Params, generator: torch.Generator) -> Tensor:
        # At each turn samples move to where their neighbours get the same change, which is then made in place: on a CPU,
        # in half of the time that taking them out and putting them back takes.
        device = images.device
        factors = torch.stack([params[name] for name in _ADJUST], dim=1)
        lie = torch.arange(len(images))  # the sample that lies in each row
        for turn in params["order"].unbind(1):
            which, moves = turn.index_select(0, lie).sort()
            lie = lie.index_select(0, moves)
            factor = factors[lie, which].to(device, non_blocking=True)[:, None, None, None]
            images = images.index_select(0, moves.to(device, non_blocking=True)).to(torch.float32)
            counts = which.bincount(minlength=len(_ADJUST)).tolist()
            for (name, adjust), part, own in zip(_ADJUST.items(), images.split(counts), factor.split(counts), strict=True):
                if len(part) > 0 and getattr(self, name) != 0:
                    adjust(part, own)
        return images.index_select(0, lie.argsort().to(device, non_blocking=True))


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> None:
    """factor * images + (1 - factor) * other, in place, with a factor beyond 1 too. `other` may have fewer numbers."""
    images.mul_(factor).add_(other * (1 - factor)).clamp_(0, 255)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.split(1, dim=1)
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])


def adjust_brightness(images: Tensor, factor: Tensor) -> None:
    """Blend float32 images (n, 3, H, W) with black, in place. factor: (n, 1, 1, 1)."""
    images.mul_(factor).clamp_(0, 255)


def adjust_contrast(images: Tensor, factor: Tensor) -> None:
    """Blend with the mean grey of each image."""
    _blend(images, _grey(images.mean(dim=(2, 3), keepdim=True)), factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> None:
    """Blend with the image in grey."""
    _blend(images, _grey(images), factor)


def adjust_hue(images: Tensor, factor: Tensor) -> None:
    """Turn the hue of HSV, where a factor of 1 is the whole circle. Without torch.where, which is slow on a CPU."""
    red, green, blue = images.split(1, dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = value - low
    unit = chroma.clamp(min=1e-6)
    # The hue, times 6 * unit, as seen from the channel that is highest: of all three, but the others are far below.
    # Where two are highest they agree.
    seen = []
    for own, one, other, sixth in ((red, green, blue, 0), (green, blue, red, 2), (blue, red, green, 4)):
        seen.append((one - other).add_(unit, alpha=sixth).add_(own - value, alpha=_FAR))
    hue = torch.maximum(torch.maximum(seen[0], seen[1]), seen[2]).div_(unit.mul_(6))
    sixths = hue.add_(1 + factor).frac_().mul_(6)  # it was -1/6 or more, and turns by half a circle at most
    for channel, end, sign, opposite in ((red, low, 1, 3), (green, value, -1, 2), (blue, value, -1, 4)):
        share = (sixths - opposite).abs_().sub_(1).clamp_(0, 1)
        torch.addcmul(end, chroma, share, value=sign, out=channel)


_ADJUST = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}
