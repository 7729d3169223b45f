"""callbacks=prune: what it reports to the study, and when it stops a run."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from optuna import create_study
from optuna.trial import TrialState

from cifar_lit import runs
from cifar_lit.callbacks.prune import Prune

STORED = "study.db"


@pytest.fixture
def trial(tmp_path):
    """A trial of a study where three others had 0.1, 0.2, 0.3 in every one of 4 epochs."""
    study = create_study(storage=f"sqlite:///{tmp_path / STORED}", study_name="s", direction="maximize")
    for value in (0.1, 0.2, 0.3):
        other = study.ask()
        for epoch in range(4):
            other.report(value, epoch)
        study.tell(other, value)
    own = study.ask()
    about = {"storage": f"sqlite:///{tmp_path / STORED}", "study": "s", "trial_id": own._trial_id}
    (tmp_path / runs.TRIAL).write_text(json.dumps(about))
    return own


def started(folder, **options):
    callback = Prune(run_dir=str(folder), **{"n_startup_trials": 3, "n_warmup_epochs": 0, **options})
    callback.on_train_start(None, None)
    return callback


def after_epoch(callback, epoch, score, max_epochs=4):
    metrics = {} if score is None else {"val/acc": torch.tensor(score)}
    trainer = SimpleNamespace(callback_metrics=metrics, current_epoch=epoch, max_epochs=max_epochs, global_step=10 * (epoch + 1))
    callback.on_train_epoch_end(trainer, None)


def reported(trial):
    return {step: round(value, 4) for step, value in trial.study.trials[trial.number].intermediate_values.items()}


def test_below_the_median_is_stopped_and_above_goes_on(trial, tmp_path):
    after_epoch(started(tmp_path), 0, 0.25)
    with pytest.raises(runs.Pruned) as stopped:
        after_epoch(_next_trial(tmp_path, trial), 0, 0.15)
    assert stopped.value.known["epochs"] == 1
    assert stopped.value.known["pruned_epoch"] == 0
    assert stopped.value.known["val/acc"] == pytest.approx(0.15)
    assert stopped.value.known["steps"] == 10


def _next_trial(folder, trial):
    """The callback of another trial."""
    other = trial.study.ask()
    about = json.loads((folder / runs.TRIAL).read_text()) | {"trial_id": other._trial_id}
    (folder / runs.TRIAL).write_text(json.dumps(about))
    return started(folder)


def test_the_best_is_found_by_what_an_epoch_measures(trial, tmp_path):
    """objective=val/acc_best: no epoch has such a number of its own."""
    after_epoch(started(tmp_path, monitor="val/acc_best"), 0, 0.25)
    assert reported(trial) == {0: 0.25}


def test_its_best_epoch_counts(trial, tmp_path):
    callback = started(tmp_path)
    after_epoch(callback, 0, 0.25)
    after_epoch(callback, 1, 0.05)
    assert reported(trial) == {0: 0.25, 1: 0.05}


@pytest.mark.parametrize("options", [{"n_startup_trials": 4}, {"n_warmup_epochs": 1}], ids=str)
def test_the_first_trials_and_epochs_are_spared(trial, tmp_path, options):
    after_epoch(started(tmp_path, **options), 0, 0.0)


def test_the_last_epoch_is_no_reason_to_stop(trial, tmp_path):
    after_epoch(started(tmp_path), 3, 0.0)
    assert reported(trial) == {3: 0.0}


@pytest.mark.parametrize("score", [None, math.nan])
def test_an_epoch_without_a_number_is_not_reported(trial, tmp_path, score):
    after_epoch(started(tmp_path), 0, score)
    assert reported(trial) == {}


def test_a_resumed_run_repeats_an_epoch(trial, tmp_path):
    """Optuna keeps the first report of an epoch, and warns of a second."""
    after_epoch(started(tmp_path), 0, 0.25)
    after_epoch(started(tmp_path), 0, 0.25)
    assert reported(trial) == {0: 0.25}


def test_it_leaves_the_state_to_the_sweeper(trial, tmp_path):
    with pytest.raises(runs.Pruned):
        after_epoch(started(tmp_path), 0, 0.0)
    assert trial.study.trials[trial.number].state == TrialState.RUNNING


def test_without_a_study_it_is_refused(tmp_path):
    with pytest.raises(ValueError, match="use it with -m hydra/sweeper=optuna"):
        Prune(run_dir=str(tmp_path))


@pytest.mark.parametrize("name", ["n_startup_trials", "n_warmup_epochs"])
def test_values_that_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"callbacks.prune.{name}=-1: allowed is 0 or more"):
        Prune(run_dir=str(tmp_path), **{name: -1})
