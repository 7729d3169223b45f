"""A sweep that is killed again and again loses no job, repeats none, and ends as if nothing had been."""

import os
import random
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from running import TRAIN, Process

from cifar_lit import runs

pytestmark = pytest.mark.slow  # trains

SWEEP = [
    "-m", "data=synthetic", "data.train_per_class=4", "data.test_per_class=2", "data.val_size=100", "data.batch_size=100",
    "model=resnet8", "model.stem=imagenet", "trainer=cpu", "trainer.max_epochs=2", "callbacks.progress_bar=null",
    "optim=sgd_cosine,adam_onecycle", "optimizer.lr=0.01,0.1", "model.dropout=0,0.1", "seed=1,2,3,4",
]  # fmt: skip
JOBS, KILLS = 32, 10


@contextmanager
def sweeping(folder: Path, *options: str) -> Iterator[Process]:
    """The sweep in a process group of its own, of which nothing is left at the end."""
    command = [TRAIN, *SWEEP, *options, f"hydra.sweep.dir={folder.name}"]
    with open(folder.parent / f"{folder.name}.txt", "a") as said:
        process = Process(command, cwd=folder.parent, stdout=said, stderr=said, start_new_session=True)
    try:
        yield process
    finally:
        kill_group(process)


def kill_group(process: Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def finished(folder: Path) -> dict[str, int]:
    """The jobs that have finished, and when each summary was written."""
    return {
        path.name: (path / runs.SUMMARY).stat().st_mtime_ns
        for path in runs.find(folder)
        if (runs.read_summary(path) or {}).get("status") == "finished"
    }


def closing_table(folder: Path) -> list[str]:
    """The rows of the last table of jobs that was printed, without the clock's column."""
    said = (folder.parent / f"{folder.name}.txt").read_text()
    rows = said[said.rindex("Sweep ") :].partition("Over seeds")[0].splitlines()
    return [re.sub(r"│[^│]*│$", "", row.rstrip()) for row in rows if row.startswith("│")]


def test_closing_table_reads_rows(tmp_path):
    (tmp_path / "a.txt").write_text("Sweep a\n┏━┓\n│ 0 │ seed=1 │ 0.5 s │\n└─┘\nOver seeds\n│ 1 │ 2 │ 3 │\n")
    assert closing_table(tmp_path / "a") == ["│ 0 │ seed=1 "]


@pytest.mark.long
def test_killed_ten_times(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    disturbed, whole = tmp_path / "disturbed", tmp_path / "whole"
    launchers = ([], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"])  # jobs in one process, and in workers
    chance = random.Random(0)
    done: dict[str, int] = {}
    kills = 0
    while kills < KILLS:
        with sweeping(disturbed, *launchers[kills in (3, 7)]) as process:
            # Jobs run from the first sign of one, after the imports; some kills fall before it.
            limit, before = time.monotonic() + 60, len(list(disturbed.glob("*/.started")))
            imports = chance.random() < 0.8
            while imports and time.monotonic() < limit and process.poll() is None:
                if len(list(disturbed.glob("*/checkpoints"))) > before:
                    break
                time.sleep(0.05)
            time.sleep(chance.uniform(0.0, 1.5))
            assert process.poll() is None, "the sweep ended before it was killed ten times"
            if chance.random() < 0.3:
                process.kill()  # the jobs of its workers go on for a while
                process.wait()
                time.sleep(chance.uniform(0.0, 0.5))
        kills += 1
        now = finished(disturbed)
        assert now | done == now, "a finished job was touched"
        done = now
    assert 0 < len(done) < JOBS, "kills must fall among jobs"
    with sweeping(disturbed) as process:
        assert process.wait(240) == 0
    now = finished(disturbed)
    assert now | done == now, "a finished job was run again"
    with sweeping(whole) as process:
        assert process.wait(240) == 0
    for folder in (disturbed, whole):
        found = list(runs.find(folder))
        assert sorted(path.name for path in found) == sorted(str(job) for job in range(JOBS))
        for path in found:
            assert (path / "train.log").read_text().count("Test: the weights of epoch") <= 1, "told of one result"
    assert closing_table(disturbed) == closing_table(whole)
    assert len(closing_table(whole)) == JOBS
    for job in range(JOBS):
        one, other = (runs.read_summary(folder / str(job)) for folder in (disturbed, whole))
        weights = [(folder / str(job) / "model" / "model.safetensors").read_bytes() for folder in (disturbed, whole)]
        assert weights[0] == weights[1], job
        for key in ("status", "overrides", "epochs", "steps", "train/acc", "val/acc", "test/acc", "test/loss", "gap"):
            assert one.get(key) == other.get(key), (job, key)
