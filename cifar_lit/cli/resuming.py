"""What a resumed run must share with the run that it goes on from."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cifar_lit.cli.errors import UsageError

# What may differ: where things are, how fast they are read, what is told to whom, and when to stop.
FREE = (
    "callbacks.", "logger.", "resume", "run_dir", "overrides", "name", "evaluate", "test_time_flip", "objective", "data.root",
    "data.download", "data.fallback", "data.workers", "data.eval_batch_size", "trainer.max_time",
)  # fmt: skip


def check(cfg: DictConfig, folder: Path) -> None:
    """Raise UsageError where the run recorded in `folder` was of another configuration than `cfg`."""
    record = folder / ".hydra" / "config.yaml"
    if not record.exists():
        return
    then, now = (_flat(OmegaConf.to_container(config)) for config in (OmegaConf.load(record), cfg))
    for key in sorted({*then, *now}):
        if not key.startswith(FREE) and then.get(key) != now.get(key):
            raise UsageError(
                f"{folder} was run with {key}={then.get(key)}, not {now.get(key)}: resume it as it was, or start a new run"
            )


def _flat(node: Any, path: str = "") -> dict[str, Any]:
    if isinstance(node, dict):
        return {name: value for key, child in node.items() for name, value in _flat(child, f"{path}{key}.").items()}
    return {path.removesuffix("."): node}
