"""How batches are made. Every loader yields images (N, 3, H, W) float32, normalised, and labels (N,), on the device.

`DeviceLoader` keeps the whole split on the training device and augments a batch as one tensor operation;
`WorkerLoader` augments image by image in worker processes; `PlainLoader` reads in order and augments nothing.
"""

import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil
from weakref import proxy

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from cifar_lit.augment.policy import Draws, Policy
from cifar_lit.cores import cores
from cifar_lit.data.course import Course
from cifar_lit.data.dataset import Split
from cifar_lit.data.order import mirrored, shuffled
from cifar_lit.seeding import derive, torch_generator

log = logging.getLogger(__name__)

Batch = tuple[Tensor, Tensor]
_COPIED = 4096  # images at a time


@dataclass(frozen=True)
class Place:
    """Where batches go: the device, and this process's share of them (one in `processes`, the `rank`-th)."""

    device: torch.device
    rank: int = 0
    processes: int = 1


class Normalize:
    """Pixels (N, 3, H, W) on the 0..255 scale, of any dtype, to float32 of mean 0 and deviation 1 a channel.

    Called with a number of pixels a side, it resizes them first (bilinear, antialiased).
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> None:
        """mean, std: of the pixels as fractions of 255."""
        self.mean = torch.tensor(mean, device=device).mul(255)[:, None, None]
        deviation = torch.tensor(std, device=device).mul(255).clamp(min=1e-3)  # a constant channel has none
        self.scale = deviation.reciprocal()[:, None, None]

    def __call__(self, images: Tensor, pixels: int | None = None) -> Tensor:
        if pixels is not None and (pixels, pixels) != images.shape[2:]:
            images = F.interpolate(images.float(), size=(pixels, pixels), mode="bilinear", antialias=True)
        # Converted first: a CPU takes twice as long for a difference of two types.
        return images.to(torch.float32, copy=True).sub_(self.mean).mul_(self.scale)


def to_tensor(split: Split, device: torch.device | None = None) -> Batch:
    """The images of a split as (N, 3, H, W) uint8 and its labels, copied into the memory of a device, once."""
    count, height, width, channels = split.images.shape
    images = torch.empty(count, channels, height, width, dtype=torch.uint8, device=device)
    for start in range(0, count, _COPIED):  # not all at once: that would take the memory twice
        part = torch.from_numpy(np.array(split.images[start : start + _COPIED]))
        images[start : start + _COPIED] = part.to(images.device).permute(0, 3, 1, 2)
    return images, torch.from_numpy(np.array(split.labels)).to(images.device)


class TrainingLoader(ABC):
    """What both engines share: the order of an epoch, cut into this process's batches.

    Lightning tells the epoch to `sampler`. It may ask for the iterator first, so that is a generator, which looks at
    the epoch only when the first batch is wanted.
    """

    def __init__(self, length: int, *, course: Course, seed: int, place: Place) -> None:
        self.length, self.course = length, course
        self.seed, self.place = seed, place
        self.share = length // place.processes
        self.epoch = 0

    @property
    def sampler(self) -> "TrainingLoader":
        """What Lightning tells the epoch to. Not an attribute: see WorkerLoader about cycles."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration is for."""
        self.epoch = epoch

    def batches(self) -> list[Tensor]:
        """Indices (n,) of each batch. All processes get the same number: up to processes - 1 images are left out."""
        order = shuffled(self.length, self.seed, self.epoch)[self.place.rank :: self.place.processes]
        lengths = self.course.lengths(self.share, self.epoch)
        return list(order[: sum(lengths)].split(lengths))

    def pixels(self) -> list[int | None]:
        """Pixels a side of the images of each batch; None: as they are."""
        lengths = self.course.lengths(self.share, self.epoch)
        return [self.course.pixels(self.share, self.epoch, seen) for seen in accumulate([0, *lengths[:-1]])]

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]:
        """The batches of one epoch."""

    def __len__(self) -> int:
        return len(self.course.lengths(self.share, self.epoch))


class DeviceLoader(TrainingLoader):
    """The split resident on the device as uint8; a batch is gathered, augmented and normalised there."""

    def __init__(self, split: Split, policy: Policy, normalize: Normalize, **run: object) -> None:
        super().__init__(len(split.labels), **run)  # type: ignore[arg-type]
        self.images, self.labels = to_tensor(split, self.place.device)
        self.policy, self.normalize = policy, normalize

    def draw(self) -> Draws:
        """Every random number of the epoch but noise, on the host."""
        size = (self.images.shape[2], self.images.shape[3])
        turned = mirrored(self.length, self.seed, self.epoch)
        return self.policy.draw(self.length, size, torch_generator(self.seed, "augment", self.epoch), turned)

    def __iter__(self) -> Iterator[Batch]:
        device, epoch = self.place.device, self.epoch
        draws = self.draw()
        for step, (indices, pixels) in enumerate(zip(self.batches(), self.pixels(), strict=True)):
            noise = torch_generator(self.seed, "noise", epoch, step, self.place.rank, device=device)
            # index_select copies whole images: on a CPU, twenty times as fast as images[rows]
            rows = indices.to(device, non_blocking=True)
            images = self.policy.apply(self.images.index_select(0, rows), self.policy.rows(draws, indices), noise)
            yield self.normalize(images, pixels), self.labels[rows]


