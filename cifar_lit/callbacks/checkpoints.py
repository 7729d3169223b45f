"""Which checkpoints a run keeps."""

import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from cifar_lit.checkpoint import duplicate, keep_previous


class Checkpoints(Checkpoint):
    """Keeps `best.ckpt` (highest validation accuracy), `last.ckpt` (where a resume goes on) and one every `every_epochs` epochs.

    An epoch that was cut short, by `max_time` or `max_steps`, can be the best but not the last: resuming repeats it
    whole, so that the result does not depend on where it was cut. Those of one epoch are one file under several names.
    """

    def __init__(self, every_epochs: int | None = None, seconds_apart: float = 0.0) -> None:
        """every_epochs: how often `epoch=NNN.ckpt` is kept; null for never.

        seconds_apart: of one `last.ckpt` and the next, at the least, but that the end of the run is always saved. A run
        that dies loses no more than that and an epoch; where an epoch takes less than to save it, saving each is a waste.
        """
        if every_epochs is not None and every_epochs < 1:
            raise ValueError(f"callbacks.checkpoints.every_epochs={every_epochs}: allowed is 1 or more, or null")
        if not seconds_apart >= 0.0:
            raise ValueError(f"callbacks.checkpoints.seconds_apart={seconds_apart}: allowed is 0 or more")
        self.every_epochs, self.seconds_apart = every_epochs, seconds_apart
        self.saved_at = 0.0  # on the clock of time.monotonic
        self.best: float | None = None
        self.best_epoch = -1

    def kept(self, epochs: float) -> int:
        """How many `epoch=NNN.ckpt` a run of so many epochs has in the end."""
        return int(epochs) // self.every_epochs if self.every_epochs else 0

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.saved_at = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        folder = Path(trainer.default_root_dir) / "checkpoints"
        epoch = trainer.current_epoch
        names = []
        score = trainer.callback_metrics.get("val/acc")
        if score is not None and (self.best is None or float(score) > self.best):
            self.best, self.best_epoch = float(score), epoch
            names.append("best.ckpt")
        if trainer.is_last_batch:
            if self.every_epochs and (epoch + 1) % self.every_epochs == 0:
                names.append(f"epoch={epoch:03d}.ckpt")
            if self._due(trainer):
                names.append("last.ckpt")
                self.saved_at = time.monotonic()
        for number, name in enumerate(names):
            if name == "last.ckpt" and trainer.is_global_zero:
                keep_previous(folder)
            if number == 0:
                trainer.save_checkpoint(folder / name)
            elif trainer.is_global_zero:  # the same once more: half the time and half the disk
                duplicate(folder / names[0], folder / name)

    def _due(self, trainer: L.Trainer) -> bool:
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        due = ends or time.monotonic() - self.saved_at >= self.seconds_apart
        return bool(trainer.strategy.broadcast(due))  # all processes save, or none

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]
