"""A run that was stopped, in whatever way, ends as if it never had been."""

import functools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from running import TINY, TRAIN, Process, completed

from cifar_lit import checkpoint, runs

pytestmark = pytest.mark.slow  # trains

# All that is random: order, augmentation, mixing, dropout; and all that has a state: momentum, the schedule, the average.
EVERYTHING = [*TINY, "trainer.max_epochs=5", "mix=cutmix", "model.dropout=0.2", "model.drop_path=0.1", "callbacks=ema"]
ENGINES = {
    "device": ["data.engine=device", "augment=enhanced"],
    "workers": ["data.engine=workers", "data.workers=2", "augment=crop_flip"],
}


def differences(first: object, second: object, path: str = "") -> list[str]:
    """Where two checkpoints differ, bit for bit; the clock's readings are no part of them."""
    if isinstance(first, dict) and isinstance(second, dict):
        keys = first.keys() | second.keys()
        return [line for key in keys for line in differences(first.get(key), second.get(key), f"{path}/{key}")]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        return [line for i, pair in enumerate(zip(first, second, strict=True)) for line in differences(*pair, f"{path}/{i}")]
    same = torch.equal(first, second) if torch.is_tensor(first) and torch.is_tensor(second) else first == second
    return [] if same else [path]


def assert_same_run(first: Path, second: Path) -> None:
    for name in ("last", "best"):
        contents = [checkpoint.read(folder / "checkpoints" / f"{name}.ckpt") for folder in (first, second)]
        assert differences(*contents) == []
    timeless = [
        [
            {key: value for key, value in row.items() if key not in ("seconds", "images_per_second")}
            for row in runs.read_metrics(folder)
        ]
        for folder in (first, second)
    ]
    assert timeless[0] == timeless[1]
    tested = [{key: value for key, value in runs.read_summary(folder).items() if "test/" in key} for folder in (first, second)]
    assert tested[0] == tested[1]
    assert (first / "model/model.safetensors").read_bytes() == (second / "model/model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Callable[..., Path]:
    """The directory of a run that nothing happened to; each command is run once."""

    @functools.cache
    def run(*arguments: str) -> Path:
        folder = tmp_path_factory.mktemp("whole") / "run"
        done = completed([TRAIN, *arguments, f"hydra.run.dir={folder}"], cwd=folder.parent)
        assert done.returncode == 0, done.stderr
        return folder

    return run


def started(folder: Path, *arguments: str) -> Process:
    command = [TRAIN, *arguments, f"hydra.run.dir={folder}"]
    return Process(command, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait_for_epoch(process: Process, epoch: int, patience: float = 120.0) -> None:
    limit = time.monotonic() + patience
    for line in process.stdout:
        if line.strip().startswith(f"{epoch}/"):
            return
        assert time.monotonic() < limit
    raise AssertionError("the run ended early")


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_killed_at_any_step(train, undisturbed, tmp_path, engine):
    options = [*EVERYTHING, *ENGINES[engine]]
    killed = tmp_path / "killed"
    with started(killed, *options) as process:
        wait_for_epoch(process, 3)
        time.sleep(0.1)  # into the fourth epoch
        os.kill(process.pid, signal.SIGKILL)
    assert runs.read_summary(killed) is None
    # Another number of workers makes no difference.
    resumed = train(*options, *(["data.workers=0"] if engine == "workers" else []), f"resume={killed}", folder="")
    assert resumed.code == 0, resumed.err
    assert "Resuming from" in resumed.out
    assert_same_run(undisturbed(*options), killed)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted(train, undisturbed, tmp_path, sent):
    stopped = tmp_path / "stopped"
    with started(stopped, *EVERYTHING) as process:
        wait_for_epoch(process, 2)
        process.send_signal(sent)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert f"resume={stopped}" in rest
    assert "Traceback" not in rest
    assert runs.read_summary(stopped)["status"] == "interrupted"
    # The directory alone is enough: what was typed before is on record.
    assert train(f"resume={stopped}", folder="").code == 0
    assert_same_run(undisturbed(*EVERYTHING), stopped)


class Stop(Exception):
    pass


@pytest.mark.parametrize("step", [0, 9, 10, 25, 49])
def test_died_at_a_step(train, undisturbed, tmp_path, monkeypatch, step):
    """Dies inside the process at a chosen step, the last of an epoch and the first of the next among them."""
    from cifar_lit.task import Task

    original = Task.on_train_batch_end

    def dying(self, outputs, batch, batch_idx):
        original(self, outputs, batch, batch_idx)
        if self.global_step == step + 1:
            raise Stop

    with monkeypatch.context() as patched:
        patched.setattr(Task, "on_train_batch_end", dying)
        assert train(*EVERYTHING, folder="died").code == 1
    assert runs.read_summary(tmp_path / "died")["status"] == "failed"
    assert train(*EVERYTHING, f"resume={tmp_path / 'died'}", folder="").code == 0
    assert_same_run(undisturbed(*EVERYTHING), tmp_path / "died")


def test_a_torn_checkpoint_is_passed_over(train, undisturbed, tmp_path):
    torn = tmp_path / "torn"
    shutil.copytree(undisturbed(*EVERYTHING), torn)
    (torn / "summary.json").unlink()
    last = torn / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-100])
    resumed = train(*EVERYTHING, f"resume={torn}", folder="")
    assert resumed.code == 0, resumed.err
    assert "using the one before it" in resumed.out
    assert "previous.ckpt" in resumed.out
    assert_same_run(undisturbed(*EVERYTHING), torn)


