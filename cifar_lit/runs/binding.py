"""What a run must share with the one that it goes on from."""

from typing import Any

# What may differ: where things are, how fast they are read, what is told to whom, and when to stop. Other callbacks may
# change what is learned, as ema and lookahead do.
FREE = (
    "callbacks.progress_bar", "callbacks.metrics_file", "callbacks.epoch_table", "callbacks.checkpoints", "callbacks.target",
    "callbacks.early_stopping", "callbacks.prune", "logger.", "resume", "run_dir", "overrides", "name", "evaluate",
    "test_time_flip", "objective", "data.root", "data.download", "data.fallback", "data.workers", "data.eval_batch_size",
    "trainer.max_time",
)  # fmt: skip


# What a setting was before it had a key, wherever the first of the names is one: runs of earlier versions have it too.
_SINCE = {"scheduler.cycle_momentum": {"scheduler.max_momentum": 0.95, "scheduler.base_momentum": 0.85}}


def completed(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by name, with those that have become settings since they were written down."""
    added = [known for name, known in _SINCE.items() if name in settings]
    return {name: value for known in added for name, value in known.items()} | settings


def flat(node: Any, path: str = "") -> dict[str, Any]:
    """A composed configuration as `optimizer.lr` -> 0.1."""
    if isinstance(node, dict):
        return {name: value for key, child in node.items() for name, value in flat(child, f"{path}{key}.").items()}
    return {path.removesuffix("."): node}


def binding(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a composed configuration that a resumed run has to share, by name.

    Of a class its name counts, and not the module, which may have moved since.
    """
    settings = completed(flat(config))
    return {
        key: value.rpartition(".")[2] if key.endswith("._target_") else value
        for key, value in settings.items()
        if not key.startswith((*FREE, "choices."))
    }


def difference(then: dict[str, Any], now: dict[str, Any]) -> str | None:
    """The first of binding settings that differs, as `optimizer.lr=0.1, not 0.2`; None where all agree."""
    for key in sorted({*then, *now}):
        if then.get(key) != now.get(key):
            return f"{key}={then.get(key)}, not {now.get(key)}"
    return None
