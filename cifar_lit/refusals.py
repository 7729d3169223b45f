"""What cannot work, found out before anything is read or built: each raises ValueError with one line that says what to do."""

import difflib
import errno
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from cifar_lit.optim.sam import SAM
from cifar_lit.trainer import Trainer

_BY_EPOCHS = ("every_epochs", "first_epochs")  # options of schedules


def images_that_do_not_fit(shape: nn.Module, name: str, sizes: Iterable[tuple[int, int]]) -> None:
    """Try a network on the meta device, in training. sizes: height and width; name: the option that they come from."""
    for height, width in sizes:
        with torch.device("meta"):
            try:
                shape(torch.empty(2, 3, height, width))
            except NotImplementedError:  # an operation that the meta device does not know says nothing
                continue
            except (RuntimeError, ValueError, AssertionError) as error:
                line = next(iter(str(error).splitlines()), type(error).__name__)
                raise ValueError(f"{name}: this network takes no images of {height}x{width} pixels ({line})") from error


def batches_of_one(shape: nn.Module, sizes: Iterable[tuple[int, int]]) -> None:
    """Batch norm has no variance of one image, where its features are a single pixel. sizes: of such batches, as above."""
    for height, width in sizes:
        with torch.device("meta"):
            try:
                shape(torch.empty(1, 3, height, width))
            except NotImplementedError:
                continue
            except ValueError as error:
                raise ValueError(
                    f"a batch would hold 1 image, of {height}x{width} pixels, on which this network's batch norm cannot train:"
                    " use data.drop_last=true or another data.batch_size"
                ) from error


def epochs_of_unlike_length(schedule: Any, batch_sizes: object) -> None:
    """A schedule in epochs, where epochs have unlike numbers of steps. schedule: a partial of one."""
    used = [name for name in _BY_EPOCHS if name in getattr(schedule, "keywords", {})]
    if batch_sizes is not None and used:
        raise ValueError(f"scheduler.{used[0]} counts in epochs, which data.batch_sizes makes unlike: use another scheduler")


def unknown_monitors(callbacks: Mapping[str, object], measured: Sequence[str]) -> None:
    """A callback, by its key, that watches what no epoch measures: it would say nothing, and never stop the run."""
    for name, callback in callbacks.items():
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str) and monitor not in measured:
            near = difflib.get_close_matches(monitor, measured, n=3)
            nearest = f" nearest: {', '.join(near)};" if near else ""
            raise ValueError(
                f"callbacks.{name}.monitor={monitor}: no such column of metrics.csv;{nearest} all: {', '.join(measured)}"
            )


def negative_patience(callbacks: Mapping[str, object]) -> None:
    """A callback, by its key, that would stop the run at its first validation, or never: Lightning takes any number."""
    for name, callback in callbacks.items():
        patience = getattr(callback, "patience", None)
        if isinstance(patience, int) and patience < 0:
            raise ValueError(f"callbacks.{name}.patience={patience}: allowed is 0 or more")


def sam_with(optimizer: Optimizer, trainer: Trainer) -> None:
    """What SAM, which computes every step twice, cannot be combined with."""
    if not isinstance(optimizer, SAM):
        return
    if trainer.by_hand:
        raise ValueError("optimizer=sam computes every step twice, which trainer=fast does not: use trainer=auto with it")
    if trainer.accumulated > 1:
        raise ValueError("optimizer=sam computes every step twice: use trainer.accumulate_grad_batches=1 with it")
    if trainer.precision == "16-mixed":
        raise ValueError("optimizer=sam cannot be used with 16-mixed; use trainer.precision=bf16-mixed")


def too_little_room(folder: Path, parameters: int, kept: int = 0) -> None:
    """A disk without room for what a run writes: four checkpoints of weights and momentum, and a bundle. Raises OSError.

    kept: how many checkpoints of single epochs it has in the end; those that are there already need no room.
    """
    more = max(0, kept - len(list(folder.glob("checkpoints/epoch=*.ckpt"))))
    needed = 4 * parameters * ((4 + more) * 2 + 1)
    place = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"No space left: {free:,} bytes free, the run writes about {needed:,}", str(folder))