def test_from_one_checkpoint(train, undisturbed, tmp_path):
    whole = undisturbed(*EVERYTHING, "callbacks.checkpoints.every_epochs=2")
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "summary.json").unlink()
    assert train(f"resume={run / 'checkpoints' / 'epoch=001.ckpt'}", folder="").code == 0
    assert_same_run(whole, run)
    summary = runs.read_summary(run)
    assert summary["train_seconds"] > 0 and summary["trained_seconds"] is summary["fit_seconds"] is None, "of both parts"


def test_a_finished_run_is_not_run_again(train, tmp_path):
    first = train(*TINY)
    before = (first.folder / "metrics.csv").read_bytes()
    again = train(f"resume={first.folder}", folder="")
    assert again.code == 0
    assert "Finished already" in again.out
    assert (first.folder / "metrics.csv").read_bytes() == before


def test_auto_takes_the_latest_unfinished_run_of_the_same_command(train, tmp_path):
    command = [*TINY, "resume=auto"]
    assert train(*command, folder="").code == 0
    [first] = (tmp_path / "runs" / "resnet8-sgd_onecycle").iterdir()
    (first / "summary.json").unlink()
    again = train(*command, folder="")
    assert f"Resuming from {first}" in again.out
    assert train(*command, "seed=5", folder="").code == 0
    assert train(*command, folder="").code == 0, "the latest has finished: a new one"
    assert len(list((tmp_path / "runs" / "resnet8-sgd_onecycle").iterdir())) >= 3


