"""How many optimizer steps a run takes, which batches it sees, and how many its evaluations have."""

from collections.abc import Iterator
from itertools import accumulate, pairwise
from math import ceil

from cifar_lit.data.module import ImageData
from cifar_lit.trainer import Trainer

_ROUNDS = 5  # of finding out at which step a batch size changes: each comes nearer, and three are mostly enough


def plan(trainer: Trainer, images: ImageData) -> tuple[int, int]:
    """Optimizer steps of the first epoch and of the run, by the sizes that the data promise.

    Tells `images` how long the run is, in epochs and in the fraction of each that is trained on, since data.sizes and
    data.batch_sizes go by the share of the run. Raises ValueError.
    """
    changes = images.batch_sizes is not None
    if trainer.max_epochs is None and trainer.max_steps < 0:
        raise ValueError("a schedule needs an end: give trainer.max_epochs or trainer.max_steps")
    if changes and trainer.max_epochs is None:
        raise ValueError("data.batch_sizes are by the share of the run: give trainer.max_epochs, so that it has a length")

    def steps(epoch: int) -> int:
        return -(-len(batches(trainer, images, epoch if changes else 0)) // trainer.accumulated)

    def total() -> float:
        """Steps of `images.epochs`, which may end within an epoch."""
        if not changes:
            return images.epochs * steps(0)
        each = [steps(epoch) for epoch in range(ceil(images.epochs))]
        return sum(each) - each[-1] * (len(each) - images.epochs)

    images.epochs, images.epoch_fraction = float(trainer.max_epochs or 1), 1.0
    if not batches(trainer, images, 0):
        raise ValueError(_no_batch(trainer, images))
    in_full = total()
    cut = trainer.max_epochs is None or 0 <= trainer.max_steps < in_full
    limit = trainer.limit_train_batches
    for _ in range(_ROUNDS if changes else 1):
        if isinstance(limit, int) or limit < 1.0:
            images.epoch_fraction = min(1.0, sum(batches(trainer, images, 0)) / _own(trainer, images))
        if cut:
            images.epochs *= trainer.max_steps / total()
    return steps(0), trainer.max_steps if cut else round(total())


def batches(trainer: Trainer, images: ImageData, epoch: int) -> list[int]:
    """How many images each batch holds that a process trains on in an epoch."""
    lengths, limit = images.course.lengths(_own(trainer, images), epoch), trainer.limit_train_batches
    return lengths[: limit if isinstance(limit, int) else int(len(lengths) * limit)]


def alone(trainer: Trainer, images: ImageData) -> set[int | None]:
    """Pixels a side of the batches of one image that the run trains on, after `plan`; None: as the images are."""
    if images.batch_sizes is None and 1 not in batches(trainer, images, 0):
        return set()
    return {pixels for length, pixels in _trained(trainer, images) if length == 1}


def shapes(trainer: Trainer, images: ImageData) -> list[tuple[bool, int, int]]:
    """Every shape of batch that the run will see, after `setup` of the images: in training or not, images, pixels a side."""
    assert images.dataset is not None
    size = images.dataset.train.images.shape[1]
    found = {(True, length, pixels or size) for length, pixels in _trained(trainer, images)}
    # What is held out is seen once more, for the temperature, even where nothing is validated.
    held_out = "predict" if images.validation == "holdout" else "val"
    for name, loader in ((held_out, images.val_dataloader()), ("test", images.test_dataloader())):
        limit, edges = getattr(trainer, f"limit_{name}_batches"), list(pairwise(loader.edges))
        for start, end in edges[: limit if isinstance(limit, int) else int(limit * len(edges))]:
            found.add((False, end - start, size))
    return sorted(found, reverse=True)


def _trained(trainer: Trainer, images: ImageData) -> Iterator[tuple[int, int | None]]:
    """Images and pixels a side of each batch that the run trains on, after `plan`."""
    own, left = _own(trainer, images), trainer.max_steps
    for epoch in range(ceil(images.epochs)):
        lengths = batches(trainer, images, epoch)
        if trainer.max_steps >= 0:
            lengths = lengths[: left * trainer.accumulated]
            left -= ceil(len(lengths) / trainer.accumulated)
        for length, before in zip(lengths, accumulate([0, *lengths]), strict=False):
            yield length, images.course.pixels(own, epoch, before)


def _own(trainer: Trainer, images: ImageData) -> int:
    """A process's share of the training images."""
    return images.training_images() // trainer.world_size


def _no_batch(trainer: Trainer, images: ImageData) -> str:
    own = _own(trainer, images)
    if not images.course.lengths(own, 0):
        return f"data.drop_last leaves no batch of the {own} images of each process: make data.batch_size smaller"
    return f"trainer.limit_train_batches={trainer.limit_train_batches} leaves no batch to train on"


def check_evaluations(trainer: Trainer, images: ImageData) -> None:
    """Refuse shares of an evaluation that are less than a batch: Lightning would, when it comes to them. Raises ValueError."""
    for name, count in images.evaluation_batches(trainer.strategy.root_device, trainer.world_size).items():
        limit = getattr(trainer, f"limit_{name}_batches")
        if isinstance(limit, float) and limit > 0.0 and int(limit * count) < 1:
            raise ValueError(f"trainer.limit_{name}_batches={limit} is less than one of its {count} batches")
    if not trainer.limit_test_batches:
        raise ValueError(f"trainer.limit_test_batches={trainer.limit_test_batches}: a run ends with its test")
