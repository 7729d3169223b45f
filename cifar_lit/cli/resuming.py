"""What a resumed run must share with the run that it goes on from."""

from pathlib import Path

from omegaconf import DictConfig

from cifar_lit.cli import record
from cifar_lit.cli.errors import UsageError
from cifar_lit.runs.binding import binding, difference


def check(cfg: DictConfig, folder: Path) -> None:
    """Raise UsageError where the run recorded in `folder` was of another configuration than `cfg`."""
    recorded = record.read(folder)
    if recorded is not None and (other := difference(binding(recorded), binding(record.plain(cfg)))):
        raise UsageError(f"{folder} was run with {other}: resume it as it was, or start a new run")