def test_two_processes_do_not_share_a_directory(train, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with FileLock(folder / ".lock"):
        refused = train(*TINY)
    assert refused.code == 1
    assert "another process" in refused.err
    assert not (folder / ".hydra").exists(), "the record is that of who holds it"


def test_resuming_without_the_average_goes_on_from_the_trained_weights(train, tmp_path):
    """Regression: Lightning's own averaging resumed from the average when the callback was gone."""
    plain = train(*TINY, "trainer.max_epochs=3", folder="plain")
    averaged = train(*TINY, "trainer.max_epochs=3", "callbacks=ema", folder="averaged")
    contents = [checkpoint.read(run.folder / "checkpoints" / "last.ckpt")["state_dict"] for run in (plain, averaged)]
    assert differences(*contents) == []


EARLY = ["callbacks=early_stopping", "callbacks.early_stopping.patience=1"]


@pytest.mark.parametrize("stop", [["callbacks.target.value=0.001"], EARLY], ids=["target", "early_stopping"])
def test_a_run_that_had_reached_its_end_does_not_train_on(train, stop):
    """Killed between the last checkpoint of a stopped run and its summary."""
    ran = train(*TINY, "trainer.max_epochs=20", *stop)
    rows = runs.read_metrics(ran.folder)
    assert len(rows) < 20
    before = checkpoint.read(ran.folder / "checkpoints" / "last.ckpt")["state_dict"]
    (ran.folder / "summary.json").unlink()
    assert train(f"resume={ran.folder}", folder="").code == 0
    assert runs.read_metrics(ran.folder) == rows
    assert differences(before, checkpoint.read(ran.folder / "checkpoints" / "last.ckpt")["state_dict"]) == []
    summary = runs.read_summary(ran.folder)
    assert summary["epochs"] == len(rows)
    assert summary["prepare_seconds"] > 0.0


@pytest.mark.parametrize(
    "options",
    [
        ["trainer.accumulate_grad_batches=3", "callbacks=ema"],
        ["optimizer=sam"],
        ["scheduler.warmup_epochs=2", "optim=adamw_cosine"],
        ["data.engine=workers", "data.workers=0", "augment=enhanced", "optim=muon_onecycle"],
    ],
    ids=lambda options: options[0],
)
def test_died_with_other_states(train, tmp_path, monkeypatch, options):
    from cifar_lit.task import Task

    command = [*TINY, "trainer.max_epochs=3", *options]
    whole = train(*command, folder="whole")
    assert whole.code == 0, whole.err
    original = Task.validation_step

    def dying(self, batch, batch_idx):
        if self.current_epoch == 1:
            raise Stop
        original(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(Task, "validation_step", dying)
        assert train(*command, folder="died").code == 1
    resumed = train(*command, f"resume={tmp_path / 'died'}", folder="")
    assert resumed.code == 0, resumed.err
    assert_same_run(whole.folder, tmp_path / "died")


def test_interrupted_while_testing(train, monkeypatch):
    from cifar_lit.task import Task

    with monkeypatch.context() as patched:
        patched.setattr(Task, "test_step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        ran = train(*TINY)
    assert ran.code == 130
    assert runs.read_summary(ran.folder)["status"] == "interrupted"
    assert train(f"resume={ran.folder}", folder="").code == 0
    assert runs.read_summary(ran.folder)["status"] == "finished"


@pytest.mark.parametrize("step", ["predict_step", "test_step"])
def test_sigterm_in_the_only_batch_after_training(train, monkeypatch, step):
    """Also of a sweep, which then ends: nothing else would look at the signal, and its next job would begin."""
    from cifar_lit.task import Task

    original = getattr(Task, step)

    def told(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    command = ["-m", *TINY, "data.eval_batch_size=500", "seed=1,2", "hydra.sweep.dir=sweep"]
    with monkeypatch.context() as patched:
        patched.setattr(Task, step, told)
        ran = train(*command)
    assert ran.code == 130, ran.out
    assert runs.read_summary(ran.folder / "0")["status"] == "interrupted"
    assert not (ran.folder / "1" / "checkpoints").exists()
    assert train(*command).code == 0
    assert [runs.read_summary(ran.folder / str(job))["status"] for job in (0, 1)] == ["finished", "finished"]


def test_two_runs_in_one_second_do_not_share_a_directory(train, tmp_path, monkeypatch):
    from cifar_lit.cli import places

    class Frozen(places.datetime):
        @classmethod
        def now(cls):
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr(places, "datetime", Frozen)
    for _ in range(2):
        assert train(*TINY, "trainer.max_epochs=1", folder="").code == 0
    names = sorted(path.name for path in (tmp_path / "runs" / "resnet8-sgd_onecycle").iterdir())
    assert names == ["2026-01-02_03-04-05", "2026-01-02_03-04-05_2"]
