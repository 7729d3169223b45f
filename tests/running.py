"""A run small enough for a test, what came of it, and real processes that do not begin with six seconds of imports."""

import atexit
import multiprocessing
import os
import pkgutil
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType, TracebackType
from typing import IO, Any
from unittest import mock

REPOSITORY = Path(__file__).parent.parent
TRAIN = str(REPOSITORY / "train.py")
# A second of training: 600 drawn images, of which 100 are held out.
ANY_MODEL = [
    "data=synthetic", "data.train_per_class=6", "data.test_per_class=2", "data.val_size=100", "data.batch_size=50",
    "model=resnet8", "trainer.max_epochs=2", "trainer.accelerator=cpu", "callbacks.progress_bar=null",
]  # fmt: skip
TINY = [*ANY_MODEL, "model.stem=imagenet"]  # its blocks see a sixteenth of the pixels

# Left out of runs, which takes as long as such a training: the picture of the curves, and Hydra's composing once for hydra.mode
# alone, before it composes.
LEFT_OUT = {
    "cifar_lit.curves.draw": lambda rows, path: path.touch(),
    "hydra._internal.hydra.Hydra.get_mode": lambda *_, **__: None,
}


@dataclass
class Ran:
    """What a run of `python train.py` came to."""

    code: int
    out: str
    err: str
    folder: Path


class Process:
    """`subprocess.Popen` of `python <arguments>`, text only, as far as tests need it; the program's imports are done.

    The process is forked by a server that has imported what tests/preloaded.py says, one for each process of pytest; all
    else is its own: arguments, environment, directory, files, signals, and, with `start_new_session`, its session. Its
    exit and its death are a process's; but for LEFT_OUT it does what it would. Where the start itself is what a test is about,
    it starts an interpreter instead; so do the workers of a sweep without `forked_workers`.
    """

    def __init__(
        self,
        arguments: Iterable[str],
        *,
        cwd: str | Path = REPOSITORY,
        env: Mapping[str, str] | None = None,
        stdout: IO[Any] | int | None = None,
        stderr: IO[Any] | int | None = None,
        start_new_session: bool = False,
        forked_workers: bool = True,
    ) -> None:
        self.args = [str(item) for item in arguments]
        theirs: list[Connection] = []
        self.stdout = _output(stdout, theirs, of=1)
        self.stderr = _output(stderr, theirs, of=2)
        given = dict(os.environ if env is None else env)
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(
            target=_become, args=(self.args, str(cwd), given, theirs, start_new_session, forked_workers)
        )
        _serve()
        # A child imports the main module of its parent, which is no business of a program of its own.
        with mock.patch.dict(sys.modules, {"__main__": ModuleType("__main__")}):
            self._process.start()
        for end in theirs:
            end.close()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str | None, str | None]:
        """All that it wrote, up to its end. Raises TimeoutExpired, and leaves the process as it is."""
        said: list[str | None] = [None, None]

        def read(place: int, stream: IO[str]) -> None:
            said[place] = stream.read()
            stream.close()

        streams = [(place, stream) for place, stream in enumerate((self.stdout, self.stderr)) if stream is not None]
        readers = [threading.Thread(target=read, args=each, daemon=True) for each in streams]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        return said[0], said[1]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


def completed(arguments: Iterable[str], *, timeout: float | None = 300, **options: Any) -> subprocess.CompletedProcess[str]:
    """`subprocess.run(..., capture_output=True, text=True)` of a Process; on a time-out it is killed."""
    process = Process(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    try:
        out, err = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    return subprocess.CompletedProcess(process.args, process.wait(), out or "", err or "")


def _output(wanted: IO[Any] | int | None, theirs: list[Connection], of: int) -> IO[str] | None:
    """Adds the child's end of an output to `theirs`; our end, where there is one."""
    if wanted == subprocess.PIPE:
        ours, end = multiprocessing.Pipe(duplex=False)
        theirs.append(end)
        reader = os.fdopen(os.dup(ours.fileno()))
        ours.close()
        return reader
    if wanted == subprocess.STDOUT:
        source = theirs[0].fileno()
    else:
        source = of if wanted is None or isinstance(wanted, int) else wanted.fileno()
    theirs.append(Connection(os.dup(source), readable=False))  # a descriptor that can be sent to the server
    return None


def _serve() -> None:
    """Start the server, unless it runs. It is given the paths of the checkout, and one thread for torch."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["preloaded"])
    paths = os.pathsep.join(str(path) for path in (REPOSITORY, REPOSITORY / "tests"))
    with mock.patch.dict(os.environ, {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}):
        forkserver.ensure_running()


def _become(
    arguments: list[str], folder: str, environment: dict[str, str], outputs: list[Connection], session: bool, forked_workers: bool
) -> None:
    """In the child: take on what is a process's own, and run the program as `python <arguments>` does."""
    from preloaded import SETTINGS

    multiprocessing.set_start_method(None, force=True)  # a child of a server would take its children from one too
    if session:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever a shell in the background made of it
    for descriptor, output in enumerate(outputs, 1):
        os.dup2(output.fileno(), descriptor)
        output.close()
    os.environ.clear()
    os.environ.update(SETTINGS | environment)
    tempfile.tempdir = None  # found anew, by the environment
    os.chdir(folder)
    import numpy as np
    import torch
    from forked_workers import fork_workers

    if forked_workers:
        fork_workers()
    for where, what in LEFT_OUT.items():
        module, _, name = where.rpartition(".")
        setattr(pkgutil.resolve_name(module), name, what)
    random.seed()  # each process has randomness of its own
    np.random.seed()  # noqa: NPY002
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS") or os.cpu_count() or 1))  # which torch reads at its import
    ours = {str(REPOSITORY), str(REPOSITORY / "tests"), ""}
    first = {"-m": os.getcwd(), "-c": ""}.get(arguments[0], str(Path(arguments[0]).parent))
    sys.path[:] = [first, *(path for path in sys.path if path not in ours)]
    code: Any = 0
    try:
        _program(arguments)
    except SystemExit as stop:
        code = stop.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # waits for threads, as the end of an interpreter does; a child of multiprocessing skips what follows
    atexit._run_exitfuncs()
    sys.exit(code)


def _program(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        main = f"{arguments[1]}.__main__"
        sys.modules.pop(main if main in sys.modules else arguments[1], None)  # runpy warns of what was imported before it is run
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        program = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(arguments[1], "<string>", "exec"), program.__dict__)
    else:
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")
