import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from cifar_lit import runs

TYPED = ["model=resnet8", "seed=3"]


def new_run(folder, overrides=TYPED, status=None, checkpoints=False):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {item}\n" for item in overrides) or "[]\n")
    if status:
        runs.write_summary(folder, {"status": status})
    if checkpoints:
        (folder / "checkpoints").mkdir()
    return folder


def test_summary_round_trip(tmp_path):
    summary = {"status": "finished", "test/acc": 0.7514, "overrides": TYPED, "git": None}
    runs.write_summary(tmp_path, summary)
    assert runs.read_summary(tmp_path) == {"schema": runs.SCHEMA, **summary}
    assert os.listdir(tmp_path) == ["summary.json"]
    runs.write_summary(tmp_path, summary | {"status": "failed"})
    assert runs.read_summary(tmp_path)["status"] == "failed"


def test_summary_that_cannot_be_written_leaves_the_old_one(tmp_path):
    runs.write_summary(tmp_path, {"status": "finished"})
    with pytest.raises(TypeError):
        runs.write_summary(tmp_path, {"status": "finished", "params": {1, 2}})
    with pytest.raises(ValueError, match="status 'done': allowed is finished, failed, interrupted"):
        runs.write_summary(tmp_path, {"status": "done"})
    assert runs.read_summary(tmp_path) == {"schema": runs.SCHEMA, "status": "finished"}
    assert os.listdir(tmp_path) == ["summary.json"]


@pytest.mark.parametrize("content", [None, b"", b'{"status": "fini', b"[1, 2]", b"null", b"\xff\xfe\x00"])
def test_broken_summaries_are_none(tmp_path, content):
    if content is not None:
        (tmp_path / "summary.json").write_bytes(content)
    assert runs.read_summary(tmp_path) is None