class _AugmentedImages(Dataset[tuple[np.ndarray, int]]):
    """Looked up by (epoch, index, mirrored), so that a sample's augmentation depends on nothing else, in whichever worker."""

    def __init__(self, split: Split, transform: Callable[..., np.ndarray], seed: int) -> None:
        self.split, self.transform, self.seed = split, transform, seed

    def __getitem__(self, place: tuple[int, int, bool]) -> tuple[np.ndarray, int]:
        epoch, index, turned = place
        image = self.transform(np.array(self.split.images[index]), derive(self.seed, "augment", epoch, index), turned)
        return image, int(self.split.labels[index])


def _collate(samples: list[tuple[np.ndarray, int]]) -> Batch:
    images, labels = zip(*samples, strict=True)
    return torch.from_numpy(np.stack(images)), torch.tensor(labels)


def _one_thread(_: int) -> None:
    import cv2  # slow, and wanted in workers only

    cv2.setNumThreads(0)
    torch.set_num_threads(1)


class WorkerLoader(TrainingLoader):
    """albumentations, image by image, in persistent worker processes; uint8 travels, and is normalised on the device.

    It must not be part of a reference cycle: collecting a cycle closes the workers' queues before the workers are told
    to end, and torch then waits 5 seconds for each of them.
    """

    def __init__(self, split: Split, policy: Policy, normalize: Normalize, workers: int, **run: object) -> None:
        super().__init__(len(split.labels), **run)  # type: ignore[arg-type]
        transform = policy.per_image((split.images.shape[1], split.images.shape[2]))
        self.normalize = normalize
        if workers > cores():
            log.info("data.workers=%d: more than there are cores for this process (%d)", workers, cores())
        warnings.filterwarnings("ignore", message="This DataLoader will create")  # which says the same, on several lines
        self.loader = DataLoader(
            _AugmentedImages(split, transform, self.seed),
            batch_sampler=self._Places(self),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.place.device.type == "cuda",
            collate_fn=_collate,
            worker_init_fn=_one_thread,
        )

    class _Places:
        def __init__(self, order: TrainingLoader) -> None:
            self.order = proxy(order)

        def __iter__(self) -> Iterator[list[tuple[int, int, bool]]]:
            order, epoch = self.order, self.order.epoch
            turned = mirrored(order.length, order.seed, epoch).tolist()
            return ([(epoch, index, turned[index]) for index in indices.tolist()] for indices in order.batches())

        def __len__(self) -> int:
            return len(self.order)

    def close(self) -> None:
        """Stop the workers now: left to the garbage collector, each keeps the process waiting for five seconds."""
        del self.loader

    def __iter__(self) -> Iterator[Batch]:
        for (images, labels), pixels in zip(self.loader, self.pixels(), strict=False):  # a strict one would ask once more
            stored = images.to(self.place.device, non_blocking=True).permute(0, 3, 1, 2).contiguous()
            yield self.normalize(stored, pixels), labels.to(self.place.device, non_blocking=True)


class PlainLoader:
    """A split in its own order, for validation and test. resident: keep it on the device as uint8.

    All processes get the same number of batches, of nearly the same size: they talk to each other at every one.
    """

    def __init__(self, split: Split, normalize: Normalize, batch_size: int, *, place: Place, resident: bool) -> None:
        self.normalize, self.place = normalize, place
        own = slice(place.rank, None, place.processes)
        self.split = Split(split.images[own], split.labels[own])
        largest = ceil(len(split.labels) / place.processes)
        batches = ceil(largest / batch_size)
        if place.processes == 1:
            self.edges = [*range(0, largest, batch_size), largest]
        else:
            self.edges = [round(len(self.split.labels) * batch / batches) for batch in range(batches + 1)]
        self.tensors = to_tensor(self.split, place.device) if resident else None

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __iter__(self) -> Iterator[Batch]:
        for start, end in pairwise(self.edges):
            rows = slice(start, end)
            if self.tensors is not None:
                images, labels = (tensor[rows] for tensor in self.tensors)
            else:
                part = to_tensor(Split(self.split.images[rows], self.split.labels[rows]))
                images, labels = (tensor.to(self.place.device, non_blocking=True) for tensor in part)
            yield self.normalize(images), labels
