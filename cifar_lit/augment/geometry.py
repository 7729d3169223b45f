"""Where pixels go: crop, flip, affine."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from cifar_lit.augment.op import Op, Params, Size, check_interval, check_number, uniform, whole

MODES = ("constant", "reflect")


@dataclass(kw_only=True, frozen=True)
class Crop(Op):
    """Pad by `padding` pixels on every side, and cut a window of the image's own size, anywhere in it.

    mode: `constant` pads with black, `reflect` mirrors about the outermost pixel.
    """

    padding: int
    mode: str = "constant"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "padding", 0, kind=int)
        if self.mode not in MODES:
            raise ValueError(f"Crop(mode={self.mode!r}): allowed is {', '.join(MODES)}")

    @property
    def fixed_shape(self) -> bool:
        return True

    def check(self, size: Size) -> None:
        if self.mode == "reflect" and self.padding >= min(size):
            given = f"Crop(padding={self.padding}, mode=reflect) of {size[0]}x{size[1]} images"
            raise ValueError(f"{given}: allowed is 0 to {min(size) - 1}")

    def draw(self, n: int, size: Size, generator: torch.Generator) -> Params:
        return {name: whole(n, 0, 2 * self.padding, generator) for name in ("top", "left")}

    def apply(self, images: Tensor, params: Params, generator: torch.Generator) -> Tensor:
        n, channels, height, width = images.shape
        top, left = (params[name].to(images.device, non_blocking=True)[:, None] for name in ("top", "left"))
        rows = top + torch.arange(height, device=images.device)
        columns = left + torch.arange(width, device=images.device)
        if self.mode == "constant":
            images = F.pad(images, (self.padding,) * 4)
        else:  # read where the mirror shows them: nothing is padded, and F.pad mirrors no uint8
            rows, columns = self._mirrored(rows, height), self._mirrored(columns, width)
        pixel = (rows[:, :, None] * images.shape[3] + columns[:, None, :]).view(n, 1, -1).expand(-1, channels, -1)
        return images.flatten(2).gather(2, pixel).view(n, channels, height, width)

    def _mirrored(self, places: Tensor, length: int) -> Tensor:
        """Places along a padded side -> those along the side itself, mirrored about its outermost pixels."""
        last = length - 1
        return last - (last - (places - self.padding).abs()).abs()


@dataclass(kw_only=True, frozen=True)
class Flip(Op):
    """Mirror left and right.

    alternating: whatever p, an image shown as it is in one epoch is mirrored in the next, so that two epochs show both
    forms of all of them; which comes first is drawn once (Jordan 2024, arXiv:2404.00498).
    """

    p: float = 0.5
    alternating: bool = False

    @property
    def fixed_shape(self) -> bool:
        return True

    @property
    def takes_turns(self) -> bool:
        return self.alternating

    def chosen(self, n: int, generator: torch.Generator, mirrored: Tensor | None) -> Tensor:
        if not self.alternating:
            return super().chosen(n, generator, mirrored)
        if mirrored is None:
            raise ValueError("Flip(alternating=True) needs to be told whose turn it is: Policy.draw(..., mirrored=...)")
        return mirrored

    def draw(self, n: int, size: Size, generator: torch.Generator) -> Params:
        return {}

    def apply(self, images: Tensor, params: Params, generator: torch.Generator) -> Tensor:
        return images.flip(3)


@dataclass(kw_only=True, frozen=True)
class Affine(Op):
    """Scale, rotate and shift about the centre; bilinear, black outside.

    translate: furthest shift as a fraction of each side, in whole pixels, down and across independently.
    scale: [lo, hi], the same for both sides. degrees: furthest turn, either way.
    """

    translate: float
    scale: tuple[float, float]
    degrees: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "translate", 0.0, 1.0)
        check_number(self, "degrees", 0.0, 180.0)
        check_interval(self, "scale", 0.01, 100.0)

    @property
    def arithmetic(self) -> bool:
        return True

    def reach(self, size: Size) -> tuple[int, int]:
        """The furthest shift in pixels, down and across."""
        return int(self.translate * size[0]), int(self.translate * size[1])

    def draw(self, n: int, size: Size, generator: torch.Generator) -> Params:
        down, across = self.reach(size)
        return {
            "down": whole(n, -down, down, generator),
            "across": whole(n, -across, across, generator),
            "scale": uniform(n, *self.scale, generator),
            "degrees": uniform(n, -self.degrees, self.degrees, generator),
        }

    def apply(self, images: Tensor, params: Params, generator: torch.Generator) -> Tensor:
        grid = self._grid(params, images.shape[2], images.shape[3], images.device)
        return F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _grid(self, params: Params, height: int, width: int, device: torch.device) -> Tensor:
        """Where each output pixel comes from (n, H, W, 2), as grid_sample wants it: x and y, -1 to 1 over the image."""
        angle = params["degrees"].deg2rad()
        cos, sin = angle.cos() / params["scale"], angle.sin() / params["scale"]
        turn = torch.stack([cos, sin, -sin, cos], dim=1).view(-1, 2, 1, 2)  # output x or y, 1, source x or y
        shift = torch.stack([params["across"], params["down"]], dim=1)[:, :, None, None]
        to_unit = torch.tensor([2.0 / width, 2.0 / height])
        scaled, shift = (t.to(device, non_blocking=True) for t in (turn * to_unit, shift.float()))
        x = torch.arange(width, device=device)[:, None] - (width - 1) / 2 - shift[:, 0]
        y = torch.arange(height, device=device)[:, None] - (height - 1) / 2 - shift[:, 1]
        return (x * scaled[:, 0])[:, None, :, :] + (y * scaled[:, 1])[:, :, None, :]
