"""The end of a study's sweep: after the table, its figures and its verdict in words."""

import sys
from typing import Any

from omegaconf import DictConfig, read_write

from cifar_lit.cli import errors
from cifar_lit.cli.running import complain
from cifar_lit.cli.sweep import SweepTable


class Concluding(SweepTable):
    """Closes the sweep of a study."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """What is typed takes the place of what the study would try: seed=0, or optimizer.lr=0.2,0.02."""
        typed = {item.partition("=")[0].lstrip("+~") for item in config.hydra.overrides.task}
        with read_write(config.hydra):
            params = config.hydra.sweeper.params
            config.hydra.sweeper.params = {name: value for name, value in params.items() if name not in typed}

    def on_multirun_end(self, config: DictConfig, **more: Any) -> None:
        """Also where jobs failed: the verdict says what is missing."""
        try:
            super().on_multirun_end(config, **more)
        finally:
            from cifar_lit.study.conclude import main  # imports scipy and matplotlib, wanted once, at the end

            try:
                without = main([config.hydra.sweep.dir])
            except Exception as error:  # Hydra makes a warning of it, and of the sweep a success
                complain(f"no verdict: {errors.one_line(error)}")
                without = 1
            if without:
                sys.exit(1)
