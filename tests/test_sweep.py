"""Sweeps: every job a run of its own, failures told and survived, finished jobs never run twice."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from running import TINY, TRAIN, Process

from cifar_lit import outcome, runs

pytestmark = pytest.mark.slow  # trains

SWEEP = ["-m", *TINY, "trainer.max_epochs=1", "optim=sgd_cosine,adam_onecycle", "seed=1,2"]


def stamps(folder: Path) -> dict[str, int]:
    """When each job's weights were written."""
    return {path.parent.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/model/model.safetensors")}


def test_every_combination(train):
    ran = train(*SWEEP)
    assert ran.code == 0, ran.err
    summaries = [runs.read_summary(ran.folder / str(job)) for job in range(4)]
    assert [(s["experiment"], s["seed"]) for s in summaries] == [
        ("resnet8-sgd_cosine", 1), ("resnet8-sgd_cosine", 2), ("resnet8-adam_onecycle", 1), ("resnet8-adam_onecycle", 2),
    ]  # fmt: skip
    table = ran.out[ran.out.index("Sweep run") :]
    assert table.count("finished") == 4
    assert "optim=adam_onecycle seed=2" in table


@pytest.mark.parametrize("typed", ["optimizer=sgd,rmsprop", "optim=sgd_cosine,adam_cosine"])
def test_what_one_combination_cannot_be_given_stops_the_sweep_before_its_first_job(typed, train):
    ran = train("-m", *TINY, "seed=1,2", typed, "optimizer.nesterov=true")
    assert ran.code == 2
    assert "optimizer.nesterov" in ran.err and len(ran.err.splitlines()) == 1
    assert not list(ran.folder.glob("*/.hydra"))


def test_a_long_sweep_begins_as_soon_as_a_short_one(train, monkeypatch):
    """Of jobs that differ in values only, one is composed before the first runs; of each choice of a group, one."""
    from cifar_lit.cli import jobs, sweepers

    composed, launched = [], []
    monkeypatch.setattr(sweepers.Grid, "validate_batch_is_legal", lambda self, batch: composed.extend(batch))
    monkeypatch.setattr(jobs, "carry_out", lambda launch, todo: launched.extend(todo))
    train(
        "-m", *TINY, "optim=sgd_cosine,adam_onecycle", "optimizer.lr=0.01,0.1", "seed=range(10)", "+trainer.profiler=null,simple"
    )
    assert len(launched) == 80
    assert [job[-4] for job in composed] == ["optim=sgd_cosine", "optim=adam_onecycle"]


def test_what_is_committed_meanwhile_is_not_what_later_jobs_ran(train, monkeypatch):
    asked = []

    class Git:
        CalledProcessError = subprocess.CalledProcessError

        @staticmethod
        def run(command, **_):
            asked.append(command)
            return subprocess.CompletedProcess(command, 0, "" if "status" in command else f"commit{len(asked)}")

    monkeypatch.setattr(outcome, "subprocess", Git)
    outcome._git.cache_clear()
    ran = train("-m", *TINY, "trainer.max_epochs=1", "seed=1,2")
    outcome._git.cache_clear()
    assert ran.code == 0, ran.err
    assert [runs.read_summary(ran.folder / str(job))["git"] for job in (0, 1)] == ["commit1", "commit1"]


def test_a_failed_job_is_told_and_the_others_finish(train):
    ran = train("-m", *TINY, "trainer.max_epochs=1", "optimizer.lr=0.1,-1,0.2")
    assert ran.code == 1
    statuses = [runs.read_summary(ran.folder / str(job))["status"] for job in range(3)]
    assert statuses == ["finished", "failed", "finished"]
    assert "optimizer.lr=-1" in runs.read_summary(ran.folder / "1")["error"]
    table = ran.out[ran.out.index("Sweep run") :]
    assert "failed: optimizer.lr=-1" in table
    assert "hydra.sweep.dir=run" in table


def test_the_same_command_runs_only_what_has_not_finished(train, monkeypatch):
    from cifar_lit.task import Task

    original = Task.on_train_epoch_start

    def failing(self):
        if self.seed == 2:
            raise RuntimeError("the power went out")
        original(self)

    with monkeypatch.context() as patched:
        patched.setattr(Task, "on_train_epoch_start", failing)
        first = train(*SWEEP)
    assert first.code == 1
    before = stamps(first.folder)
    assert set(before) == {"0", "2"}
    again = train(*SWEEP)
    assert again.code == 0, again.err
    after = stamps(first.folder)
    assert set(after) == {"0", "1", "2", "3"}
    assert all(after[job] == before[job] for job in before), "finished jobs are not touched"
    assert again.out.count("Finished before, not run again") == 2


def test_a_different_sweep_does_not_overwrite_jobs(train):
    first = train("-m", *TINY, "trainer.max_epochs=1", "seed=1,2")
    before = stamps(first.folder)
    other = train("-m", *TINY, "trainer.max_epochs=1", "seed=3,1,2")
    assert other.code == 0, other.err
    after = stamps(first.folder)
    assert all(after[job] == before[job] for job in before)
    seeds = sorted(runs.read_summary(path)["seed"] for path in runs.find(first.folder))
    assert set(seeds) == {1, 2, 3}


def test_a_job_sent_to_the_directory_of_another_leaves_it_as_it_is(train, tmp_path, monkeypatch):
    from cifar_lit.cli import plan

    other = tmp_path / "run" / "0"
    (other / ".hydra").mkdir(parents=True)
    (other / runs.OVERRIDES).write_text("- seed=1\n")
    runs.write_summary(other, {"status": "finished", "val/acc": 0.5})
    before = {path: path.read_bytes() for path in (other / runs.OVERRIDES, other / runs.SUMMARY)}
    monkeypatch.setattr(plan, "job_dirs", lambda *_, **__: ["0"])
    ran = train("-m", *TINY, "optimizer.lr=-1")
    assert ran.code == 2 and "another job's" in ran.err
    assert "Finished before" not in ran.out
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "space",
    [["optimizer.lr=-1,-2"], ["optimizer.lr=interval(-2,-1)", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1"]],
    ids=["grid", "optuna"],
)
def test_a_sweep_that_was_left_is_named_by_the_next_one(train, space):
    assert "An unfinished sweep" not in train("-m", *TINY, *space, folder="").out
    time.sleep(1.1)  # directories are called by the second
    assert "An unfinished sweep of the same command is in runs/sweep/" in train("-m", *TINY, *space, folder="").out


@pytest.fixture
def workers_here(monkeypatch):
    """joblib's jobs in the test's own process, one after the other: what ends one comes to the sweep as from a worker."""
    from hydra_plugins.hydra_joblib_launcher import _core

    def carried_out(tasks):
        return [function(*arguments, **more) for function, arguments, more in tasks]

    monkeypatch.setattr(_core, "Parallel", lambda **_: carried_out)


@pytest.mark.parametrize(
    "options",
    [
        ["optimizer.lr=-1,-2"],
        ["optimizer.lr=-1,-2", "hydra/launcher=joblib"],
        ["optimizer.lr=interval(-2,-1)", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1"],
    ],
    ids=["grid", "joblib", "optuna"],
)
@pytest.mark.usefixtures("workers_here")
def test_a_sweep_is_in_one_directory_however_long_it_takes_to_begin(train, tmp_path, monkeypatch, options):
    """The name of the directory is the time: the sweep, its launcher and each job would ask for it in another second."""
    import hydra.core.utils

    class Ticking(hydra.core.utils.datetime):
        seconds = iter(range(60))

        @classmethod
        def now(cls):
            return cls(2026, 1, 2, 3, 4, next(cls.seconds))

    monkeypatch.setattr(hydra.core.utils, "datetime", Ticking)
    ran = train("-m", *TINY, *options, folder="")
    [folder] = (tmp_path / "runs" / "sweep").iterdir()
    assert ran.code == 1 and "failed: optimizer.lr=-" in ran.out, "its jobs are seen"
    assert {(path.parent, runs.read_summary(path)["status"]) for path in runs.find(folder)} == {(folder, "failed")}


def test_a_worker_that_dies_twice_fails_its_job_and_no_other(tmp_path):
    """tests/test_launchers.py has the one that dies once."""
    command = [TRAIN, "-m", *TINY, "seed=1,2,3", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweep"]
    process = Process(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    killed: set[int] = set()
    began = tmp_path / "sweep" / "1" / ".started"
    while process.poll() is None:
        with suppress(OSError, ValueError, ProcessLookupError):
            worker = json.loads(began.read_text())["pid"]
            if worker not in killed:
                os.kill(worker, signal.SIGKILL)
                killed.add(worker)
        time.sleep(0.02)
    out, _ = process.communicate(timeout=300)
    found = [runs.read_summary(tmp_path / "sweep" / str(job)) for job in range(3)]
    assert [summary["status"] for summary in found] == ["finished", "failed", "finished"], out
    assert process.returncode == 1
    assert len(killed) == 2, "one more try, and no more"
    assert "failed after 2 tries: its process died" in " ".join(out[out.rindex("Sweep sweep") :].split())


def test_a_job_that_fails_once_goes_on_where_it_was(train, monkeypatch):
    from cifar_lit.task import Task

    original, failed = Task.on_train_epoch_start, []

    def failing(self):
        if self.seed == 1 and self.current_epoch == 1 and not failed:
            failed.append(1)
            raise RuntimeError("the power went out")
        original(self)

    monkeypatch.setattr(Task, "on_train_epoch_start", failing)
    ran = train("-m", *TINY, "seed=1,2")
    assert ran.code == 0, ran.err
    assert "Resuming from" in ran.out and "finished in try 2" in ran.out
    assert [runs.read_summary(ran.folder / str(job))["status"] for job in range(2)] == ["finished"] * 2


@pytest.mark.usefixtures("workers_here")
def test_a_worker_that_is_told_to_stop_costs_its_job_a_try_and_stops_no_other(train, monkeypatch):
    """Regression: its exit status came back through joblib, and the sweep took it for its own."""
    from cifar_lit.task import Task

    original, told = Task.on_train_epoch_start, []

    def stopping(self):
        if self.seed == 1 and not told:
            told.append(1)
            os.kill(os.getpid(), signal.SIGTERM)
        original(self)

    monkeypatch.setattr(Task, "on_train_epoch_start", stopping)
    ran = train("-m", *TINY, "trainer.max_epochs=1", "seed=1,2", "hydra/launcher=joblib")
    assert ran.code == 0, ran.err
    assert [runs.read_summary(ran.folder / str(job))["status"] for job in range(2)] == ["finished"] * 2
    assert "finished in try 2" in ran.out
    assert "told to stop" in (ran.folder / "0" / ".failures").read_text()


def test_an_interrupt_of_all_its_processes_stops_a_sweep(tmp_path):
    command = [TRAIN, "-m", *TINY, "trainer.max_epochs=50", "seed=1,2,3", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    said = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = Process([*command, "hydra.sweep.dir=sweep"], cwd=tmp_path, start_new_session=True, **said)
    limit = time.monotonic() + 60
    while len(list(tmp_path.glob("sweep/*/.begun"))) < 2 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "Once more" not in out and not (tmp_path / "sweep" / "2" / "checkpoints").exists()
