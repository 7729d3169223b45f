"""What W&B is told of the jobs of a sweep, with a network and without."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
from running import TINY, TRAIN, Process

pytestmark = pytest.mark.slow  # trains


def offline_runs(folder: Path) -> list[Path]:
    return sorted(folder.rglob("offline-run-*"))


def test_wandb_offline_gives_each_job_its_own_run(train):
    ran = train("-m", *TINY, "trainer.max_epochs=1", "logger=wandb", "seed=1,2")
    assert ran.code == 0, ran.err
    found = offline_runs(ran.folder)
    assert len(found) == 2
    assert len({path.name.split("-")[-1] for path in found}) == 2, "an id each"


def test_wandb_tells_what_people_typed(train, monkeypatch):
    import wandb

    calls, summaries, codes = [], [], []
    real = wandb.init

    def watching(*args, **kwargs):
        run = real(*args, **kwargs)
        calls.append(kwargs)
        finish = run.finish
        monkeypatch.setattr(run, "finish", lambda exit_code=None: (codes.append(exit_code), finish(exit_code=exit_code)))
        update = type(run.summary).update
        monkeypatch.setattr(type(run.summary), "update", lambda self, values: (summaries.append(values), update(self, values))[1])
        calls[-1] = {**kwargs, "run": run}
        return run

    monkeypatch.setattr(wandb, "init", watching)
    ran = train("-m", *TINY, "trainer.max_epochs=1", "logger=wandb", "seed=1", "logger.wandb.tags=[tried]")
    assert ran.code == 0, ran.err
    [call] = calls
    assert call["project"] == "cifar_lit"
    assert call["group"] == "run", "the sweep"
    assert call["name"].startswith("data=synthetic ")
    assert call["name"].endswith(" seed=1")
    assert "logger" not in call["name"]
    assert call["tags"] == ["tried"]
    config = dict(call["run"].config)
    assert config["choices"]["model"] == "resnet8"
    assert config["optimizer"]["lr"] == 0.1
    assert "git" in config
    assert codes == [0]
    assert summaries[0]["status"] == "finished"
    assert "test/acc" in summaries[0]


def test_wandb_closes_a_failed_run_as_failed(train, monkeypatch):
    import wandb

    from cifar_lit.task import Task

    codes = []
    finish = wandb.sdk.wandb_run.Run.finish
    monkeypatch.setattr(
        wandb.sdk.wandb_run.Run, "finish", lambda self, exit_code=None, **_: (codes.append(exit_code), finish(self, exit_code))[1]
    )
    monkeypatch.setattr(Task, "on_train_epoch_start", lambda self: (_ for _ in ()).throw(RuntimeError("no luck")))
    assert train(*TINY, "logger=wandb").code == 1
    assert codes[0] == 1
    assert wandb.run is None


def test_wandb_out_of_reach_neither_hangs_nor_loses_the_run(tmp_path):
    """A key, but a server that refuses, or one that takes connections and never answers: the run is kept offline."""
    command = [TRAIN, *TINY, "logger=wandb", "logger.wandb.timeout_seconds=1"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "_WANDB"))}
    # Without what W&B does beside, which only takes longer: it asks whose key it is, and reports on itself at the exit.
    inherited |= {"WANDB_X_DISABLE_VIEWER": "true", "WANDB_ERROR_REPORTING": "false"}
    environment = {**inherited, "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        servers = {"refusing": "http://127.0.0.1:9", "silent": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        processes = {
            name: Process(
                [*command, f"hydra.run.dir={name}"],
                cwd=tmp_path,
                env=environment | {"WANDB_BASE_URL": address},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for name, address in servers.items()
        }
        try:
            said = {name: process.communicate(timeout=80) for name, process in processes.items()}
        finally:
            for process in processes.values():
                process.kill()
    for name, (out, err) in said.items():
        assert processes[name].returncode == 0, err
        assert json.loads((tmp_path / name / "summary.json").read_text())["status"] == "finished"
        assert len(offline_runs(tmp_path / name)) == 1
        assert "kept offline" in out


def test_wandb_without_a_key_is_kept_offline(train, monkeypatch):
    import wandb

    wandb.teardown()  # what it read of the environment before
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", "/nowhere")
    ran = train(*TINY, "logger=wandb")
    assert ran.code == 0, ran.err
    assert "no API key" in ran.out
    assert len(offline_runs(ran.folder)) == 1


def test_wandb_resumes_the_same_run(train):
    first = train(*TINY, "logger=wandb")
    (first.folder / "summary.json").unlink()
    run_id = (first.folder / "wandb" / "id.txt").read_text()
    assert train(f"resume={first.folder}", folder="").code == 0
    # offline-run-<time>-<id>, and a number behind it where both began within one second.
    assert {path.name.split("-")[3] for path in offline_runs(first.folder)} == {run_id}
