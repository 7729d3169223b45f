"""The loss around a network's weights, along two filter-normalised random directions (Li et al. 2018, arXiv:1712.09913)."""

import copy
import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar_lit.atomic import writing
from cifar_lit.seeding import torch_generator

Direction = dict[str, Tensor]
NETS = ("trained", "untrained")
_TINY = 1e-10


def direction(net: nn.Module, seed: int, number: int) -> Direction:
    """Random numbers in the shapes of the filters, each filter scaled to the length of the network's own.

    The same seed and number give the same numbers for every network of these shapes. What has one axis (biases, batch
    normalisation) and what is not trained is not moved, as in the paper.
    """
    found = {}
    for name, weight in net.named_parameters():
        if weight.ndim < 2 or not weight.requires_grad:
            continue
        noise = torch.randn(weight.shape, generator=torch_generator(seed, "landscape", number, name))
        own, length = (tensor.flatten(1).norm(dim=1) for tensor in (weight.detach().float().cpu(), noise))
        scale = (own / (length + _TINY)).view(-1, *[1] * (weight.ndim - 1))
        found[name] = (noise * scale).to(weight)
    return found


def untrained(build: Callable[[], nn.Module], trained: nn.Module, images: Tensor, seed: int) -> nn.Module:
    """The network as its run began, by its seed. What is computed from images before training, a whitening, is the trained one's.

    Batch normalisation has seen no image yet: its statistics are set to those of `images`, a layer's after those before it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = build().to(images.device).eval()
    theirs = dict(trained.named_modules())
    for name, module in fresh.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # the plain mean over batches
            module.train()
            continue
        for own, buffer in module.named_buffers(recurse=False):
            buffer.copy_(theirs[name].get_buffer(own))
    with torch.no_grad():
        for batch in images.split(_BATCH):
            fresh(batch)
    return fresh.eval()


_BATCH = 500


class Probe:
    """A network that can be moved along two directions; the one given stays as it is."""

    def __init__(self, net: nn.Module, seed: int, images: Tensor, labels: Tensor) -> None:
        self.net = copy.deepcopy(net).eval()
        self.images, self.labels = images, labels
        self.start = {name: weight.detach().clone() for name, weight in self.net.named_parameters()}
        self.directions = [direction(self.net, seed, number) for number in (0, 1)]

    @torch.no_grad()
    def __call__(self, first: float, second: float) -> tuple[float, float]:
        """Mean cross-entropy and accuracy, at so many steps along each direction."""
        along, across = self.directions
        for name, weight in self.net.named_parameters():
            if name in along:
                weight.copy_(self.start[name] + first * along[name] + second * across[name])
        loss = correct = 0.0
        for images, labels in zip(self.images.split(_BATCH), self.labels.split(_BATCH), strict=True):
            logits = self.net(images).float()
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
            correct += float((logits.argmax(1) == labels).sum())
        return loss / len(self.labels), correct / len(self.labels)


@dataclass(frozen=True)
class Grid:
    """steps: places along each direction, (n,). loss, accuracy: what was measured there, (2, n, n) of NETS, NaN where not yet."""

    identity: str
    steps: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray

    @property
    def left(self) -> list[tuple[int, int, int]]:
        """What is not measured yet: network, row, column."""
        return [(int(net), int(row), int(column)) for net, row, column in np.argwhere(np.isnan(self.accuracy))]


def identity(net: nn.Module, images: np.ndarray, labels: np.ndarray, **facts: float | str) -> str:
    """What a grid is of: weights, images as the network sees them, labels and settings. Another identity is another grid."""
    total = hashlib.blake2b(digest_size=16)
    for name, tensor in net.state_dict().items():
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    total.update(np.ascontiguousarray(images, np.float32).data)  # their numbers would not do: another folder has other images
    total.update(np.ascontiguousarray(labels, np.int64).data)
    total.update(json.dumps(facts, sort_keys=True).encode())
    return total.hexdigest()


def opened(path: Path, name: str, points: int, span: float) -> Grid:
    """The grid of this identity that an earlier command began, or a new one."""
    steps = np.linspace(-span, span, points)
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            grid = Grid(str(file["identity"]), file["steps"], file["loss"], file["accuracy"])
        if grid.identity == name and grid.loss.shape == grid.accuracy.shape == (len(NETS), points, points):
            return grid
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # none, or torn: begun anew
    empty = np.full((len(NETS), points, points), np.nan)
    return Grid(name, steps, empty, empty.copy())


def save(path: Path, grid: Grid) -> None:
    """Write a grid, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, identity=np.array(grid.identity), steps=grid.steps, loss=grid.loss, accuracy=grid.accuracy)
