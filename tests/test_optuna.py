"""hydra/sweeper=optuna, whole: commands, studies that go on, what is refused, and passwords."""

import os
import signal
import time
from contextlib import suppress

import pytest
from omegaconf import OmegaConf
from optuna import load_study
from optuna.trial import TrialState
from running import TINY, TRAIN, Process, completed

from cifar_lit import runs
from cifar_lit.cli import studies
from cifar_lit.cli.errors import UsageError
from cifar_lit.cli.repeat import expanded
from cifar_lit.cli.sweep_dir import redacted
from cifar_lit.cli.sweepers import Optuna

SPACE = ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "model.dropout=choice(0,0.1,0.3)"]
SEARCH = ["-m", "hydra/sweeper=optuna", *TINY, "trainer.max_epochs=1", *SPACE]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_trials": 0}, "n_trials=0: allowed is"),
        ({"n_trials": 1, "storage": "sqlite:///x.db"}, "give hydra.sweeper.study_name"),
    ],
)
def test_refusals(options, words):
    with pytest.raises(UsageError, match=words):
        Optuna(**options)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["seed=1"], "nothing to search"),
        (["optimizer.lrr=interval(0,1)"], "optimizer.lrr: no such key"),
        (["optimizer.lr=interval(0,1)", "hydra.sweeper.n_trials=0"], "n_trials=0"),
        (["optimizer.lr=glob(*)"], "takes choice, range and interval"),
        (["optimizer.lr=interval(0,1)", "experiment=ft3"], "add data.validation=holdout"),
        (["experiment=quickstart,ft3"], "add data.validation=holdout"),
        (["data.validation=holdout,test"], "add data.validation=holdout"),
        (["optimizer.lr=interval(0,1)", "objective=val/loss"], "allowed is val/acc, val/acc_best, train/acc"),
        (["optimizer.lr=interval(0,1)", "seed=1,2,3"], "seed: a search would pick the luckiest one; type seed=0"),
        (["+study=learning_rate"], "seed: a search would pick the luckiest one; type seed=0"),
    ],
)
def test_refused_in_one_line_before_any_trial(train, typed, words):
    ran = train("-m", "hydra/sweeper=optuna", *typed)
    assert ran.code == 2
    assert words in ran.err
    assert ran.err.count("\n") == 1
    assert not list(ran.folder.glob("[0-9]*"))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:s3cret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("mysql+pymysql://me:s3/c@ret:@host/db", "mysql+pymysql://me:***@host/db"),
        ("postgresql:///db?user=me&password=s3cret&x=1", "postgresql:///db?user=me&password=***&x=1"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:////tmp/study.db", "sqlite:////tmp/study.db"),
    ],
)
def test_a_password_is_not_shown(address, shown):
    assert redacted(address) == shown


