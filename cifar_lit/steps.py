"""How many optimizer steps a run takes, and how many batches its evaluations."""

from math import ceil

import lightning as L

from cifar_lit.data.module import ImageData

_ROUNDS = 5  # of finding out at which step a batch size changes: each comes nearer, and three are mostly enough


def lengths(trainer: L.Trainer, images: ImageData, accumulated: int) -> tuple[int, int]:
    """Optimizer steps of the first epoch and of the run, by the sizes that the data promise.

    Tells `images` how long the run is, in epochs and in the share of each that is trained on, since data.sizes and
    data.batch_sizes go by the share of the run. Raises ValueError.
    """
    own = images.training_images() // trainer.world_size
    limit, changes = trainer.limit_train_batches, images.batch_sizes is not None
    if trainer.max_epochs is None and trainer.max_steps < 0:
        raise ValueError("a schedule needs an end: give trainer.max_epochs or trainer.max_steps")
    if changes and trainer.max_epochs is None:
        raise ValueError("data.batch_sizes are by the share of the run: give trainer.max_epochs, so that it has a length")

    def batches(epoch: int) -> list[int]:
        found = images.course.lengths(own, epoch if changes else 0)
        return found[: limit if isinstance(limit, int) else int(len(found) * limit)]

    def steps(epoch: int) -> int:
        return -(-len(batches(epoch)) // accumulated)

    def total() -> float:
        """Steps of `images.epochs`, which may end within an epoch."""
        if not changes:
            return images.epochs * steps(0)
        each = [steps(epoch) for epoch in range(ceil(images.epochs))]
        return sum(each) - each[-1] * (len(each) - images.epochs)

    images.epochs, images.portion = float(trainer.max_epochs or 1), 1.0
    if not batches(0):
        raise ValueError(_no_batch(trainer, images, own))
    in_full = total()
    cut = trainer.max_epochs is None or 0 <= trainer.max_steps < in_full
    for _ in range(_ROUNDS if changes else 1):
        if isinstance(limit, int) or limit < 1.0:
            images.portion = min(1.0, sum(batches(0)) / own)
        if cut:
            images.epochs *= trainer.max_steps / total()
    return steps(0), trainer.max_steps if cut else round(total())


def _no_batch(trainer: L.Trainer, images: ImageData, own: int) -> str:
    if not images.course.lengths(own, 0):
        return f"data.drop_last leaves no batch of the {own} images of each process: make data.batch_size smaller"
    return f"trainer.limit_train_batches={trainer.limit_train_batches} leaves no batch to train on"


def check_evaluations(trainer: L.Trainer, images: ImageData) -> None:
    """Refuse shares of an evaluation that are less than a batch: Lightning would, when it comes to them. Raises ValueError."""
    for name, batches in images.evaluation_batches(trainer.strategy.root_device, trainer.world_size).items():
        limit = getattr(trainer, f"limit_{name}_batches")
        if isinstance(limit, float) and limit > 0.0 and int(limit * batches) < 1:
            raise ValueError(f"trainer.limit_{name}_batches={limit} is less than one of its {batches} batches")
    if not trainer.limit_test_batches:
        raise ValueError(f"trainer.limit_test_batches={trainer.limit_test_batches}: a run ends with its test")
