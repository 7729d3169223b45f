"""Train one network, or sweep over many: `python train.py --help`."""

import hydra
from omegaconf import DictConfig

from cifar_lit import cli


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@cli.job
def main(cfg: DictConfig) -> float | None:
    from hydra.utils import instantiate  # slow imports wait until the configuration is known to be good
    from lightning import seed_everything

    seed_everything(cfg.seed, workers=True, verbose=False)
    return instantiate(cfg).run()


if __name__ == "__main__":
    cli.command(main)
