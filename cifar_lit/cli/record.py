"""The record of a run in its directory: the composed configuration and what was typed, in .hydra/, as Hydra would write it.

Hydra would write it before anybody holds the directory: who is then refused would have left his own in place of the holder's.
"""

import shutil
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cifar_lit import runs
from cifar_lit.atomic import writing
from cifar_lit.runs.binding import flat

_PASSING = ("resume", "run_dir", "overrides")  # of each start anew


def plain(config: Any) -> dict[str, Any]:
    """A composed configuration as plain values."""
    found = OmegaConf.to_container(config, resolve=True)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def read(folder: Path) -> dict[str, Any] | None:
    """The configuration of the run of a directory; None where there is none."""
    path = folder / runs.OVERRIDES.parent / "config.yaml"
    return plain(OmegaConf.load(path)) if path.exists() else None


def write(folder: Path, cfg: DictConfig) -> None:
    """Record what is run, unless there is something to go on with: that keeps its record. The caller holds the directory."""
    if not ((folder / runs.OVERRIDES).is_file() and (folder / "checkpoints").is_dir()):
        _write(folder, cfg)
        _put(folder / runs.OVERRIDES, [item for item in _hydra().overrides.task if not item.startswith("resume=")])


def renew(folder: Path, cfg: DictConfig) -> None:
    """Record what a resume changes, of what may change: the record is what the run's summary says it was.

    What was typed first stays as it was: by that a sweep, and resume=auto, know a run again.
    """
    recorded = read(folder)
    if recorded is not None and _lasting(recorded) != _lasting(plain(cfg)):
        _write(folder, cfg)


def withdraw(folder: Path) -> None:
    """Leave no record of a run that was refused, unless there is a run, or its result. The caller holds the directory."""
    if not ((folder / "checkpoints").is_dir() or (folder / runs.SUMMARY).exists()):
        shutil.rmtree(folder / runs.OVERRIDES.parent, ignore_errors=True)


def _lasting(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flat(config).items() if key not in _PASSING}


def _hydra() -> Any:
    from hydra.core.hydra_config import HydraConfig  # --help and --cfg do without

    return HydraConfig.get()


def _write(folder: Path, cfg: DictConfig) -> None:
    (folder / runs.OVERRIDES).parent.mkdir(exist_ok=True)
    for name, config in (("config.yaml", cfg), ("hydra.yaml", OmegaConf.create({"hydra": _hydra()}))):
        _put((folder / runs.OVERRIDES).with_name(name), config)


def _put(path: Path, content: Any) -> None:
    with writing(path) as part:
        part.write_text(OmegaConf.to_yaml(content))
