"""The checkpoint that a run goes on from, and why it may not."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from cifar_lit import checkpoint
from cifar_lit.data.dataset import Dataset
from cifar_lit.model.registry import describe
from cifar_lit.runs.binding import binding, difference


@dataclass(frozen=True)
class Saved:
    """A checkpoint, and what it says of its run. The weights are left to Lightning to read, once training starts."""

    path: Path
    facts: dict[str, Any]
    shared: dict[str, Any]
    total_steps: int | None

    @classmethod
    def at(cls, path: Path) -> "Saved":
        """Read it. Raises CheckpointError where it is not whole."""
        contents = checkpoint.read(path)
        return cls(path, contents.get("facts") or {}, contents.get("shared") or {}, contents.get("total_steps"))

    def check_run(self, model: Callable[..., nn.Module], config: dict[str, Any]) -> None:
        """Refuse another network, or a run with other settings. config: composed. Raises CheckpointError."""
        theirs = self.facts.get("network") or {}
        own = describe(model, num_classes=theirs.get("num_classes", 2))  # how many there are is known later
        if theirs != own:
            differing = sorted(key for key in {*own, *theirs} if theirs.get(key) != own.get(key))
            raise checkpoint.CheckpointError(f"{self.path} is of another network: {', '.join(differing)} differ")
        settings = self.shared.get("settings")
        if settings and config and (other := difference(settings, binding(config))):
            raise checkpoint.CheckpointError(f"{self.path} is of a run with {other}: resume it as it was, or start a new run")

    def check_images(self, dataset: Dataset, network: dict[str, Any], total_steps: int) -> None:
        """Refuse other images, or a run of another length: its schedule would not fit. Raises CheckpointError.

        network: described, with the number of the dataset's classes.
        """
        theirs, own = self.shared.get("data_fingerprint"), dataset.fingerprint or None
        same = self.facts["network"] == network and self.facts["data"] == dataset.name
        if not same or (theirs and own and theirs != own):
            raise checkpoint.CheckpointError(
                f"{self.path} is of other images ({self.facts['data']}, {self.facts['network']['num_classes']} classes) than"
                f" these ({dataset.name}, {len(dataset.classes)} classes): a run goes on with the same, or begins anew"
            )
        if self.total_steps != total_steps:
            raise checkpoint.CheckpointError(
                f"{self.path} is of a run of {self.total_steps} steps on {self.facts.get('data')} images, this one has"
                f" {total_steps}: a schedule cannot be stretched; resume with the same data and trainer.max_epochs, or"
                " start a new run with resume=null"
            )
