"""Experiment trackers beside metrics.csv: what every tracker is told at the start and at the end of a run."""

import logging
import os
import secrets
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

log = logging.getLogger(__name__)


class Wandb(WandbLogger):
    """Weights & Biases, which may be out of reach: then the run is kept on disk, to be sent later by `wandb sync`.

    run_dir: keeps W&B's own files, and the run's id, so that a resumed run goes on in the same W&B run. group: the
    sweep, or null. timeout_seconds: how long to wait for the server before the run is kept offline.
    """

    def __init__(self, *, run_dir: str, project: str, timeout_seconds: float = 30.0, **options: Any) -> None:
        import wandb  # slow, and needed only where it is asked for

        self._id_file = Path(run_dir) / "wandb" / "id.txt"
        run_id = self._id_file.read_text().strip() if self._id_file.exists() else secrets.token_hex(4)
        settings = wandb.Settings(init_timeout=timeout_seconds, finish_timeout=10 * timeout_seconds, silent=True, console="off")
        super().__init__(project=project, save_dir=run_dir, id=run_id, settings=settings, **options)
        self._wandb_init.pop("anonymous", None)  # W&B warns of it, and Lightning always passes it
        if wandb.setup().settings.mode in ("offline", "dryrun", "disabled"):
            self._keep_offline()
        elif not wandb.login(prompt=False, verify=False):
            log.info("W&B: no API key here, so the run is kept offline; `wandb login`, then `wandb sync %s/wandb/*run*`", run_dir)
            self._keep_offline()
        else:
            self._wandb_init["resume"] = "allow"

    def _keep_offline(self) -> None:
        if os.environ.get("WANDB_MODE") != "disabled":
            self._wandb_init["mode"] = "offline"
        self._wandb_init["resume"] = None  # offline, it cannot be looked up whether the run exists already

    @property
    def experiment(self) -> Any:
        """The live W&B run (a dummy in all processes but the first)."""
        if self._experiment is None and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            import wandb  # slow, as above

            self._id_file.parent.mkdir(parents=True, exist_ok=True)
            self._id_file.write_text(str(self._wandb_init["id"]))
            if wandb.run is not None:
                wandb.finish()  # a job before this one that died: W&B would go on writing to its run
            try:
                return super().experiment
            except (wandb.errors.CommError, wandb.errors.UsageError) as error:
                log.warning("W&B: %s; the run is kept offline in %s", str(error).splitlines()[0], self._id_file.parent)
                wandb.teardown()  # its service still holds the run's id
                self._keep_offline()
        return super().experiment


def begin(logger: Logger, config: dict[str, Any]) -> None:
    """Tell a tracker the configuration, by the names that people type."""
    logger.log_hyperparams(config)


def end(logger: Logger, summary: dict[str, Any]) -> None:
    """Tell a tracker the result, and close it with the right status, so that the next job of a sweep gets its own run.

    The result is on the disk by then: a tracker that fails now costs a warning, not the run.
    """
    try:
        _end(logger, summary)
    except Exception as error:
        log.warning("%s could not be closed: %s", type(logger).__name__, error)


def _end(logger: Logger, summary: dict[str, Any]) -> None:
    finished = summary["status"] == "finished"
    if isinstance(logger, Wandb):
        logger.experiment.summary.update({name: value for name, value in summary.items() if not isinstance(value, dict)})
        logger.finalize("success" if finished else "failed")
        logger.experiment.finish(exit_code=0 if finished else 1)
        logger._experiment = None
        return
    if finished:
        numbers = {name: float(value) for name, value in summary.items() if isinstance(value, int | float)}
        logger.log_metrics({f"summary/{name.replace('/', '_')}": value for name, value in numbers.items()})
    logger.finalize("success" if finished else "failed")
