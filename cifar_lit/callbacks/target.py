"""Stop when the goal is reached."""

import logging

import lightning as L

log = logging.getLogger(__name__)


class Target(L.Callback):
    """Ends the run after the first epoch whose validation accuracy reaches `value` (R5 stopped at 0.75); null never does."""

    def __init__(self, value: float | None = None) -> None:
        if value is not None and not 0.0 < value <= 1.0:
            raise ValueError(f"callbacks.target.value={value} is an accuracy as a fraction: allowed is above 0, up to 1")
        self.value = value

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        score = trainer.callback_metrics.get("val/acc")
        if self.value is not None and score is not None and score >= self.value:  # both as float32: 0.7 reaches 0.7
            log.info("Target reached: val/acc %.2f%% in epoch %d", 100 * float(score), trainer.current_epoch + 1)
            trainer.should_stop = True
