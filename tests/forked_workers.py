"""joblib's workers as forks of the process that wants them: the imports, ten seconds of a core for each, are done there."""

import atexit
import os
import runpy
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress

from joblib.externals.loky.backend import fork_exec


def fork_workers() -> None:
    """From now on. What loky gives a worker stays its own: the pipes, the environment, the death."""
    fork_exec.fork_exec = _forked


def _forked(command: list[str], keep_fds: Iterable[int], env: Mapping[str, str] | None = None) -> int:
    """In place of loky's function: the number of a process that runs `command`, an interpreter's -m <module> <arguments>."""
    sys.stdout.flush()
    sys.stderr.flush()
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        atexit._clear()  # what the parent does at its end
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
        keep = {0, 1, 2, *map(int, keep_fds)}
        for descriptor in {int(name) for name in os.listdir("/proc/self/fd")} - keep:
            with suppress(OSError):  # that of the listing
                os.close(descriptor)
        os.environ.update(env or {})
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
        _, _, module, *arguments = command
        sys.argv = [module, *arguments]
        sys.modules.pop(module, None)  # runpy warns of what was imported before it is run
        runpy.run_module(module, run_name="__main__")
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
