"""A resumed run and the record of the run that it goes on from."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cifar_lit.atomic import writing
from cifar_lit.cli.errors import UsageError
from cifar_lit.runs.binding import binding, difference, flat

_PASSING = ("resume", "run_dir", "overrides")  # of each start anew


def check(cfg: DictConfig, folder: Path) -> None:
    """Raise UsageError where the run recorded in `folder` was of another configuration than `cfg`."""
    recorded = _recorded(folder)
    if recorded is not None and (other := difference(binding(recorded), binding(_plain(cfg)))):
        raise UsageError(f"{folder} was run with {other}: resume it as it was, or start a new run")


def record(cfg: DictConfig, folder: Path) -> None:
    """Put what may change, and did, into the record of `folder`: it is what the run's summary says it was."""
    from hydra.core.hydra_config import HydraConfig  # --help and --cfg do without

    recorded = _recorded(folder)
    if recorded is None or _lasting(recorded) == _lasting(_plain(cfg)):
        return
    hydra = HydraConfig.get()
    typed = [item for item in hydra.overrides.task if not item.startswith("resume=")]
    for name, content in (("config", cfg), ("hydra", OmegaConf.create({"hydra": hydra})), ("overrides", typed)):
        with writing(folder / ".hydra" / f"{name}.yaml") as part:
            part.write_text(OmegaConf.to_yaml(content))


def _recorded(folder: Path) -> dict[str, Any] | None:
    path = folder / ".hydra" / "config.yaml"
    return _plain(OmegaConf.load(path)) if path.exists() else None


def _plain(config: Any) -> dict[str, Any]:
    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _lasting(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flat(config).items() if key not in _PASSING}
