"""What changes over a run: the batch size, and the size of the training images."""

from collections.abc import Mapping
from dataclasses import dataclass

# From which share of the run on, which value holds: {0.0: 20, 0.4: 24, 0.8: 32}.
Stages = Mapping[float, int]

_SMALLEST = 8  # pixels: the deepest networks here halve an image three times


def check_stages(name: str, stages: Stages | None, smallest: int = 1) -> None:
    """Refuse stages that do not begin at 0, lie beyond the run, or hold a value that is too small. Raises ValueError."""
    if stages is None:
        return
    if not isinstance(stages, Mapping) or not all(isinstance(share, int | float) for share in stages):
        raise ValueError(f"data.{name}={stages}: allowed is {{share of the run: value, ...}} (in quotes, in a shell), or null")
    shares, values = list(stages), list(stages.values())
    if shares[:1] != [0] or shares != sorted(shares) or shares[-1] >= 1:
        raise ValueError(f"data.{name}={dict(stages)}: allowed are shares of the run from 0.0 up to, not with, 1, in order")
    if any(isinstance(value, bool) or not isinstance(value, int) or value < smallest for value in values):
        raise ValueError(f"data.{name}={dict(stages)}: allowed are whole numbers from {smallest}")


@dataclass(frozen=True, kw_only=True)
class Course:
    """The batches of a run of `epochs` epochs, which need not be whole, and of each of which a `epoch_fraction` is trained on.

    batch_sizes: stages by the share of the run's images that were seen when a batch begins; null is `batch_size`
    throughout. sizes: pixels a side, likewise (progressive resizing, Howard 2018); null leaves images as they are.
    """

    batch_size: int
    epochs: float = 1.0
    epoch_fraction: float = 1.0
    drop_last: bool = False
    batch_sizes: Stages | None = None
    sizes: Stages | None = None

    def __post_init__(self) -> None:
        check_stages("batch_sizes", self.batch_sizes)
        check_stages("sizes", self.sizes, _SMALLEST)

    def lengths(self, images: int, epoch: int) -> list[int]:
        """How many images each batch of an epoch of `images` holds."""
        batches, seen = [], 0
        while seen < images:
            size = self._at(self.batch_sizes, epoch, seen / images) or self.batch_size
            if seen + size > images and self.drop_last:
                break
            batches.append(min(size, images - seen))
            seen += size
        return batches

    def pixels(self, images: int, epoch: int, seen: int) -> int | None:
        """Pixels a side once `seen` images of an epoch of `images` have been trained on; None: as they are."""
        return self._at(self.sizes, epoch, seen / images)

    def _at(self, stages: Stages | None, epoch: int, part: float) -> int | None:
        if stages is None:
            return None
        share = (epoch + min(1.0, part / self.epoch_fraction)) / self.epochs
        return [value for start, value in stages.items() if start <= share + 1e-9][-1]
