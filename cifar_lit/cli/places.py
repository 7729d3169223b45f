"""Where runs write, and what they are called: the resolvers that conf/ uses."""

from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from omegaconf import ListConfig, OmegaConf

from cifar_lit import runs


def run_name(experiment: str | None, model: str, optimizer: str, scheduler: str) -> str:
    """The experiment, or what was put together instead."""
    return experiment or f"{model}-{optimizer}_{scheduler}"


def run_dir(name: str, resume: str | None, overrides: list[str], mode: Any) -> str:
    """Where a run writes: the directory of the run to resume, or a new one. mode: Hydra's, null where nothing is run."""
    folder = Path("runs") / name
    if resume == "auto":
        found = runs.unfinished(folder, list(overrides))
        if found is not None:
            return str(found)
    elif resume is not None:
        found = resumed_dir(Path(resume))
        if found is not None:
            return str(found)
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if getattr(mode, "name", mode) != "RUN":
        return str(folder / now)
    if folder not in _chosen:
        _chosen[folder] = str(made(folder / now))
    return _chosen[folder]


_chosen: dict[Path, str] = {}  # Hydra asks several times, and the directory exists from the first


def made(path: Path) -> Path:
    """Make a directory that no other run or sweep has: of two that start in the same second, the later gets a number."""
    with suppress(OSError):  # Hydra cannot make it either, and says so
        path.parent.mkdir(parents=True, exist_ok=True)
    places = (path if number == 1 else path.with_name(f"{path.name}_{number}") for number in count(1))
    return next(place for place in places if _is_made(place))


def _is_made(path: Path) -> bool:
    """Make a directory; not if it is there already. One that cannot be made is no other run's."""
    try:
        path.mkdir()
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def as_typed() -> ListConfig:
    """What was typed. A list of our own: Hydra's is read-only, and a `${...}` in it could not be resolved."""
    from hydra.core.hydra_config import HydraConfig  # --help does without

    return OmegaConf.create(list(HydraConfig.get().overrides.task))


def forget() -> None:
    """Another command in the same process is another run."""
    _chosen.clear()


def sweep_group(mode: Any, sweep_dir: str) -> str | None:
    """What binds the jobs of a sweep together in a tracker; null for a single run."""
    return "/".join(Path(sweep_dir).parts[-2:]) if getattr(mode, "name", mode) == "MULTIRUN" else None


def tracker_name(mode: Any, name: str, seed: int, overrides: list[str]) -> str:
    """What a tracker calls a run: in a sweep, what was typed for it, so that no two have one name."""
    if getattr(mode, "name", mode) != "MULTIRUN":
        return f"{name}-seed{seed}"
    return " ".join(item for item in overrides if not item.startswith(("logger", "hydra", "callbacks.progress_bar")))


OmegaConf.register_new_resolver("as_typed", as_typed)
OmegaConf.register_new_resolver("run_name", run_name)
OmegaConf.register_new_resolver("tracker_name", tracker_name)
OmegaConf.register_new_resolver("sweep_group", sweep_group)
OmegaConf.register_new_resolver("run_dir", run_dir, use_cache=True)


def resumed_dir(path: Path) -> Path | None:
    """The run directory that a path to resume from names: itself, or the one that the checkpoint lies in."""
    folder = path.parent.parent if path.suffix == ".ckpt" else path
    return folder if runs.is_run(folder) else None
