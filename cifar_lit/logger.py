"""Experiment trackers beside metrics.csv: what every tracker is told at the start and at the end of a run."""

import json
import logging
import math
import os
import secrets
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from cifar_lit import runs
from cifar_lit.runs import records
from cifar_lit.runs.rows import as_tested

TABLES = "findings"  # before the names of the tables that W&B is given
_PAIRS = 20  # of confused classes
_LOADED = ("data", "data_fingerprint")  # of a summary: the images, which data=cifar100_or_synthetic says only when it runs

log = logging.getLogger(__name__)

# The columns of TensorBoard's HParams tab, beside what was typed for the run: the settings that people compare, and results.
_CHOICES = ("experiment", "data", "augment", "mix", "model", "loss", "optimizer", "scheduler", "trainer", "data.validation")
_NUMBERS = ("optimizer.lr", "optimizer.weight_decay", "data.batch_size", "trainer.max_epochs", "seed")
_RESULTS = ("val/acc", "val/acc_best", "test/acc", "test/acc5", "gap", "train_seconds", "images_per_second", "params")


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


class MLflow(MLFlowLogger):
    """MLflow, which keeps runs in a folder only where it is told that this is meant: a `file:` address says so."""

    def __init__(self, *, tracking_uri: str, **options: Any) -> None:
        if tracking_uri.startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        logging.getLogger("lightning.pytorch.loggers.mlflow").setLevel(logging.ERROR)  # it warns of an experiment that it makes
        super().__init__(tracking_uri=tracking_uri, **options)


def begin(logger: Logger, config: dict[str, Any]) -> None:
    """Tell a tracker the configuration, by the names that people type, and the recipe, by which it can group seeds."""
    logger.log_hyperparams(config | {"recipe": recipe(runs.settings(config))})
    if isinstance(logger, TensorBoardLogger):
        _begin_hparams(logger, config)


def recipe(settings: dict[str, Any], summary: dict[str, Any] | None = None) -> str:
    """One name for all runs that differ in nothing but their seeds, and for no others: `resnet18-sgd_onecycle 1f0c9a`.

    summary: of the run, as soon as there is one; it says which images were loaded, and how they were tested.
    """
    told = summary or {}
    parts = [as_tested(settings, told), *(told.get(name) for name in _LOADED)]
    digest = blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=3).hexdigest()
    chosen = "{model}-{optimizer}_{scheduler}".format_map({"model": "", "optimizer": "", "scheduler": ""} | settings)
    return f"{settings.get('experiment') or chosen} {digest}"


@rank_zero_only
def _begin_hparams(logger: TensorBoardLogger, config: dict[str, Any]) -> None:
    """A row of the HParams tab, in which all settings can be looked up, and its columns.

    TensorBoard takes the columns of whichever run it finds first, so that they must be alike for all jobs of a sweep.
    """
    from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2  # only where it is asked for

    settings = {name: value for name, value in runs.settings(config).items() if isinstance(value, bool | int | float | str)}
    settings["seed"] = config.get("seed", 0)
    start = plugin_data_pb2.SessionStartInfo()
    for name, value in settings.items():
        cell = start.hparams[name]
        if isinstance(value, bool):
            cell.bool_value = value
        elif isinstance(value, str):
            cell.string_value = value
        else:
            cell.number_value = value
    typed = (str(item).lstrip("+").partition("=")[0] for item in config.get("overrides") or ())
    types = dict.fromkeys(_CHOICES, api_pb2.DATA_TYPE_STRING) | dict.fromkeys(_NUMBERS, api_pb2.DATA_TYPE_FLOAT64)
    for name in (name for name in typed if name in settings):
        kinds = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}
        types.setdefault(name, kinds.get(type(settings[name]), api_pb2.DATA_TYPE_FLOAT64))
    columns = api_pb2.Experiment(
        hparam_infos=[api_pb2.HParamInfo(name=name, type=kind) for name, kind in types.items()],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=_result_tag(name)), display_name=name) for name in _RESULTS],
    )
    _write_hparams(logger, experiment=columns)
    _write_hparams(logger, session_start_info=start)


@rank_zero_only
def _end_hparams(logger: TensorBoardLogger) -> None:
    """Only for a run that finished: TensorBoard keeps the first status that it reads, and any other may be resumed."""
    from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2  # as above

    _write_hparams(logger, session_end_info=plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS))


def _write_hparams(logger: TensorBoardLogger, **content: Any) -> None:
    """One message of the HParams plugin, under the tag that it looks for."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # as above
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    [kind] = content
    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    value = Summary.Value(tag=f"_hparams_/{kind}", metadata=metadata.create_summary_metadata(data))
    logger.experiment._get_file_writer().add_summary(Summary(value=[value]))


def _log_tables(logger: Wandb) -> None:
    """What the test found, class by class, as tables that W&B's panels can show."""
    import wandb  # as above

    tables = {
        name: wandb.Table(columns=[*columns], data=rows) for name, columns, rows in findings_tables(Path(str(logger.save_dir)))
    }
    if tables:
        logger.experiment.log({f"{TABLES}/{name}": table for name, table in tables.items()})


def findings_tables(folder: Path) -> Iterator[tuple[str, Sequence[str], list[list[str | float | None]]]]:
    """Accuracy by class, calibration, and the pairs most often confused, of the files of a run: name, columns, rows."""
    if (classes := records.per_class(folder)) is not None:
        numbers = (classes.images.tolist(), classes.accuracy.tolist())
        yield "per_class", records.PER_CLASS, _rows(classes.classes, classes.superclasses, *numbers)
    if (bins := records.calibration(folder)) is not None:
        after = bins.calibrated or (np.full(len(bins.images), np.nan),) * 3
        columns = (bins.low, bins.high, bins.images, bins.confidence, bins.accuracy, *after)
        yield "calibration", records.CALIBRATION, _rows(*(column.tolist() for column in columns))
    if (confusion := records.confusion(folder)) is not None:
        table, names = confusion.table * (1 - np.eye(len(confusion.classes), dtype=int)), confusion.classes
        most = sorted(zip(*np.nonzero(table), strict=True), key=lambda pair: (-table[pair], names[pair[0]], names[pair[1]]))
        pairs = [[names[true], names[predicted], int(table[true, predicted])] for true, predicted in most[:_PAIRS]]
        yield "confused_pairs", ("true", "predicted", "images"), pairs


def _rows(*columns: Sequence[str | float]) -> list[list[str | float | None]]:
    """Cells side by side; None for an empty one and for NaN."""
    rows = [list(row) for row in zip(*columns, strict=True)]
    return [[None if cell == "" or (isinstance(cell, float) and math.isnan(cell)) else cell for cell in row] for row in rows]


def _result_tag(name: str) -> str:
    return f"summary/{name.replace('/', '_')}"


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
        if finished:
            _log_tables(logger)
        # W&B groups seeds by it: begun, a run knew its settings only, and a resumed one those that it was begun with.
        logger.log_hyperparams({"recipe": recipe(summary["config"], summary)})
        logger.experiment.summary.update({name: value for name, value in summary.items() if not isinstance(value, dict)})
        ended = summary["status"] in runs.ENDED  # a pruned run was stopped on purpose
        logger.finalize("success" if ended else "failed")
        logger.experiment.finish(exit_code=0 if ended else 1)
        logger._experiment = None
        return
    if finished:
        numbers = {name: float(value) for name, value in summary.items() if isinstance(value, int | float)}
        logger.log_metrics({_result_tag(name): value for name, value in numbers.items()})
        if isinstance(logger, TensorBoardLogger):
            _end_hparams(logger)
    logger.finalize("success" if finished else "failed")
