"""The fifteen corruptions of CIFAR-100-C at five severities, made anew, for where its files are not at hand.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019. The
constants are those of the program that made CIFAR-10-C and CIFAR-100-C, `make_cifar_c.py` in github.com/hendrycks/robustness:
they are milder than ImageNet-C's, and meant for 32x32 pixels. Of libraries, imagecorruptions 1.1.2 (2020) does not run with
numpy 2 and scikit-image 0.26, and it and its forks have ImageNet-C's constants only.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cifar_lit.robustness.blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from cifar_lit.robustness.digital import contrast, elastic_transform, jpeg_compression, pixelate
from cifar_lit.robustness.noise import Generators, gaussian_noise, impulse_noise, shot_noise
from cifar_lit.robustness.weather import brightness, fog, frost, snow
from cifar_lit.seeding import numpy_generator

SEVERITIES = (1, 2, 3, 4, 5)
FAMILIES = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
NAMES = tuple(name for names in FAMILIES.values() for name in names)
CONSTANTS: dict[str, tuple[Any, ...]] = {  # what each function is given, from severity 1 to 5
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": (80, 65, 58, 50, 40),
}
_FUNCTIONS: dict[str, Callable[[np.ndarray, Any, Generators], np.ndarray]] = {
    function.__name__: function
    for function in (
        gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur, zoom_blur, snow, frost, fog, brightness,
        contrast, elastic_transform, pixelate, jpeg_compression,
    )
}  # fmt: skip
_SMALLEST = 8  # pixels a side


def corrupt(
    images: np.ndarray, name: str, severity: int, seed: int, places: Sequence[int] | np.ndarray | None = None
) -> np.ndarray:
    """Corrupted copies of images (N, H, W, 3) uint8.

    places: the number of each image, 0, 1, ... by default. What is random depends on seed, name, severity and number alone,
    so an image comes out the same among others and by itself. Raises ValueError.
    """
    if name not in CONSTANTS:
        raise ValueError(f"corruption {name!r}: allowed is {', '.join(NAMES)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity {severity}: allowed is 1 to 5")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or min(images.shape[1:3]) < _SMALLEST:
        raise ValueError(
            f"images of {images.dtype}{images.shape}: allowed is uint8 (N, H, W, 3), H and W of {_SMALLEST} pixels or more"
        )
    if not len(images):
        return images.copy()
    numbers = range(len(images)) if places is None else places
    draws = [numpy_generator(seed, "corruption", name, severity, int(number)) for number in numbers]
    changed = _FUNCTIONS[name](images.astype(np.float32), CONSTANTS[name][severity - 1], draws)
    # Cut off, not rounded, as the original does; the thousandth is for what float32 falls short of a whole number.
    return np.floor(changed.clip(0, 255) + 1e-3).astype(np.uint8)
