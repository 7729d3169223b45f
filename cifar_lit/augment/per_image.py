"""Each augmentation as an albumentations transform of the same distribution. Slow to import."""

import os
import random
import warnings
from collections.abc import Mapping
from functools import singledispatch
from typing import Any, TypeAlias

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for news

import albumentations as A
import cv2
import numpy as np
import torch
from torchvision.transforms import v2

from cifar_lit.augment.choice import OneOf
from cifar_lit.augment.colour import Jitter, Noise
from cifar_lit.augment.erase import Erase
from cifar_lit.augment.geometry import Affine, Crop, Flip
from cifar_lit.augment.op import Op, Size
from cifar_lit.augment.trivial import Trivial

Transform: TypeAlias = A.BasicTransform | A.BaseCompose

_BORDERS = {"constant": cv2.BORDER_CONSTANT, "reflect": cv2.BORDER_REFLECT_101}


def build(ops: Mapping[str, Op], size: Size) -> tuple[A.Compose, np.random.PCG64, random.Random]:
    """The transforms in order, and the two sources of all their random numbers, for the caller to reseed.

    Raises ValueError where albumentations would only warn, as it does of arguments that it does not know.
    """
    bits, python = np.random.PCG64(0), random.Random(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            compose = A.Compose([transform(op, size) for op in ops.values()], is_check_shapes=False)
        except UserWarning as warning:
            raise ValueError(f"albumentations: {warning}") from warning
    compose.set_random_state(np.random.Generator(bits), python)
    return compose, bits, python


@singledispatch
def transform(op: Op, size: Size) -> Transform:
    """The albumentations transform of an op, for images of `size` (height, width)."""
    raise TypeError(f"{type(op).__name__} has no per-image form: register one in {__name__}")


@transform.register
def _(op: Crop, size: Size) -> Transform:
    pad = A.Pad(padding=op.padding, border_mode=_BORDERS[op.mode], fill=0, p=1.0)
    return A.Sequential([pad, A.RandomCrop(height=size[0], width=size[1], p=1.0)], p=op.p)


@transform.register
def _(op: Flip, size: Size) -> Transform:
    return A.NoOp() if op.alternating else A.HorizontalFlip(p=op.p)  # alternating: done by the policy


@transform.register
def _(op: Affine, size: Size) -> Transform:
    down, across = op.reach(size)
    return A.Affine(
        translate_px={"x": (-across, across), "y": (-down, down)},  # translate_percent rounds to 0 twice as often
        scale=tuple(op.scale),
        keep_ratio=True,
        rotate=(-op.degrees, op.degrees),
        interpolation=cv2.INTER_LINEAR,
        border_mode=cv2.BORDER_CONSTANT,
        fill=0,
        p=op.p,
    )


@transform.register
def _(op: Erase, size: Size) -> Transform:
    if not op.inside:
        return Cutout(size=op.size, p=op.p)
    lo, hi = op.size
    return A.CoarseDropout(num_holes_range=(1, 1), hole_height_range=(lo, hi), hole_width_range=(lo, hi), fill=0, p=op.p)


@transform.register
def _(op: Noise, size: Size) -> Transform:
    return GaussianNoise(std=op.std, p=op.p)


@transform.register
def _(op: Jitter, size: Size) -> Transform:
    return ColorJitter(**op.ranges(), p=op.p)


@transform.register
def _(op: OneOf, size: Size) -> Transform:
    return A.OneOf([transform(member, size) for member in op.members.values()], p=op.p)


@transform.register
def _(op: Trivial, size: Size) -> Transform:
    return TrivialAugment(p=op.p)


class Cutout(A.ImageOnlyTransform):
    """A black rectangle with its centre on any pixel, clipped at the borders; CoarseDropout keeps its holes inside."""

    def __init__(self, size: tuple[int, int], p: float) -> None:
        super().__init__(p=p)
        self.size = size

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        spans = []
        for length in params["shape"][:2]:
            extent = self.py_random.randint(*self.size)
            start = self.py_random.randrange(length) - extent // 2
            spans.append(slice(max(start, 0), start + extent))
        return {"hole": tuple(spans)}

    def apply(self, img: np.ndarray, hole: tuple[slice, slice], **params: Any) -> np.ndarray:
        img = img.copy()
        img[hole] = 0
        return img


class GaussianNoise(A.ImageOnlyTransform):
    """GaussNoise cuts noise for uint8 down to whole numbers, which takes 0.4 off its deviation; this rounds the sum."""

    def __init__(self, std: tuple[float, float], p: float) -> None:
        super().__init__(p=p)
        self.std = std

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        noise = self.random_generator.standard_normal(params["shape"], dtype=np.float32)
        noise *= 255 * self.py_random.uniform(*self.std)
        return {"noise": noise}

    def apply(self, img: np.ndarray, noise: np.ndarray, **params: Any) -> np.ndarray:
        return np.rint(img + noise).clip(0, 255).astype(np.uint8)


class ColorJitter(A.ColorJitter):
    """For uint8 albumentations cuts each of the four results, and hues, down: darker by 1 or 2, turned by a degree."""

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        jittered = super().apply(img.astype(np.float32) / 255, **params)
        return np.rint(jittered * 255).clip(0, 255).astype(np.uint8)


class TrivialAugment(A.ImageOnlyTransform):
    """torchvision's TrivialAugmentWide, which draws from torch's global generator: seeded here, then put back."""

    def __init__(self, p: float) -> None:
        super().__init__(p=p)
        self.augment = v2.TrivialAugmentWide()

    def get_params(self) -> dict[str, Any]:
        return {"seed": self.py_random.getrandbits(63)}

    def apply(self, img: np.ndarray, seed: int, **params: Any) -> np.ndarray:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            image = self.augment(torch.from_numpy(img).permute(2, 0, 1))
        return image.permute(1, 2, 0).numpy()
