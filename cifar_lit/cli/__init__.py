"""The command line around Hydra: help, errors in one line, exit status, resuming, and skipping finished jobs.

Imports nothing slow, so that `--help` and `--cfg job` answer at once.
"""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cifar_lit import runs
from cifar_lit.cli import budget, errors, help_page, places, quoting, repeat
from cifar_lit.cli.running import INTERRUPTED, TRACEBACK, USAGE, complain, job

__all__ = ["command", "job"]


def _with_recorded(arguments: list[str]) -> list[str]:
    """`resume=<path>` alone is enough: what was typed for that run is typed again, unless it is given anew."""
    given = next((item for item in arguments if item.startswith("resume=")), None)
    if given is None:
        return arguments
    value = given.removeprefix("resume=")
    if not Path(value).exists():  # else it is the path, whatever Hydra would make of it
        value = quoting.read(value)
    if value in ("auto", "null", ""):
        return arguments
    if not Path(value).exists():
        raise errors.UsageError(f"resume={value}: no such run directory or checkpoint")
    folder = places.resumed_dir(Path(value))
    if folder is None and not value.endswith(".ckpt"):
        raise errors.UsageError(f"resume={value}: not a run directory (it has no .hydra/overrides.yaml)")
    typed = {item.split("=")[0] for item in arguments}
    recorded = (runs.read_overrides(folder) or []) if folder else []
    again = [item for item in recorded if item.split("=")[0] not in typed]
    return [*again, *(item for item in arguments if item is not given), f"resume={quoting.quoted(value)}"]


def command(main: Callable[[], Any]) -> None:
    """Run a Hydra application; exits with 0, 1 (failed), 2 (wrong usage) or 130 (interrupted)."""
    arguments = sorted(sys.argv[1:], key=lambda item: item not in ("-m", "--multirun"))  # Hydra knows it at the front only
    if {"--help", "-h"} & set(arguments):
        print(help_page.text(Path(sys.argv[0]).resolve().parent / "conf"))
        return
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ.setdefault(TRACEBACK, "1" if full else "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    places.forget()
    try:
        arguments = budget.expanded(repeat.expanded(arguments), Path(sys.argv[0]).resolve().parent / "conf")
        if "resume=" in arguments:
            raise errors.UsageError("resume=: of which run? Give its directory, or auto")
        sweep = bool({"-m", "--multirun"} & set(arguments))
        if sweep and any(re.match(r"resume=(?!auto$|null$)", a) for a in arguments):
            raise errors.UsageError("resume=<path> is one run's; a sweep goes on by hydra.sweep.dir=<its directory>")
        sys.argv[1:] = _with_recorded(arguments)
        if sweep:
            from cifar_lit.cli import sweepers  # imports Hydra, which --help does without

            sweepers.register(Path(sys.argv[0]).resolve().parent / "conf")
        main()
    except Exception as error:
        if full:
            raise
        complain(errors.one_line(error, Path(sys.argv[0]).resolve().parent / "conf", sys.argv[1:]))
        sys.exit(USAGE)
    except KeyboardInterrupt:
        if {"-m", "--multirun"} & set(arguments):
            complain("interrupted; where it begins, the sweep says how to go on")
        sys.exit(INTERRUPTED)
