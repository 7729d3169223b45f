"""metrics.csv: a row an epoch."""

import csv
import os
from pathlib import Path
from typing import Any

import lightning as L

from cifar_lit.atomic import writing
from cifar_lit.runs import METRICS, read_metrics

COLUMNS = (
    "epoch", "step", "train/loss", "train/acc", "val/loss", "val/acc", "val/acc5", "lr", "seconds", "images_per_second",
)  # fmt: skip
MEASURED = COLUMNS[2:]  # what a callback can watch


class MetricsFile(L.Callback):
    """Appends a row to metrics.csv after each epoch, flushed to the disk. `seconds` is the training part of the epoch.

    A resumed run continues the file: rows of epochs that will be repeated are dropped, and those that a power cut took come
    from the checkpoint, which holds all up to it, but for the clock's readings.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self.path = Path(trainer.default_root_dir) / METRICS
        known = (*self.rows, *read_metrics(self.path.parent))
        kept = {row["epoch"]: row for row in known if row["epoch"] < trainer.current_epoch}
        with writing(self.path) as part, open(part, "w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            for _, row in sorted(kept.items()):
                table.writerow({name: _cell(name, value) for name, value in row.items()})

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        # Metrics of an epoch without validation must not be those of the last one that had it.
        for name in COLUMNS:
            trainer.callback_metrics.pop(name, None)

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        row: dict[str, float] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        row |= {name: float(value) for name, value in trainer.callback_metrics.items() if name in COLUMNS}
        self.rows.append({name: value for name, value in row.items() if name not in ("seconds", "images_per_second")})
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow({name: _cell(name, value) for name, value in row.items()})
            file.flush()
            os.fsync(file.fileno())

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])


def _cell(name: str, value: float) -> str:
    return str(int(value)) if name in ("epoch", "step") else f"{value:.7g}"
