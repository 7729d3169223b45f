"""What pixels become: noise, colour jitter."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cifar_lit.augment.op import Op, Params, Size, check_interval, check_number, uniform

# ITU-R 601: the share of red, green and blue in grey.
_GREY = (0.299, 0.587, 0.114)


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
        params["order"] = torch.rand(n, len(params), generator=generator).argsort(dim=1)
        return params

    def apply(self, images: Tensor, params: Params, generator: torch.Generator) -> Tensor:
        images = images.to(torch.float32, copy=True)
        for turn in params["order"].unbind(1):
            for which, (name, adjust) in enumerate(_ADJUST.items()):
                rows = (turn == which).nonzero().flatten()
                if getattr(self, name) == 0 or len(rows) == 0:
                    continue
                factor = params[name][rows].to(images.device, non_blocking=True)
                there = rows.to(images.device, non_blocking=True)
                images.index_copy_(0, there, adjust(images.index_select(0, there), factor))
        return images


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """factor * images + (1 - factor) * other, with a factor (n,) beyond 1 too."""
    return torch.lerp(other, images, factor[:, None, None, None]).clamp_(0, 255)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.split(1, dim=1)
    return _GREY[0] * red + _GREY[1] * green + _GREY[2] * blue


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend float32 images (n, 3, H, W) with black."""
    return images.mul(factor[:, None, None, None]).clamp_(0, 255)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean grey of each image."""
    return _blend(images, _grey(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image in grey."""
    return _blend(images, _grey(images), factor)


def adjust_hue(images: Tensor, factor: Tensor) -> Tensor:
    """Turn the hue of HSV by factor (n,), where 1 is the whole circle."""
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    unit = chroma.clamp(min=1e-6)
    sixths = torch.where(value == green, (blue - red) / unit + 2, (red - green) / unit + 4)
    sixths = torch.where(value == red, (green - blue) / unit, sixths)
    sixths = sixths.add_(6 * factor[:, None, None]).remainder_(6)
    missing = ((sixths - 3).abs_().neg_().add_(2), (sixths - 2).abs_().sub_(1), (sixths - 4).abs_().sub_(1))
    return torch.stack([value - chroma * share.clamp_(0, 1) for share in missing], dim=1)


_ADJUST = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}
