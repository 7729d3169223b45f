"""The processes that tests start: in all that tests look at, what `python <arguments>` would be."""

import json
import os
import signal
import subprocess
import sys

import pytest
from running import REPOSITORY, Process, completed

pytestmark = pytest.mark.slow  # the server imports everything, once

SAYS = """
import json, os, sys, threading, torch
given = [os.environ.get(name) for name in ("GIVEN", "HOME")]
print(json.dumps([sys.argv, os.getcwd(), sys.path[0], *given, os.getsid(0) == os.getpid(), __name__, threading.active_count(),
                  torch.get_num_threads(), sorted({"pytest", "_pytest", "running", "wandb"} & sys.modules.keys())]))
print("aside", file=sys.stderr)
sys.exit(3)
"""


@pytest.mark.parametrize("session", [False, True])
def test_what_is_its_own(tmp_path, session):
    environment = {"GIVEN": "this", "OMP_NUM_THREADS": "2"}
    done = completed(["-c", SAYS, "a", "b"], cwd=tmp_path, env=environment, start_new_session=session)
    assert (done.returncode, done.stderr) == (3, "aside\n")
    assert json.loads(done.stdout) == [["-c", "a", "b"], str(tmp_path), "", "this", None, session, "__main__", 1, 2, ["running"]]


def test_it_says_what_an_interpreter_says(tmp_path):
    (tmp_path / "script.py").write_text("import sys; print(__name__, __file__ == sys.argv[0], sys.argv[1:])\nsys.exit('why')\n")
    said = [completed([tmp_path / "script.py", "x"], cwd=tmp_path)]
    command = [sys.executable, tmp_path / "script.py", "x"]
    said.append(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True))
    assert said[0].returncode == said[1].returncode == 1
    assert (said[0].stdout, said[0].stderr) == (said[1].stdout, said[1].stderr) == ("__main__ True ['x']\n", "why\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_dies_of_a_signal(number):
    with Process(["-c", "import time; print('here', flush=True); time.sleep(60)"], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == "here\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        os.kill(process.pid, number)
        assert process.wait(10) == process.returncode == -number
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


WAITS = """
import atexit, time
atexit.register(print, "the end")
try:
    print("here", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    1 / 0
"""


def test_an_interrupt_is_an_exception_and_exits_run_at_the_end():
    with Process(["-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(10)
    assert process.returncode == 1
    assert "ZeroDivisionError" in said and said.endswith("the end\n")


def test_one_leaves_nothing_to_the_next():
    change = "import os, torch, cifar_lit; os.environ['LEFT'] = '1'; cifar_lit.left = 1; torch.ones(9) @ torch.ones(9)"
    look = "import os, cifar_lit, random; print(os.environ.get('LEFT'), hasattr(cifar_lit, 'left'), random.random())"
    assert completed(["-c", change]).returncode == 0
    first, second = (completed(["-c", look]).stdout.split() for _ in range(2))
    assert first[:2] == second[:2] == ["None", "False"]
    assert first[2] != second[2], "randomness of its own"


def test_the_server_is_one_thread():
    """A fork of a process with threads may wait for ever."""
    done = completed(["-c", "import os; print(os.getppid(), len(os.listdir(f'/proc/{os.getppid()}/task')))"], cwd=REPOSITORY)
    assert done.stdout.split()[1] == "1"
