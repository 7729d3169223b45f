"""A policy: named augmentations in order, to run on batches of tensors, or on one image at a time by albumentations."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from cifar_lit.augment.op import APPLIES, Op, Params, Size, apply_fixed, apply_where, draw, present, select

# For each op by name: its parameters, a row a sample, and which samples it applies to.
Draws = dict[str, Params]


class Policy:
    """Augmentations by name, in order of application; those set to None are left out."""

    def __init__(self, **ops: Op | None) -> None:
        self.ops = present(ops, "augment")

    def __repr__(self) -> str:
        return ", ".join(f"{name}: {op}" for name, op in self.ops.items()) or "none"

    @property
    def unbatched(self) -> str:
        """The names of the ops without a batched form."""
        return ", ".join(name for name, op in self.ops.items() if not op.batched)

    @property
    def batched(self) -> bool:
        """Whether the policy runs on batches of tensors."""
        return not self.unbatched

    @property
    def fixed_shape(self) -> bool:
        """Whether the policy can be part of a CUDA graph."""
        return all(op.fixed_shape for op in self.ops.values())

    def check(self, size: Size) -> None:
        """Refuse image sizes (height, width) that an op cannot work on. Raises ValueError."""
        for op in self.ops.values():
            op.check(size)

    def draw(self, n: int, size: Size, generator: torch.Generator, mirrored: Tensor | None = None) -> Draws:
        """Every random number but noise of n samples of `size` (height, width), say of a split for an epoch.

        mirrored: which of them an alternating flip turns, (n,) bool.
        """
        if not self.batched:
            raise ValueError(f"augment: {self.unbatched} has no batched form: allowed is the engine of worker processes")
        return {name: draw(op, n, size, generator, mirrored) for name, op in self.ops.items()}

    def rows(self, draws: Draws, indices: Tensor) -> Draws:
        """The draws of a batch. indices: (n,) on the host."""
        return {name: select(params, indices) for name, params in draws.items()}

    def apply(self, images: Tensor, draws: Draws, generator: torch.Generator) -> Tensor:
        """Images (n, 3, H, W), uint8 or float32 on the 0..255 scale, with the draws of as many rows -> images alike.

        float32 if any op computes pixels, else of the dtype given. The images given stay as they are. generator: on
        their device; noise is drawn from it.
        """
        result = images
        for name, op in self.ops.items():
            params = draws[name]
            result = apply_where(op, result, params[APPLIES], params, generator, overwrite=result is not images)
        return result

    def apply_fixed(self, images: Tensor, draws: Draws, generator: torch.Generator) -> Tensor:
        """As `apply`, of a policy of fixed shape, with the draws on the device."""
        for name, op in self.ops.items():
            images = apply_fixed(op, images, draws[name][APPLIES], draws[name], generator)
        return images

    def per_image(self, size: Size) -> Callable[..., np.ndarray]:
        """A function of an image (H, W, 3) uint8 of `size` (height, width), a seed, and mirrored: whether an alternating
        flip turns it. For worker processes."""
        self.check(size)
        return _PerImage(self.ops, size)


class _PerImage:
    """The policy by albumentations. The result is a pure function of image, seed and mirrored.

    All transforms share one numpy and one Python generator, reseeded for every image. albumentations' own seeding gives
    the same seed to every transform, whose choices then agree: no flipped image without a large shift, say.
    """

    def __init__(self, ops: dict[str, Op], size: Size) -> None:
        self.ops, self.size = ops, size
        self.alternating = any(op.takes_turns for op in ops.values())
        self.compose: Callable | None = None

    def __call__(self, image: np.ndarray, seed: int, mirrored: bool = False) -> np.ndarray:
        if self.compose is None:
            from cifar_lit.augment import per_image  # slow: albumentations; wanted in worker processes only

            self.compose, self.bits, self.python = per_image.build(self.ops, self.size)
        state, stream = _two_numbers(seed)
        self.bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": state, "inc": stream | 1},
            "has_uint32": 0,
            "uinteger": 0,
        }
        self.python.seed(state ^ stream)
        if self.alternating and mirrored:  # albumentations knows of no epochs
            image = np.ascontiguousarray(image[:, ::-1])
        return self.compose(image=image)["image"]


def _two_numbers(seed: int) -> tuple[int, int]:
    """128 bits each, unrelated even for neighbouring seeds. Ten times as fast as a numpy SeedSequence."""
    digest = blake2b(seed.to_bytes(16, "little", signed=True), digest_size=32).digest()
    return int.from_bytes(digest[:16], "little"), int.from_bytes(digest[16:], "little")
