"""`python train.py ...` as a process of its own, six seconds sooner: forked from one that has imported everything."""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from running import REPOSITORY

_CONTEXT = multiprocessing.get_context("forkserver")
_IMPORTS = ["cifar_lit.experiment", "cifar_lit.curves", "hydra.main", "matplotlib.backends.backend_agg"]


class Forked:
    """A process that can be killed, in a session of its own; what it says is in the file `said`. As subprocess.Popen."""

    def __init__(self, target: Callable[..., None], *arguments: Any, cwd: Path, said: Path) -> None:
        if getattr(forkserver._forkserver, "_forkserver_pid", None) is None:  # type: ignore[attr-defined]
            _start()
        place = {"cwd": str(cwd), "said": str(said), "environment": dict(os.environ)}
        self.said, self.process = said, _CONTEXT.Process(target=_run, args=(target, arguments, place))
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("forked", timeout)
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: object) -> None:
        if self.poll() is None:
            self.kill()
        self.wait()


def train(*arguments: str, cwd: Path, said: Path) -> Forked:
    """`python train.py <arguments>`."""
    return Forked(_train, arguments, cwd=cwd, said=said)


def _start() -> None:
    """Start the server, which imports and waits: it finds the project as the tests do."""
    kept = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests"), *([kept] if kept else [])])
    try:
        _CONTEXT.set_forkserver_preload(_IMPORTS)
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if kept:
            os.environ["PYTHONPATH"] = kept


def _run(target: Callable[..., None], arguments: tuple[Any, ...], place: dict[str, Any]) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(place["environment"])
    os.chdir(place["cwd"])
    said = os.open(place["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    try:
        target(*arguments)
    finally:  # as an interpreter ends, which a child of multiprocessing does not
        threading._shutdown()
        atexit._run_exitfuncs()


def _train(arguments: tuple[str, ...]) -> None:
    sys.argv = [str(REPOSITORY / "train.py"), *arguments]
    runpy.run_path(str(REPOSITORY / "train.py"), run_name="__main__")