def test_metrics_are_numbers_and_what_was_not_measured_is_left_out(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,val/acc,lr\n0,10,0.25,0.1\n1,20,,5e-05\n")
    assert runs.read_metrics(tmp_path) == [
        {"epoch": 0, "step": 10, "val/acc": 0.25, "lr": 0.1},
        {"epoch": 1, "step": 20, "lr": 5e-5},
    ]


@pytest.mark.parametrize(
    "torn", [b"1,20,-", b"1,20,0.0", b"1,2,3e\n", b"\0\0\0\0\0", b"1,20,\xff\xfe", b"epoch,step,lr\n2,3,0.1\n"], ids=range(6)
)
def test_metrics_end_at_a_torn_row(tmp_path, torn):
    (tmp_path / "metrics.csv").write_bytes(b"epoch,step,lr\n0,10,0.1\n" + torn)
    rows = runs.read_metrics(tmp_path)
    assert rows in ([{"epoch": 0, "step": 10, "lr": 0.1}], [])  # a block that cannot be decoded takes the file with it


def test_no_metrics(tmp_path):
    assert runs.read_metrics(tmp_path) == []
    (tmp_path / "metrics.csv").write_text("")
    assert runs.read_metrics(tmp_path) == []


@pytest.mark.parametrize("overrides", [[], TYPED, ["a='x, y'", "b={c: 1}", "+d=[1,2]"]])
def test_overrides_round_trip(tmp_path, overrides):
    from omegaconf import OmegaConf

    (tmp_path / ".hydra").mkdir()
    OmegaConf.save(OmegaConf.create(overrides), tmp_path / runs.OVERRIDES)
    assert runs.read_overrides(tmp_path) == overrides


@pytest.mark.parametrize("content", [None, "", '- "a', "a: b\n", "5\n", "\0\0\0", "- [\n\tx"])
def test_broken_overrides_are_none(tmp_path, content):
    if content is not None:
        (tmp_path / ".hydra").mkdir()
        (tmp_path / runs.OVERRIDES).write_text(content)
    assert runs.read_overrides(tmp_path) is None


def test_identity_is_what_a_run_is_and_not_how_it_is_carried_out():
    assert runs.identity(["seed=3", "resume=auto", "hydra.run.dir=x", "hydra/launcher=joblib", "model=a"]) == [
        "model=a",
        "seed=3",
    ]
    assert runs.fingerprint(["a=1", "b=2"]) == runs.fingerprint(["b=2", "resume=auto", "a=1"])
    assert runs.fingerprint(["a=1", "b=2"]) != runs.fingerprint(["a=1", "b=3"])


def test_config_with_its_choices(tmp_path):
    (tmp_path / ".hydra").mkdir()
    assert runs.read_config(tmp_path) == {}
    (tmp_path / ".hydra" / "config.yaml").write_text("seed: 3\nmodel: {depth: 8, twice: '${seed}'}\n")
    choices = "hydra: {runtime: {choices: {model: resnet8, hydra/launcher: basic}}}\n"
    (tmp_path / ".hydra" / "hydra.yaml").write_text(choices)
    assert runs.read_config(tmp_path) == {"choices": {"model": "resnet8"}, "seed": 3, "model": {"depth": 8, "twice": 3}}


def test_find_searches_nested_folders_but_not_runs(tmp_path):
    paths = ["b/2026-01-02", "b/2026-01-01", "a/2026-01-01", "sweep/study/0", "sweep/study/1"]
    made = [new_run(tmp_path / path) for path in paths]
    new_run(tmp_path / "a/2026-01-01/model/inner")  # inside a run
    new_run(tmp_path / ".trash/old")
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    only_summary = tmp_path / "copied"
    only_summary.mkdir()
    runs.write_summary(only_summary, {"status": "finished"})
    assert list(runs.find(tmp_path)) == sorted([*made, only_summary])
    assert list(runs.find(made[0])) == [made[0]]
    assert list(runs.find(tmp_path / "nowhere")) == []


def test_find_follows_links_once_and_in_no_circle(tmp_path):
    tree, disk = tmp_path / "runs", tmp_path / "disk"
    own = new_run(tree / "b" / "1")
    new_run(disk / "a" / "2")
    links = {"0": disk, "also": tree / "b", "b/round": tree, "b/same": own, "lost": tmp_path / "no"}
    for name, target in links.items():
        (tree / name).symlink_to(target)
    (disk / "back").symlink_to(tree)
    assert list(runs.find(tree)) == [own, tree / "0" / "a" / "2"]
    assert list(runs.find(tree / "b" / "same")) == [tree / "b" / "same"]
    assert [run.path for run in runs.collect([tree, disk])[0]] == [own, tree / "0" / "a" / "2"]


def test_unfinished_is_the_latest_with_the_same_overrides(tmp_path):
    assert runs.unfinished(tmp_path / "nowhere", TYPED) is None
    assert runs.unfinished(tmp_path, TYPED) is None
    first = new_run(tmp_path / "2026-01-01_00-00-00")
    assert runs.unfinished(tmp_path, TYPED) == first
    second = new_run(tmp_path / "2026-01-02_00-00-00", ["seed=3", "resume=auto", "model=resnet8", "hydra.verbose=true"])
    assert runs.unfinished(tmp_path, [*TYPED, "resume=auto", "hydra/launcher=joblib"]) == second
    new_run(tmp_path / "2026-01-03_00-00-00", [*TYPED, "trainer.max_epochs=3"])
    new_run(tmp_path / "2026-01-04_00-00-00", ["model=resnet8"])
    assert runs.unfinished(tmp_path, TYPED) == second
    (tmp_path / "2026-01-05_00-00-00" / ".hydra").mkdir(parents=True)
    (tmp_path / "2026-01-05_00-00-00" / ".hydra" / "overrides.yaml").write_text('- "torn')
    assert runs.unfinished(tmp_path, TYPED) == second


@pytest.mark.parametrize("status", ["interrupted", "failed", None])
def test_interrupted_failed_and_killed_runs_are_unfinished(tmp_path, status):
    run = new_run(tmp_path / "2026-01-01", status=status, checkpoints=True)
    assert runs.unfinished(tmp_path, TYPED) == run


def test_a_run_that_failed_at_once_is_passed_over(tmp_path):
    older = new_run(tmp_path / "2026-01-01", status="interrupted", checkpoints=True)
    new_run(tmp_path / "2026-01-02", status="failed")
    assert runs.unfinished(tmp_path, TYPED) == older


def test_nothing_is_unfinished_once_the_latest_finished(tmp_path):
    new_run(tmp_path / "2026-01-01", status="interrupted", checkpoints=True)
    finished = new_run(tmp_path / "2026-01-02", status="finished", checkpoints=True)
    assert runs.unfinished(tmp_path, TYPED) is None
    (finished / "summary.json").write_text(json.dumps({"status": "interrupted"}))
    assert runs.unfinished(tmp_path, TYPED) == finished


def test_a_running_run_is_passed_over(tmp_path):
    older, newer = new_run(tmp_path / "2026-01-01"), new_run(tmp_path / "2026-01-02")
    assert not runs.is_running(newer)
    with FileLock(newer / ".lock"):
        held = "import sys, pathlib; from cifar_lit import runs; sys.exit(runs.is_running(pathlib.Path(sys.argv[1])))"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        assert subprocess.run([sys.executable, "-c", held, str(newer)], env=environment).returncode == 1
        assert runs.is_running(newer)
        assert runs.unfinished(tmp_path, TYPED) == older
    assert not runs.is_running(newer)
    assert runs.unfinished(tmp_path, TYPED) == newer


def test_another_users_tree_is_read(tmp_path, monkeypatch):
    run = new_run(tmp_path / "a")
    (run / ".lock").touch()
    real = os.open

    def guarded(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", guarded)
    assert not runs.is_running(run)
    with open(run / ".lock") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert runs.is_running(run) and runs.collect([tmp_path])[0][0].status == "running"
    assert runs.collect([tmp_path])[0][0].status == "killed"


def test_what_may_not_be_looked_at_is_not_running_and_no_end_of_the_report(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (new_run(tmp_path / name) / ".lock").touch()
    real = os.open
    denied = PermissionError(13, "Permission denied")
    monkeypatch.setattr(
        os, "open", lambda path, *a, **k: (_ for _ in ()).throw(denied) if ".lock" in str(path) else real(path, *a, **k)
    )
    assert [row.status for row in runs.collect([tmp_path])[0]] == ["killed", "killed"]
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **k: (_ for _ in ()).throw(denied) if "b" in self.parts else stat(self, **k))
    assert [row.path.name for row in runs.collect([tmp_path])[0]] == ["a"]


def test_two_who_look_do_not_see_each_other(tmp_path):
    run = new_run(tmp_path / "a")
    with open(run / ".lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not runs.is_running(run)