@pytest.mark.slow
def test_a_password_is_written_nowhere_but_in_what_its_owner_alone_may_read(train, tmp_path, monkeypatch):
    opened = studies._opened
    monkeypatch.setattr(studies, "_opened", lambda *_: opened(f"sqlite:///{tmp_path / 'shared.db'}", {}))
    storage = ["hydra.sweeper.storage='postgresql://me:s3cret@host/db'", "hydra.sweeper.study_name=s", "hydra.sweeper.n_trials=1"]
    for words in ("Sweep in run", "1 finished"):  # the same command goes on with it
        ran = train(*SEARCH, *storage)
        assert ran.code == 0 and words in ran.out, ran.err
    holding = [path for path in ran.folder.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert [path.name for path in holding] == [runs.TRIAL] and holding[0].stat().st_mode & 0o077 == 0
    record = OmegaConf.load(ran.folder / "0" / ".hydra" / "hydra.yaml").hydra
    assert record.sweeper.storage == "postgresql://me:***@host/db"
    assert "me:***@host" in (ran.folder / "multirun.yaml").read_text()


def params_of(folder):
    found = load_study(study_name=folder.name, storage=f"sqlite:///{folder / 'study.db'}").trials
    return [(trial.number, trial.state, trial.params, trial.values) for trial in found]


@pytest.mark.slow
def test_a_study(train):
    """In one go, or in two: the same trials with the same values; none is run twice."""
    whole = train(*SEARCH, "hydra.sweeper.n_trials=4", folder="whole/study")
    assert whole.code == 0, whole.err
    first = train(*SEARCH, "hydra.sweeper.n_trials=2", folder="parts/study")
    before = {path.parent.name: path.stat().st_mtime_ns for path in first.folder.glob("*/summary.json")}
    assert set(before) == {"0", "1"}
    second = train(*SEARCH, "hydra.sweeper.n_trials=4", folder="parts/study")
    assert second.code == 0, second.err
    assert params_of(second.folder) == params_of(whole.folder)
    assert all((second.folder / job / "summary.json").stat().st_mtime_ns == stamp for job, stamp in before.items())
    assert "4 finished, 0 pruned, 0 failed; best" in second.out
    for number, state, params, values in params_of(whole.folder):
        summary = runs.read_summary(whole.folder / str(number))
        assert state == TrialState.COMPLETE
        assert values == [summary["val/acc"]]
        assert f"optimizer.lr={params['optimizer.lr']}" in summary["overrides"]


@pytest.mark.slow
def test_a_study_that_is_killed(tmp_path):
    """kill -9 of everything, three times: all trials are there, once each, and the trials of an undisturbed study."""

    def started(folder):
        (tmp_path / folder).mkdir(exist_ok=True)
        command = [TRAIN, *SEARCH, "hydra.sweeper.n_trials=5", "hydra.sweep.dir=study"]
        with open(tmp_path / f"{folder}.txt", "a") as said:
            return Process(command, cwd=tmp_path / folder, stdout=said, stderr=said, start_new_session=True)

    killed = tmp_path / "killed" / "study"
    for trial in (0, 1, 3):
        process = started("killed")
        limit = time.monotonic() + 120
        while not (killed / str(trial) / ".begun").exists() and time.monotonic() < limit and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.2 * trial)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert time.monotonic() < limit
    for folder in ("killed", "whole"):
        assert started(folder).wait(240) == 0, (tmp_path / f"{folder}.txt").read_text()[-2000:]
    assert params_of(killed) == params_of(tmp_path / "whole" / "study")
    assert sorted(path.name for path in runs.find(killed)) == list("01234")


@pytest.mark.slow
def test_trials_in_parallel_processes(tmp_path):
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_trials=3", "hydra.sweep.dir=study"]
    ran = completed([TRAIN, *SEARCH, *parallel], cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert [state for _, state, _, _ in params_of(tmp_path / "study")] == [TrialState.COMPLETE] * 3
    assert ran.stdout.count("is launching 2 jobs") == 1 and ran.stdout.count("is launching 1 jobs") == 1


@pytest.mark.slow
def test_a_trial_behind_the_median_is_pruned(train):
    prune = ["callbacks=prune", "callbacks.prune.n_startup_trials=1", "callbacks.prune.n_warmup_epochs=0", "trainer.max_epochs=3"]
    ran = train(*SEARCH, *prune, "hydra.sweeper.n_trials=4")
    assert ran.code == 0, ran.err
    found = params_of(ran.folder)
    pruned = [number for number, state, _, _ in found if state == TrialState.PRUNED]
    assert pruned, "of four trials of untrained networks one is behind"
    for number in pruned:
        summary = runs.read_summary(ran.folder / str(number))
        assert summary["status"] == "pruned" and summary["pruned_epoch"] + 1 == summary["epochs"] < 3
        assert not any(key.startswith("test/") for key in summary), "the test images are not looked at"
        assert len(runs.read_metrics(ran.folder / str(number))) == summary["epochs"]
    assert f"{4 - len(pruned)} finished, {len(pruned)} pruned" in ran.out
    assert "Run what has not finished" not in ran.out
    again = train(*SEARCH, *prune, "hydra.sweeper.n_trials=4")
    assert again.code == 0 and params_of(ran.folder) == found


def test_a_repeat_is_no_search():
    with pytest.raises(UsageError, match="repeat=2 is a sweep over seeds"):
        expanded(["hydra/sweeper=optuna", "repeat=2"])
