"""Around one job: skip it where it ended before, lock its directory, and turn an error into a line and a status."""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path

from omegaconf import DictConfig, open_dict

from cifar_lit import runs
from cifar_lit.cli import attempts, errors, record, resuming, types
from cifar_lit.cli.quoting import argument

log = logging.getLogger(__name__)

USAGE, FAILED, INTERRUPTED = 2, 1, 130
_HANDS_BACK = ".JoblibLauncher"  # an exit of one of its workers: the sweep would exit with it, though nobody told it to stop
_LOOKED_AT_SECONDS = 1.0  # who looks whether a run is going on (a report, say) holds its lock for a moment
TRACEBACK = "CIFAR_LIT_TRACEBACK"  # HYDRA_FULL_ERROR as the user set it: we set it ourselves, to see Hydra's exceptions


def complain(line: str) -> None:
    """Say what is wrong."""
    print(f"train.py: {line}", file=sys.stderr)


def job(main: Callable[[DictConfig], float | None]) -> Callable[[DictConfig], float | None]:
    """Wrap what trains. A single run that fails exits; a job of a sweep returns None, so that the others go on."""

    @wraps(main)
    def wrapped(cfg: DictConfig) -> float | None:
        from filelock import FileLock, Timeout  # --help and --cfg do without
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        folder = Path(cfg.run_dir)
        if int(os.environ.get("LOCAL_RANK", "0")) > 0:
            return _follow(main, cfg)
        try:
            with FileLock(folder / ".lock", timeout=_LOOKED_AT_SECONDS):
                if sweep and runs.is_run(folder) and not runs.is_of(folder, list(cfg.overrides)):
                    complain(f"{folder} is another job's")
                    return None
                done = runs.read_summary(folder)
                if sweep and done is not None and done["status"] in runs.ENDED:
                    log.info("Finished before, not run again: %s", folder)
                    return done.get(cfg.objective)
                if sweep and (folder / "checkpoints").is_dir():
                    with open_dict(cfg):
                        cfg.resume = "auto"
                return _guarded(main, cfg, folder, sweep)
        except Timeout:
            complain(f"{folder} is being run by another process")
        except SystemExit:
            if not (sweep and str(HydraConfig.get().launcher.get("_target_")).endswith(_HANDS_BACK)):
                raise
        if sweep:
            return None
        sys.exit(FAILED)

    return wrapped


def _follow(main: Callable[[DictConfig], float | None], cfg: DictConfig) -> float | None:
    """One of the other processes of DDP: the first holds the lock, talks, and writes."""
    logging.getLogger().setLevel(logging.WARNING)
    try:
        return main(cfg)
    except Exception as error:
        if type(error).__name__ == "Interrupted":
            sys.exit(0)  # else the first would be killed while it writes
        raise


def _how_to_go_on(folder: Path, sweep: bool) -> str:
    if sweep:  # its other jobs would never be run by a resume of this one
        from hydra.core.hydra_config import HydraConfig  # as in `job`

        return f"the same command, with {argument('hydra.sweep.dir', HydraConfig.get().sweep.dir)}"
    return f"python train.py {argument('resume', folder)}"


def _guarded(main: Callable[[DictConfig], float | None], cfg: DictConfig, folder: Path, sweep: bool) -> float | None:
    (folder / runs.BEGUN).unlink(missing_ok=True)
    known = {"experiment": cfg.name, "overrides": list(cfg.overrides), "seed": cfg.seed}
    try:
        record.write(folder, cfg)
        if sweep:
            attempts.start(folder, known)
        types.check(cfg)
        if cfg.resume is not None:
            resuming.check(cfg, folder)
            record.renew(folder, cfg)
        return main(cfg)
    except runs.Pruned as pruned:
        seconds = sum(row.get("seconds", 0.0) for row in runs.read_metrics(folder))
        runs.write_summary(folder, known | {"status": "pruned", "train_seconds": round(seconds, 3), **pruned.known})
        log.info("Pruned after epoch %d: others of the study did better", pruned.known["epochs"])
        return pruned.known.get(cfg.objective)
    except Exception as error:
        from cifar_lit.experiment import Interrupted  # slow to import, and by now it is

        if isinstance(error, Interrupted):
            log.info("Interrupted. Go on with: %s", _how_to_go_on(folder, sweep))
            sys.exit(INTERRUPTED)
        line = errors.one_line(error)
        complain(line)
        with suppress(OSError), open(folder / "train.log", "a") as file:  # a disk that is full
            file.write(f"{line}\n{traceback.format_exc()}Typed: {' '.join(known['overrides'])}\n")
        if os.environ.get(TRACEBACK) == "1":
            traceback.print_exc()
        begun = (folder / runs.BEGUN).exists()
        finished = (runs.read_summary(folder) or {}).get("status") == "finished"  # what failed came after the result
        if (sweep or begun) and not finished:  # a single run that was refused has no result, and changes none
            with suppress(OSError):
                if sweep and begun:
                    attempts.note(folder, line)
                    known["attempts"] = attempts.failures(folder)
                runs.write_summary(folder, known | {"status": "failed", "error": line})
        if sweep:
            return None
        if not begun:
            record.withdraw(folder)
        sys.exit(USAGE if isinstance(error, errors.UsageError) else FAILED)
    except KeyboardInterrupt:
        log.info("Interrupted before training began%s", f". Go on with: {_how_to_go_on(folder, sweep)}" if sweep else "")
        sys.exit(INTERRUPTED)
