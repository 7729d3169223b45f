"""The directory of a sweep: the record in it, without the password of a database, and what is said of it at the start."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from cifar_lit import runs
from cifar_lit.cli import places
from cifar_lit.cli.quoting import argument, quoted

log = logging.getLogger(__name__)

RECORD = "multirun.yaml"  # as Hydra calls it
_STORAGE, _DIR = "hydra.sweeper.storage", "hydra.sweep.dir"
_MOST_EARLIER = 20  # sweeps that are looked at


def redacted(url: str) -> str:
    """The address of a database without its password."""
    return re.sub(r"(?i)(password=)[^&]*", r"\1***", re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url))


def pin(config: DictConfig) -> None:
    """The directory as a path: the sweep, its launcher and its table would each ask the clock what `${now:...}` is.

    One that is called by the time is this sweep's alone, whatever other starts in the same second.
    """
    timed = OmegaConf.is_interpolation(config.hydra.sweep, "dir") and not _is_typed(config)
    folder = places.made(Path(config.hydra.sweep.dir)) if timed else config.hydra.sweep.dir
    with read_write(config.hydra):
        config.hydra.sweep.dir = str(folder).replace("${", r"\${")


def _is_typed(config: DictConfig) -> bool:
    return any(item.startswith(f"{_DIR}=") for item in config.hydra.overrides.hydra)


def without_password(config: DictConfig) -> DictConfig:
    """A copy of a sweep's configuration for what is written down, by the sweep and each of its jobs: whoever may read that
    need not read the database. Only the sweeper opens the storage, and callbacks=prune, which has its address from trial.json.
    """  # fmt: skip
    own, sweeper = config.copy(), config.hydra.sweeper
    if not sweeper.get("storage") or OmegaConf.is_interpolation(sweeper, "storage"):  # which is written as it is typed
        return own
    hidden = redacted(sweeper.storage)
    if hidden == sweeper.storage:
        return own
    with read_write(own.hydra), open_dict(own.hydra):
        own.hydra.sweeper.storage = hidden
        typed = [item for item in own.hydra.overrides.hydra if item.partition("=")[0].lstrip("+") != _STORAGE]
        own.hydra.overrides.hydra = [*typed, f"{_STORAGE}={quoted(hidden)}"]
    return own


def begin(config: DictConfig, left: Callable[[Path], bool]) -> Path:
    """Make the directory of a sweep, with the record of it, and say where it is. left: whether one has jobs left to do."""
    folder, own = Path(config.hydra.sweep.dir), without_password(config)
    if not _is_typed(config):
        earlier = _earlier(folder, own)
        if earlier is not None and left(earlier) and not any(runs.is_running(path) for path in runs.find(earlier)):
            log.info("An unfinished sweep of the same command is in %s: go on with %s", earlier, argument(_DIR, earlier))
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(own, folder / RECORD)
    log.info("Sweep in %s; if it is stopped, the same command with %s goes on with it", folder, argument(_DIR, folder))
    return folder


def _earlier(folder: Path, config: DictConfig) -> Path | None:
    """The latest sweep of the same command beside a folder."""
    others = sorted((path.parent for path in folder.parent.glob(f"*/{RECORD}") if path.parent != folder), reverse=True)
    wanted = _typed(OmegaConf.to_container(config.hydra.overrides))
    for place in others[:_MOST_EARLIER]:
        try:
            record = yaml.load((place / RECORD).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # OmegaConf's is slow
            if _typed(record["hydra"]["overrides"]) == wanted:
                return place
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):  # of another program, or torn
            continue
    return None


def _typed(overrides: Any) -> list[str]:
    """What was typed, but for the directory."""
    return sorted(str(item) for item in (*overrides["task"], *overrides["hydra"]) if not str(item).startswith(f"{_DIR}="))
