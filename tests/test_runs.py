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
    "torn", [b"1,20,-", b"1,2,3e\n", b"\0\0\0\0\0", b"1,20,\xff\xfe", b"epoch,step,lr\n2,3,0.1\n"], ids=range(5)
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


def finished(folder, seed=0, config=None, **more):
    folder.mkdir(parents=True)
    summary = {
        "status": "finished",
        "seed": seed,
        "experiment": "e",
        "validation": "holdout",
        "test/acc": 0.5,
        "config": config or {},
    }
    runs.write_summary(folder, summary | more)
    return folder


def test_settings_are_what_a_recipe_is():
    config = {
        "choices": {"model": "resnet8", "mix": "none", "logger": "csv", "callbacks": "ema", "callbacks/standard": "standard"},
        "seed": 3, "name": "e", "run_dir": "/somewhere", "overrides": ["seed=3"], "resume": None, "params": 5, "git": "abc",
        "logger": {"csv": None}, "mix": None, "evaluate": "auto",
        "data": {"_target_": "a.B", "root": "/mine", "batch_size": 50, "batch_sizes": {0.0: 128}},
        "optimizer": {"_partial_": True, "lr": 0.1, "betas": [0.9, 0.99]},
    }  # fmt: skip
    assert runs.settings(config) == {
        "model": "resnet8", "mix": "none", "callbacks": "ema", "evaluate": "auto", "data.batch_size": 50,
        "data.batch_sizes.0.0": 128, "optimizer.lr": 0.1, "optimizer.betas": [0.9, 0.99],
    }  # fmt: skip


def test_every_run_becomes_a_row_and_nothing_is_fatal(tmp_path):
    finished(tmp_path / "a" / "0", seed=4, validation="test", **{"test/acc": 0.25, "train/acc": None, "stopped": True})
    new_run(tmp_path / "a" / "1")
    new_run(tmp_path / "b" / "2", status="failed")
    known = {"schema": 1, "status": "finished"}
    absurd = [
        json.dumps(known | {"test/images": 10**400}).encode(),
        json.dumps(known | {"config": {"optimizer.lr": -(10**400)}}).encode(),
        json.dumps(known).replace("1", "1" * 5000).encode(),
    ]
    for number, content in enumerate(
        [b"", b"[1]", b'{"schema": 1}', b'{"schema": 2, "status": "finished"}', b"[" * 100_000, *absurd]
    ):
        (tmp_path / "c" / str(number)).mkdir(parents=True)
        (tmp_path / "c" / str(number) / "summary.json").write_bytes(content)
    rows, broken = runs.collect([tmp_path, tmp_path / "a", tmp_path / "none"])
    assert [(row.path.name, row.status) for row in rows] == [("0", "finished"), ("1", "killed"), ("2", "failed")]
    assert [item.path.name for item in broken] == ["0", "1", "2", "3", "4", "5", "6", "7"]
    assert "test/images is a number too large" in broken[5].reason and "optimizer.lr is" in broken[6].reason
    assert all(item.reason.startswith("summary.json: ") and "\n" not in item.reason for item in broken)
    assert rows[0].values["test/acc"] == 0.25 and "train/acc" not in rows[0].values and "stopped" not in rows[0].values
    assert rows[0].watched and not rows[1].watched and rows[0].seed == 4
    assert rows[0].facts["experiment"] == "e" and rows[0].curves() == []


def test_a_running_run_is_told_from_a_killed_one(tmp_path):
    run = new_run(tmp_path / "a")
    with FileLock(run / ".lock"):
        code = "import sys, pathlib; from cifar_lit import runs; print(runs.collect([pathlib.Path(sys.argv[1])])[0][0].status)"
        done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True, cwd=os.getcwd())
    assert done.stdout == "running\n" and runs.collect([run])[0][0].status == "killed"


def test_runs_of_one_recipe_differ_in_their_seeds(tmp_path):
    for number, (lr, seed) in enumerate([(0.1, 0), (0.1, 1), (0.01, 0), (0.1, 2)]):
        finished(tmp_path / str(number), seed=seed, config={"model": "resnet8", "optimizer.lr": lr})
    found = runs.recipes(runs.collect([tmp_path])[0])
    assert [(one.label, [row.seed for row in one.runs]) for one in found] == [
        ("optimizer.lr=0.1", [0, 1, 2]),
        ("optimizer.lr=0.01", [0]),
    ]
    [alone] = runs.recipes(found[1].runs)
    assert alone.label == "e"


def test_summaries_of_before_settings_were_kept(tmp_path):
    for number, lr in enumerate((0.1, 0.01)):
        finished(
            tmp_path / str(number),
            config="none",
            overrides=["model=resnet8", f"optimizer.lr={lr}", f"seed={number}", "hydra.x=1"],
        )
    assert [one.label for one in runs.recipes(runs.collect([tmp_path])[0])] == ["optimizer.lr=0.1", "optimizer.lr=0.01"]


def test_the_fewest_settings_that_tell_recipes_apart():
    def config(optimizer, lr, width=1):
        return {
            "optim": f"{optimizer}_onecycle",
            "optimizer": optimizer,
            "optimizer.lr": lr,
            "optimizer.k": lr,
            "data": "a",
            "w.w": width,
        }

    assert runs.varied([config("sgd", 0.1), config("adam", 0.001)]) == ["optimizer"]
    assert runs.varied([config("sgd", 0.1), config("sgd", 0.2)]) in (["optimizer.lr"], ["optimizer.k"])
    assert runs.varied([config("sgd", 0.1), config("adam", 0.1), config("sgd", 0.1, 2), config("adam", 0.1, 2)]) == [
        "optimizer",
        "w.w",
    ]
    assert runs.varied([config("sgd", 0.1)]) == [] == runs.varied([])
    assert runs.varied([{"a.b": 1}, {}]) == ["a.b"]


def test_run_of(tmp_path):
    run = tmp_path / "run"
    for folder in ("model", "checkpoints", ".hydra"):
        (run / folder).mkdir(parents=True)
    (run / ".hydra" / "overrides.yaml").touch()
    (run / "checkpoints" / "best.ckpt").touch()
    assert {runs.run_of(run / name) for name in ("", "model", "checkpoints/best.ckpt")} == {run}
    assert runs.run_of(run / "nothing") is runs.run_of(tmp_path / "user" / "name") is runs.run_of(tmp_path) is None
