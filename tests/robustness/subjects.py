"""A small bundle of drawn images, and a folder of images of other things."""

import numpy as np
import torch
from PIL import Image
from test_bundle import NETWORK

from cifar_lit import bundle
from cifar_lit.bundle import Facts
from cifar_lit.data import synthetic
from cifar_lit.model.registry import build

TEMPERATURE = 1.7


def make_bundle(folder, **changes):
    known = {
        "title": "tiny <net> & co",
        "data": "synthetic",
        "network": {**NETWORK, "num_classes": 100},
        "classes": synthetic.CLASSES,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.2, 0.2, 0.2),
        "image_size": (32, 32),
        "temperature": TEMPERATURE,
        "origin": {"overrides": ["data.test_per_class=2"]},
    }
    facts = Facts(**{**known, **changes})
    torch.manual_seed(0)
    net = build(facts.network)
    with torch.no_grad():
        net.state_dict()[[name for name in net.state_dict() if name.endswith("weight")][-1]].mul_(20)  # some confidence
    bundle.save(folder, net.state_dict(), facts, "")
    return folder


def others(folder):
    """Six images of noise, two files that are none, and one that is not named as an image."""
    (folder / "deeper").mkdir(parents=True)
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (20 + number, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / ("deeper" if number % 2 else ".") / f"{number}.png")
    (folder / "broken<i>.jpg").write_bytes(b"\xff\xd8 nothing")
    (folder / "deeper" / "text.PNG").write_text("text")
    (folder / "notes.txt").write_text("text")
    return folder
