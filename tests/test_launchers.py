"""hydra/launcher=...: composed, refused in one line where the plugin is missing, and run where it is there."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import nullcontext

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from running import REPOSITORY, TINY, TRAIN, Process

from cifar_lit import runs
from cifar_lit.cli import help_page, launchers, sweepers
from cifar_lit.cli.errors import UsageError

CONF = REPOSITORY / "conf"
PLUGINS = {
    "joblib": "hydra_joblib_launcher", "submitit_local": "hydra_submitit_launcher", "slurm": "hydra_submitit_launcher",
    "ray": "hydra_ray_launcher",
}  # fmt: skip
# What a launcher needs for jobs as small as these: a cluster that is asked for no GPU.
SMALL = {
    "slurm": ["hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2"],
}  # fmt: skip


def missing(name):
    """Why a launcher cannot be tried here; empty where it can."""
    if not importlib.util.find_spec(f"hydra_plugins.{PLUGINS[name]}"):
        return f"no {PLUGINS[name]}"
    if name == "slurm" and not (shutil.which("sinfo") and subprocess.run(["sinfo"], capture_output=True).returncode == 0):
        return "no Slurm cluster answers"
    return ""


USABLE = [pytest.param(name, marks=pytest.mark.skipif(bool(missing(name)), reason=missing(name))) for name in PLUGINS]


def test_every_launcher_has_its_file():
    assert {path.stem for path in (CONF / "hydra" / "launcher").glob("*.yaml")} == set(PLUGINS)


@pytest.mark.parametrize("path", sorted((CONF / "hydra").glob("*er/*.yaml")), ids=lambda path: path.stem)
def test_every_option_composes_and_says_what_it_is(path):
    sweepers.register(CONF)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"hydra/{path.parent.name}={path.stem}"], return_hydra_config=True)
    assert cfg.hydra[path.parent.name]._target_.startswith("hydra_plugins.")
    assert help_page.describe(path)


@pytest.mark.parametrize("name", ["submitit_local", "slurm", "ray"])
def test_a_missing_plugin_is_one_line(train, name, monkeypatch):
    monkeypatch.setattr(launchers, "find_spec", lambda _: None)
    ran = train("-m", f"hydra/launcher={name}", "seed=1,2")
    assert ran.code == 2
    assert ran.err == f"train.py: hydra/launcher={name}: pip install {PLUGINS[name].replace('_', '-')}\n"


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ({}, "there is no sbatch here"),
        ({"sbatch": ""}, "there is no sacct here"),
        ({"sbatch": "", "sacct": "echo 'Slurm accounting storage is disabled' >&2; exit 1"}, "accounting storage is disabled"),
        ({"sbatch": "", "sacct": "exit 0"}, None),
    ],
)
def test_slurm_must_tell_how_jobs_end(tmp_path, monkeypatch, commands, words):
    """Without accounting a sweep would wait for a job that died, for ever."""
    monkeypatch.setattr(launchers, "find_spec", lambda _: True)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, script in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(UsageError, match=words) if words else nullcontext():
        launchers.check("hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher", "slurm")


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    with launchers._environment(3):
        assert os.environ["OMP_NUM_THREADS"] == "2"
        assert os.environ["PYTHONPATH"].split(os.pathsep)[0] == str(REPOSITORY)
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with launchers._environment(3):
        assert os.environ["OMP_NUM_THREADS"] == "5"


def sweep(folder, launcher, *options, **process):
    command = [TRAIN, "-m", *TINY, "trainer.max_epochs=1", "seed=1,2,3"]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command += [f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep", *SMALL.get(launcher, []), *options]
    return Process(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **process)


def cores_of(n_jobs):
    return max(1, (os.cpu_count() or 1) // n_jobs)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", USABLE)
def test_it_runs_jobs_in_processes_and_only_once(tmp_path, launcher):
    out, _ = (first := sweep(tmp_path, launcher, forked_workers=False)).communicate(timeout=300)
    assert first.returncode == 0, out
    found = [runs.read_summary(tmp_path / "sweep" / str(job)) for job in range(3)]
    assert [(summary["status"], summary["seed"]) for summary in found] == [("finished", seed) for seed in (1, 2, 3)]
    threads = 1 if launcher in ("ray", "slurm") else cores_of(2)
    assert {summary["device"] for summary in found} == {"cpu, 1 thread" if threads == 1 else f"cpu, {threads} threads"}
    out, _ = (second := sweep(tmp_path, launcher)).communicate(timeout=300)
    assert second.returncode == 0, out
    assert out.count("Finished before, not run again") == 3
    assert [runs.read_summary(tmp_path / "sweep" / str(job)) for job in range(3)] == found


@pytest.mark.slow
@pytest.mark.parametrize("launcher", USABLE)
def test_a_process_that_dies_costs_one_try(tmp_path, launcher):
    process = sweep(tmp_path, launcher)
    killed = None
    while process.poll() is None and killed is None:
        try:
            killed = json.loads((tmp_path / "sweep" / "1" / ".started").read_text())["pid"]
            os.kill(killed, signal.SIGKILL)
        except (OSError, ValueError):
            time.sleep(0.02)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert "finished in try 2" in " ".join(out[out.rindex("Sweep sweep") :].split())
    assert "its process died" in (tmp_path / "sweep" / "1" / ".failures").read_text()
    assert [runs.read_summary(tmp_path / "sweep" / str(job))["status"] for job in range(3)] == ["finished"] * 3


@pytest.mark.skipif(not importlib.util.find_spec("submitit"), reason="no submitit")
def test_the_script_that_slurm_gets(tmp_path, monkeypatch):
    """By a stand-in for sbatch, which keeps the script."""
    from submitit.slurm.slurm import SlurmExecutor

    said = []
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    sweepers.register(CONF)
    GlobalHydra.instance().clear()
    typed = ["hydra/launcher=slurm", "hydra.launcher.partition=gpu", "hydra.sweep.dir=s"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        launcher = compose("train", typed, return_hydra_config=True).hydra.launcher
    options = {key: value for key, value in launcher.items() if key in ("partition", "setup", "timeout_min")}
    assert options["setup"] == ["export OMP_NUM_THREADS=4"]
    executor = SlurmExecutor(folder=tmp_path, max_num_timeout=launcher.max_num_timeout)
    executor.update_parameters(partition=launcher.partition, setup=list(launcher.setup), time=launcher.timeout_min)
    said = executor._make_submission_file_text("python -m job", "1")
    assert "#SBATCH --partition=gpu" in said and "#SBATCH --time=240" in said and "export OMP_NUM_THREADS=4" in said
