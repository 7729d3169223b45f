"""joblib's workers as forks of the process that wants them: the imports, ten seconds of a core for each, are done there."""

import atexit
import os
import runpy
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from multiprocessing import resource_tracker
from types import SimpleNamespace
from unittest import mock

from joblib.externals.loky.backend import fork_exec

# From 3.13.14 and 3.14.5 on a fork closes the pipe of the resource tracker, unless this says that it is a process of ours.
_INTENT = getattr(resource_tracker, "_fork_intent", None) or SimpleNamespace()


def fork_workers() -> None:
    """From now on. What loky gives a worker stays its own: the pipes, the environment, the death."""
    fork_exec.fork_exec = _forked


def _forked(command: list[str], keep_fds: Iterable[int], env: Mapping[str, str] | None = None) -> int:
    """In place of loky's function: the number of a process that runs `command`, an interpreter's -m <module> <arguments>."""
    sys.stdout.flush()
    sys.stderr.flush()
    with mock.patch.object(_INTENT, "preserve_fd", True, create=True):
        number = os.fork()
    if number:
        return number
    code = 1
    try:
        atexit._clear()  # what the parent does at its end
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
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
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
