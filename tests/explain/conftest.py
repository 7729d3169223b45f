"""Bundles of small networks with fresh weights, on drawn images."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from cifar_lit import bundle
from cifar_lit.bundle import Facts
from cifar_lit.data import synthetic
from cifar_lit.model import build, describe
from cifar_lit.predict import Predictor

NORMAL = {"mean": (0.5, 0.45, 0.4), "std": (0.25, 0.2, 0.3)}


def save(folder: Path, network: partial[Any], image_size: int = 32, **facts: Any) -> Path:
    """A bundle of a network of NETWORKS whose fresh weights a seed decides."""
    description = describe(network, num_classes=100)
    torch.manual_seed(0)
    known: dict[str, Any] = {
        "title": "a network",
        "data": "synthetic",
        "classes": synthetic.CLASSES,
        "superclasses": synthetic.SUPERCLASSES,
        "superclass_of": synthetic.SUPERCLASS_OF,
        "origin": {"overrides": ["data=synthetic", "data.test_per_class=3"]},
    }
    told = Facts(network=description, image_size=(image_size, image_size), **NORMAL, **{**known, **facts})
    bundle.save(folder, build(description).state_dict(), told, "a card")
    return folder


@pytest.fixture
def bundle_of(tmp_path: Path) -> Callable[..., Path]:
    return partial(save, tmp_path / "bundle")


@pytest.fixture
def predictor_of(bundle_of: Callable[..., Path]) -> Callable[..., Predictor]:
    return lambda *network, **facts: Predictor(bundle_of(*network, **facts), device="cpu")
