"""The directory of a sweep, and the table that closes it: what came of every job, whatever happens to the drawing."""

import pytest
from filelock import FileLock
from omegaconf import OmegaConf
from test_sweep_jobs import recorded, some

from cifar_lit import runs
from cifar_lit.cli import sweep, sweep_dir
from cifar_lit.cli.jobs import Job
from cifar_lit.cli.study import Concluding
from cifar_lit.cli.sweep import SweepTable
from cifar_lit.study import conclude


def sweep_of(folder, *typed, hydra=()):
    sweeper = {"storage": None}
    return OmegaConf.create(
        {"hydra": {"sweep": {"dir": str(folder)}, "sweeper": sweeper, "overrides": {"task": list(typed), "hydra": list(hydra)}}}
    )


def closed(folder, closing=SweepTable):
    """The exit status of the closing of a sweep: 0 where it does not exit."""
    try:
        closing().on_multirun_end(sweep_of(folder))
    except SystemExit as stop:
        return stop.code
    return 0


def test_sweeps_of_the_same_second_have_a_directory_each_but_where_one_was_asked_for(tmp_path):
    def pinned(folder, *hydra):
        config = sweep_of(folder, hydra=hydra)
        config.when = "now"
        sweep_dir.pin(config)
        return config.hydra.sweep.dir

    timed = str(tmp_path / "${when}")
    assert [pinned(timed), pinned(timed)] == [str(tmp_path / "now"), str(tmp_path / "now_2")]
    assert pinned(timed, f"hydra.sweep.dir={timed}") == pinned(tmp_path / "now") == str(tmp_path / "now")


def test_the_closing_table_shows_what_was_typed_whatever_it_looks_like(tmp_path, capsys):
    made = [Job(0, ("a=[/x]/y", "b=[u,v]"), tmp_path / "0"), Job(1, ("a=:x:", "b=w"), tmp_path / "1")]
    for job, status in zip(made, ("finished", "failed"), strict=True):
        recorded(job.folder, *job.overrides)
        more = {"error": "[/z] is no folder"} if status == "failed" else {}
        runs.write_summary(job.folder, {"status": status, "overrides": list(job.overrides), **more})
    assert closed(tmp_path) == 1
    said = capsys.readouterr().out
    assert all(words in said for words in ("a=[/x]/y b=[u,v]", "a=:x: b=w", "failed: [/z] is no folder"))


def test_what_another_sweep_runs_in_the_same_directory_is_not_called_killed(tmp_path, capsys):
    first, second = some(tmp_path, 2)
    runs.write_summary(first.folder, {"status": "finished", "overrides": ["seed=0"]})
    with FileLock(second.folder / ".lock"):
        assert closed(tmp_path) == 0
        assert "running elsewhere" in capsys.readouterr().out
    assert closed(tmp_path) == 1
    assert "killed" in capsys.readouterr().out


@pytest.mark.parametrize("closing", [SweepTable, Concluding])
def test_a_table_or_verdict_that_cannot_be_drawn_hides_no_failure(tmp_path, monkeypatch, closing):
    def broken(*_):
        raise ZeroDivisionError("by zero")

    runs.write_summary(some(tmp_path, 1)[0].folder, {"status": "failed", "overrides": []})
    monkeypatch.setattr(sweep, "_print", broken)
    monkeypatch.setattr(conclude, "main", broken)
    assert closed(tmp_path, closing) == 1


def test_a_sweep_says_where_it_is_and_which_one_was_left(tmp_path, caplog):
    """The latest of the same command, while it has jobs left; not one of another command, or a directory that was asked for."""
    caplog.set_level("INFO")

    def said(name, *typed, left=True, hydra=()):
        caplog.clear()
        sweep_dir.begin(sweep_of(tmp_path / name, *typed, hydra=hydra), lambda _: left)
        return [record.getMessage() for record in caplog.records]

    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "multirun.yaml").write_text("hydra: [")
    first, second = tmp_path / "1", tmp_path / "2"
    where = f"Sweep in {first}; if it is stopped, the same command with hydra.sweep.dir={first} goes on with it"
    assert said("1", "seed=1,2") == [where]
    assert (
        said("2", "seed=1,2")[0] == f"An unfinished sweep of the same command is in {first}: go on with hydra.sweep.dir={first}"
    )
    assert f"is in {second}: go on" in said("3", "seed=1,2")[0]
    assert len(said("4", "seed=1,2", left=False)) == len(said("5", "seed=1,2,3")) == 1
    assert len(said("6", "seed=1,2", hydra=[f"hydra.sweep.dir={tmp_path / '6'}"])) == 1
