"""The record of a run in its directory: the composed configuration and what was typed, in .hydra/, as Hydra would write it.

Hydra would write it before anybody holds the directory: who is then refused would have left his own in place of the holder's.
"""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cifar_lit import runs
from cifar_lit.atomic import writing


def exists(folder: Path) -> bool:
    """Whether a directory has its record: what was typed is written last."""
    return (folder / runs.OVERRIDES).is_file()


def write(folder: Path, cfg: DictConfig) -> None:
    """Record what is run, unless there is something to go on with: that keeps its record. The caller holds the directory."""
    from hydra.core.hydra_config import HydraConfig  # --help and --cfg do without

    if exists(folder) and (cfg.resume is not None or (folder / "checkpoints").is_dir()):
        return
    typed = HydraConfig.get().overrides.task
    contents = {"config.yaml": cfg, "hydra.yaml": HydraConfig.instance().cfg, runs.OVERRIDES.name: typed}
    place = folder / runs.OVERRIDES.parent
    place.mkdir(exist_ok=True)
    for name, config in contents.items():
        with writing(place / name) as part:
            part.write_text(OmegaConf.to_yaml(config))
