"""The command line around Hydra: help, errors in one line, exit status, resuming, and skipping finished jobs.

Imports nothing slow, so that `--help` and `--cfg job` answer at once.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from cifar_lit import runs
from cifar_lit.cli import errors, help_page, places, repeat, resuming, types

log = logging.getLogger(__name__)

USAGE, FAILED, INTERRUPTED = 2, 1, 130
_TRACEBACK = "CIFAR_LIT_TRACEBACK"  # HYDRA_FULL_ERROR as the user set it: we set it ourselves, to see Hydra's exceptions


def _with_recorded(arguments: list[str]) -> list[str]:
    """`resume=<path>` alone is enough: what was typed for that run is typed again, unless it is given anew."""
    given = next((item for item in arguments if item.startswith("resume=")), None)
    value = given.removeprefix("resume=").strip("'\"") if given else ""
    if given is None or value in ("auto", "null", ""):
        return arguments
    if not Path(value).exists():
        raise errors.UsageError(f"resume={value}: no such run directory or checkpoint")
    folder = places.resumed_dir(Path(value))
    if folder is None and not value.endswith(".ckpt"):
        raise errors.UsageError(f"resume={value}: not a run directory (it has no .hydra/overrides.yaml)")
    typed = {item.split("=")[0] for item in arguments}
    recorded = (runs.read_overrides(folder) or []) if folder else []
    again = [item for item in recorded if item.split("=")[0] not in typed]
    return [*again, *(item for item in arguments if item is not given), f"resume='{value}'"]


def command(main: Callable[[], Any]) -> None:
    """Run a Hydra application; exits with 0, 1 (failed), 2 (wrong usage) or 130 (interrupted)."""
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        print(help_page.text(Path(sys.argv[0]).resolve().parent / "conf"))
        return
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ.setdefault(_TRACEBACK, "1" if full else "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    places.forget()
    try:
        arguments = repeat.expanded(arguments)
        if {"-m", "--multirun"} & set(arguments) and any(re.match(r"trainer(\.strategy)?=.*ddp", a) for a in arguments):
            raise errors.UsageError(errors.DDP_SWEEP)
        sys.argv[1:] = _with_recorded(arguments)
        main()
    except Exception as error:
        if full:
            raise
        _complain(errors.one_line(error, Path(sys.argv[0]).resolve().parent / "conf", sys.argv[1:]))
        sys.exit(USAGE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _complain(line: str) -> None:
    print(f"train.py: {line}", file=sys.stderr)


def job(main: Callable[[DictConfig], float]) -> Callable[[DictConfig], float | None]:
    """Around one job: skip it where it finished before, lock its directory, and turn an error into a line and a status.

    A single run that fails exits; a job of a sweep returns None, so that the others go on.
    """

    @wraps(main)
    def wrapped(cfg: DictConfig) -> float | None:
        from filelock import FileLock, Timeout  # --help and --cfg do without
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        folder = Path(cfg.run_dir)
        done = runs.read_summary(folder)
        if sweep:
            if done is not None and done["status"] == "finished":
                log.info("Finished before, not run again: %s", folder)
                return done.get(cfg.objective)
            if (folder / "checkpoints").is_dir():
                with open_dict(cfg):
                    cfg.resume = "auto"
        if int(os.environ.get("LOCAL_RANK", "0")) > 0:
            return _follow(main, cfg)
        try:
            with FileLock(folder / ".lock", timeout=0):
                return _guarded(main, cfg, folder, sweep)
        except Timeout:
            _complain(f"{folder} is being run by another process")
        if sweep:
            return None
        sys.exit(FAILED)

    return wrapped


def _follow(main: Callable[[DictConfig], float], cfg: DictConfig) -> float:
    """One of the other processes of DDP: the first holds the lock, talks, and writes."""
    logging.getLogger().setLevel(logging.WARNING)
    try:
        return main(cfg)
    except Exception as error:
        if type(error).__name__ == "Interrupted":
            sys.exit(0)  # else the first would be killed while it writes
        raise


def _guarded(main: Callable[[DictConfig], float], cfg: DictConfig, folder: Path, sweep: bool) -> float | None:
    (folder / runs.BEGUN).unlink(missing_ok=True)
    try:
        if sweep and ("ddp" in str(cfg.trainer.get("strategy", "")) or cfg.trainer.get("devices", 1) not in (1, "1")):
            raise errors.UsageError(errors.DDP_SWEEP)
        types.check(cfg)
        if cfg.resume is not None:
            resuming.check(cfg, folder)
        return main(cfg)
    except Exception as error:
        from cifar_lit.experiment import Interrupted  # slow to import, and by now it is

        if isinstance(error, Interrupted):
            log.info("Interrupted. Go on with: python train.py resume=%s", folder)
            sys.exit(INTERRUPTED)
        line = errors.one_line(error)
        _complain(line)
        with suppress(OSError), open(folder / "train.log", "a") as file:  # a disk that is full
            file.write(f"{line}\n{traceback.format_exc()}")
        if os.environ.get(_TRACEBACK) == "1":
            traceback.print_exc()
        if sweep or (folder / runs.BEGUN).exists():  # a single run that was refused has no result, and changes none
            known = {"experiment": cfg.name, "overrides": list(cfg.overrides), "seed": cfg.seed}
            with suppress(OSError):
                runs.write_summary(folder, known | {"status": "failed", "error": line})
        if sweep:
            return None
        sys.exit(FAILED)
    except KeyboardInterrupt:
        log.info("Interrupted before training began")
        sys.exit(INTERRUPTED)
