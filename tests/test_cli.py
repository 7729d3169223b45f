"""The command line itself: quick answers, exit statuses, one line for each error."""

import os
import shlex
import statistics
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from running import REPOSITORY, TINY, TRAIN, completed

from cifar_lit import cli, runs
from cifar_lit.cli import errors, help_page, places, quoting

COLD = [sys.executable, TRAIN]  # as people start it, with all the imports


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["--cfg", "job", "experiment=ft3", "seed=3"]], ids=" ".join)
def test_answers_at_once(arguments, tmp_path):
    """Under 0.7 s on an idle machine; here the processor time, which other processes change less."""
    seconds = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run([*COLD, *arguments], capture_output=True, text=True, cwd=tmp_path, check=True)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert done.stdout
    assert statistics.median(seconds) < 0.7
    assert not list(tmp_path.iterdir()), "nothing is written"


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"]], ids=" ".join)
def test_answers_without_importing_torch(arguments):
    done = subprocess.run([sys.executable, "-X", "importtime", TRAIN, *arguments], capture_output=True, text=True, check=True)
    imported = {line.rsplit("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "cifar_lit.cli" in imported
    assert not imported & {"torch", "lightning", "numpy", "albumentations", "wandb"}


def test_help_lists_every_option_with_a_line():
    page = help_page.text(REPOSITORY / "conf")
    for path in (REPOSITORY / "conf").rglob("*.yaml"):
        if path.parent.name in ("conf", "hydra", "job_logging") or (path.parent.name, path.stem) == ("callbacks", "standard"):
            continue
        if path.parent.name == "optim":
            continue  # most of them in two lines: the test below
        above = [path.parent.name] if path.parent.parent.name != "conf" and "hydra" not in path.parts else []
        above = [*above] if path.parent.parent.name != "budget" else ["budget", path.parent.name]
        assert f"  {'/'.join([*above, path.stem])} " in page, path
    assert all(len(line) < 130 for line in page.splitlines())


def test_help_names_every_pair_and_no_other():
    """Each optimizer of a line with each schedule of the next, and the others one by one."""
    page = help_page.text(REPOSITORY / "conf")
    first, second, *others = page.partition("\noptim\n")[2].partition("\n\n")[0].splitlines()
    optimizers, schedules = (line.partition("any of ")[2].split(", ") for line in (first, second))
    assert len(optimizers) == 7 and len(schedules) == 6
    said = [f"{o}_{s}" for o in optimizers for s in schedules] + [line.split()[0] for line in others]
    assert sorted(said) == sorted(path.stem for path in (REPOSITORY / "conf" / "optim").glob("*.yaml"))


def test_who_looks_at_the_lock_for_a_moment_stops_no_job(train, tmp_path):
    (tmp_path / "run").mkdir()
    lock = FileLock(tmp_path / "run" / ".lock", thread_local=False)
    lock.acquire()
    threading.Timer(0.4, lock.release).start()
    assert "optimizer.lr=-1" in train(*TINY, "optimizer.lr=-1").err  # and not "is being run by another process"


def test_a_directory_is_a_runs_own_from_the_moment_it_is_chosen(tmp_path, monkeypatch):
    """Another process may ask in the same second, before this one has written anything; Hydra asks several times."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "_chosen", {})
    monkeypatch.setattr(places, "datetime", SimpleNamespace(now=lambda: datetime(2026, 1, 2)))
    now = datetime(2026, 1, 2).strftime("%Y-%m-%d_%H-%M-%S")
    asked = [places.run_dir("a", None, [], "RUN") for _ in range(2)]
    places.forget()  # as another process
    asked.append(places.run_dir("a", None, [], "RUN"))
    assert asked == [f"runs/a/{now}", f"runs/a/{now}", f"runs/a/{now}_2"]
    (tmp_path / "file").touch()
    assert places.made(Path("file/a/now")) == Path("file/a/now"), "Hydra says what is wrong"
    places.run_dir("b", None, [], None)
    assert not Path("runs/b").exists(), "nothing is run"


def test_what_is_refused_leaves_no_record_and_takes_none_from_a_run_to_go_on_with(train):
    folder = train(*TINY, "optimizer.lr=-1").folder
    assert {path.name for path in folder.iterdir()} == {"train.log", ".lock"}
    assert "Typed: data=synthetic" in (folder / "train.log").read_text() and "lr=-1" in (folder / "train.log").read_text()
    record = folder / runs.OVERRIDES
    record.parent.mkdir()
    record.write_text("- optimizer.lr=0.2\n")
    (folder / "checkpoints").mkdir()
    train(*TINY, "optimizer.lr=-3")
    assert runs.read_overrides(folder) == ["optimizer.lr=0.2"]


@pytest.mark.slow
def test_a_full_traceback_on_request(tmp_path):
    inherited = {name: value for name, value in os.environ.items() if name != "CIFAR_LIT_TRACEBACK"}
    environment = {**inherited, "HYDRA_FULL_ERROR": "1"}
    done = completed([TRAIN, *TINY, "optimizer.lr=-1"], cwd=tmp_path, env=environment)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_refusal_comes_soon_and_its_traceback_is_in_the_log(train):
    start = time.monotonic()
    ran = train(*TINY, "optimizer.lr=-1")
    assert time.monotonic() - start < 15
    assert ran.code == 1
    assert "Traceback" not in ran.err + ran.out
    assert "Traceback" in (ran.folder / "train.log").read_text()


def test_a_value_of_another_type_is_wrong_usage(train):
    ran = train(*TINY, "optimizer.nesterov=no")  # a word in YAML 1.2, and every word is true
    assert (ran.code, ran.err) == (2, "train.py: optimizer.nesterov=no: allowed is true or false\n")


def test_nested_exceptions_become_one_line():
    cause = ValueError("data.x=1: allowed is 2\nand more")
    error = RuntimeError("Error in call to target\nfull_key: data")
    error.__cause__ = cause
    assert "\n" not in errors.one_line(error)


def test_a_bug_is_named_by_its_type(train, monkeypatch):
    from cifar_lit.task import Task

    def broken(self):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(Task, "on_train_epoch_start", broken)
    ran = train(*TINY)
    assert ran.code == 1
    assert ran.err.strip() == "train.py: ZeroDivisionError: by zero"


def test_recorded_overrides_are_typed_again(tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text("- model=resnet8\n- seed=3\n")
    assert cli._with_recorded([f"resume={tmp_path}", "seed=4"]) == ["model=resnet8", "seed=4", f'resume="{tmp_path}"']
    assert cli._with_recorded(["resume=auto", "seed=4"]) == ["resume=auto", "seed=4"]


NAMES = ["plain", "it's", '"so"', "a, b", "[u]=w", "back\\", "\\'", "7", "1e3", "true", "ö", "${x}", "~", "#", "2026-01-02"]


@pytest.mark.parametrize("name", NAMES)
def test_any_path_can_be_typed_and_pasted(tmp_path, monkeypatch, name):
    """Typed as it is, in the shell's quotes; or as the program says it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name / ".hydra").mkdir(parents=True)
    (tmp_path / name / ".hydra" / "overrides.yaml").write_text("- seed=3\n")

    def understood(argument):
        return OmegaConf.create({"it": OverridesParser.create().parse_override(argument).value()}).it

    for path in (tmp_path / name, Path(name)):
        [pasted] = shlex.split(quoting.argument("resume", path))
        assert understood(pasted) == str(path)
        for typed in (pasted, f"resume={path}"):
            assert [understood(item) for item in cli._with_recorded([typed])] == [3, str(path)]


def test_a_single_run_that_is_interrupted_exits_with_130_whatever_the_launcher(train, monkeypatch):
    from cifar_lit.experiment import Experiment, Interrupted

    def interrupted(self):
        raise Interrupted(self.folder)

    monkeypatch.setattr(Experiment, "run", interrupted)
    assert train(*TINY, "hydra.launcher._target_=JoblibLauncher.JoblibLauncher").code == 130
