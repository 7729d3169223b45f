"""Stop a trial of a study that is behind the others."""

import json
import math
from pathlib import Path
from typing import Any

import lightning as L

from cifar_lit import runs


class Prune(L.Callback):
    """Reports `monitor` after every epoch to the study that the run is a trial of, and stops the run where its best so far
    is below the median of what the others had at the same epoch (optuna.pruners.MedianPruner).

    run_dir: where the sweeper left which trial this is. n_startup_trials: how many trials must have finished before any is
    pruned. n_warmup_epochs: how many epochs every trial has.
    """  # fmt: skip

    def __init__(self, *, run_dir: str, monitor: str = "val/acc", n_startup_trials: int = 5, n_warmup_epochs: int = 5) -> None:
        if monitor not in runs.OBJECTIVES:  # a study maximises, and would prune the lowest loss
            raise ValueError(f"callbacks.prune.monitor={monitor}: allowed is {', '.join(runs.OBJECTIVES)}")
        for name, value in (("n_startup_trials", n_startup_trials), ("n_warmup_epochs", n_warmup_epochs)):
            if value < 0:
                raise ValueError(f"callbacks.prune.{name}={value}: allowed is 0 or more")
        if not (Path(run_dir) / runs.TRIAL).is_file():
            raise ValueError("callbacks=prune compares the trials of a study: use it with -m hydra/sweeper=optuna")
        self.run_dir = Path(run_dir)
        self._measured = monitor.removesuffix("_best")  # the best of an epoch's own; the median is of bests already
        self.n_startup_trials, self.n_warmup_epochs = n_startup_trials, n_warmup_epochs
        self._trial: Any = None

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        # Optuna is slow to import, and wanted only here.
        from optuna import load_study
        from optuna.pruners import MedianPruner
        from optuna.samplers import RandomSampler
        from optuna.trial import Trial

        about = json.loads((self.run_dir / runs.TRIAL).read_text())
        pruner = MedianPruner(self.n_startup_trials, n_warmup_steps=self.n_warmup_epochs)
        study = load_study(study_name=about["study"], storage=about["storage"], sampler=RandomSampler(), pruner=pruner)
        self._trial = Trial(study, about["trial_id"])

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        score = trainer.callback_metrics.get(self._measured)
        if score is None or not math.isfinite(score):
            return
        epoch, value = trainer.current_epoch, float(score)
        known = self._trial.storage.get_trial(self._trial._trial_id).intermediate_values
        if epoch not in known:  # a resumed run repeats an epoch, with the same result
            self._trial.report(value, epoch)
        if epoch + 1 != trainer.max_epochs and self._trial.should_prune():
            raise runs.Pruned(pruned_epoch=epoch, epochs=epoch + 1, steps=trainer.global_step, **{self._measured: value})
