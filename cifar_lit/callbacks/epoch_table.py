"""One line an epoch, on the terminal and in train.log."""

import logging
import math
from typing import Any

import lightning as L

from cifar_lit.task import Task

log = logging.getLogger(__name__)

_HEADER = "    epoch   train loss    acc     val loss    acc   top-5        lr   seconds  images/s"


class EpochTable(L.Callback):
    """Logs each epoch's metrics as a row of a table, accuracies in percent; `*` marks a new best validation accuracy."""

    def __init__(self) -> None:
        self.best = 0.0

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if trainer.is_global_zero:
            log.info(_HEADER)

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        better = row.get("val/acc", 0.0) > self.best
        self.best = max(self.best, row.get("val/acc", 0.0))
        if trainer.is_global_zero:
            log.info("%s", _line(trainer.current_epoch + 1, str(epochs(trainer, task)), row) + ("  *" if better else ""))

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


def epochs(trainer: L.Trainer, task: L.LightningModule) -> int | str:
    """How many epochs a run will have at most, or `-` where nothing says."""
    limits = [trainer.max_epochs] if trainer.max_epochs and trainer.max_epochs > 0 else []
    if trainer.max_steps > 0:
        assert isinstance(task, Task)
        limits.append(math.ceil(trainer.max_steps / task.steps_per_epoch))
    return min(limits, default="-")


def _line(epoch: int, total: str, row: dict[str, float]) -> str:
    def cell(name: str, form: str, scale: float = 1.0, width: int = 0) -> str:
        return format(row[name] * scale, form) if name in row else "-".rjust(width)

    return (
        f"{epoch:>4}/{total:<4} {cell('train/loss', '12.4f', width=12)} {cell('train/acc', '6.2f', 100, 6)}"
        f" {cell('val/loss', '12.4f', width=12)} {cell('val/acc', '6.2f', 100, 6)} {cell('val/acc5', '7.2f', 100, 7)}"
        f" {cell('lr', '9.3g', width=9)} {cell('seconds', '9.1f', width=9)}"
        f" {cell('images_per_second', '9,.0f', width=9)}"
    )
