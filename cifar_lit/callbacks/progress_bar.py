"""The bar of the epoch that is running."""

import sys
import time
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cifar_lit.callbacks.epoch_table import epochs
from cifar_lit.task import Task


class ProgressBar(L.Callback):
    """Shows step, time left of the whole run, running loss and accuracy, and images per second; erased after each epoch.

    Validation, the fit of the temperature and the test show how many of their batches are done. Only where the output is a
    terminal. Reads the running metrics, and so waits for the device, once every `refresh_seconds`, never a step.
    """

    def __init__(self, refresh_seconds: float = 0.25) -> None:
        self.refresh_seconds = refresh_seconds
        self.bar: Progress | None = None
        self.started = 0.0
        self.first_step = 0
        self.validation = ""

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.started, self.first_step = time.monotonic(), trainer.global_step

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._begin(trainer, f"epoch {trainer.current_epoch + 1}/{epochs(trainer, task)}", trainer.num_training_batches)

    def _begin(self, trainer: L.Trainer, words: str, batches: float) -> None:
        if not (trainer.is_global_zero and sys.stdout.isatty()):
            return
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(file=sys.stdout),
            transient=True,
            auto_refresh=False,
        )
        self.row = self.bar.add_task(words, total=batches, note="")
        self.bar.start()
        self.due = 0.0

    def _is_due(self) -> bool:
        if self.bar is None or time.monotonic() < self.due:
            return False
        self.due = time.monotonic() + self.refresh_seconds
        return True

    def on_train_batch_end(self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not self._is_due():
            return
        assert isinstance(task, Task)
        means = task.training_tally.so_far()
        speed = task.epoch_images / (time.perf_counter() - task.epoch_started)
        note = (
            f"loss {means['loss']:.3f}  acc {100 * means['acc']:5.2f}%{self.validation}"
            f"  {speed * trainer.world_size:,.0f} images/s  {self._left(trainer.global_step, task.total_steps)} left"
        )
        self._show(completed=batch_idx + 1, note=note)

    def _left(self, step: int, total_steps: int) -> str:
        done, remaining = step - self.first_step, total_steps - step
        if not done:
            return "?"
        seconds = round((time.monotonic() - self.started) / done * remaining)
        hours, minutes = seconds // 3600, seconds % 3600 // 60
        return f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"

    def _show(self, **what: Any) -> None:
        if self.bar is not None:
            self.bar.update(self.row, **what)
            self.bar.refresh()

    def on_validation_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._show(completed=0, total=sum(trainer.num_val_batches), note="validating")

    def on_predict_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._begin(trainer, "temperature", sum(trainer.num_predict_batches))

    def on_test_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._begin(trainer, "test", sum(trainer.num_test_batches))

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._is_due():
            self._show(completed=batch_idx + 1)

    on_predict_batch_end = on_test_batch_end = on_validation_batch_end

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._stop()
        if "val/acc" in trainer.callback_metrics:
            self.validation = f"  val {100 * float(trainer.callback_metrics['val/acc']):5.2f}%"

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop()

    on_test_end = on_predict_end

    def on_exception(self, trainer: L.Trainer, task: L.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
