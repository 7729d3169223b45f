"""`make <target> ARGS="..."`: what is typed comes to the command of the target, whole, and nothing is made anew for it."""

import os
import shutil
import subprocess

import pytest
from running import REPOSITORY

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make")

# In the place of Python: writes down ARGS, and what it was given, a line each.
SCRIPT = """#!/bin/sh
printf '%s\\n' "ARGS=$ARGS" "$@" >> "$0.log"
"""
READY = ".venv/.ready"
OF_MAKE = ("ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # of the make that may have started the tests
SPACE = "optimizer.lr=tag(log,interval(1e-4,1e-1)) model=resnet8,resnet20"


@pytest.fixture
def made(tmp_path):
    python = tmp_path / "python"
    python.write_text(SCRIPT)
    python.chmod(0o755)

    def run(target: str, *arguments: str, **environment: str) -> list[str]:
        """The one command of a target. -o: the environment counts as ready, whether it is there or not."""
        inherited = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
        command = ["make", "-s", "-o", READY, f"PY={python}", target, *arguments]
        done = subprocess.run(command, cwd=REPOSITORY, env=inherited | environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return (tmp_path / "python.log").read_text().splitlines()

    return run


@pytest.mark.parametrize(
    ("target", "command"),
    [("train", ["train.py"]), ("sweep", ["train.py", "-m"]), ("study", ["train.py", "-m"]),
     ("report", ["-m", "cifar_lit.report"]), ("dashboard", ["-m", "cifar_lit.dashboard"]), ("app", ["-m", "cifar_lit.app"])],
)  # fmt: skip
def test_arguments_come_to_the_command(made, target, command):
    _, *given = made(target, "ARGS=runs/a -o 'my folder' model=resnet8,resnet20")
    assert given == [*command, "runs/a", "-o", "my folder", "model=resnet8,resnet20"]


@pytest.mark.parametrize("by", ["command line", "environment"])
def test_a_search_space_is_left_to_the_environment(made, by):
    """Its parentheses are the shell's own, and nobody types quotes within quotes."""
    told = made("sweep-wandb", f"ARGS={SPACE}") if by == "command line" else made("sweep-wandb", ARGS=SPACE)
    assert told == [f"ARGS={SPACE}", "-m", "cifar_lit.cli.wandb_sweep"]


@pytest.mark.parametrize(
    ("target", "command"),
    [("train", ["train.py", "experiment=quickstart"]), ("report", ["-m", "cifar_lit.report"]),
     ("dashboard", ["-m", "cifar_lit.dashboard"]), ("app", ["-m", "cifar_lit.app"])],
)  # fmt: skip
def test_without_arguments(made, target, command):
    """The default of ARGS is for training alone."""
    assert made(target) == ["ARGS=", *command]


def test_without_a_search_space_the_default_is_told(made):
    """So that the command can say what it lacks."""
    assert made("sweep-wandb")[0] == "ARGS=experiment=quickstart"


def test_arguments_of_a_report_may_come_from_the_environment(made):
    assert made("report", ARGS="runs/a")[1:] == ["-m", "cifar_lit.report", "runs/a"]
