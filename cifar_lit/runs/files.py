"""The files of a run: what it wrote, found and read again. Knows files only, and imports nothing slow."""

import csv
import json
import math
import os
import re
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from cifar_lit.atomic import writing

SCHEMA = 1  # of summary.json
SUMMARY = "summary.json"
METRICS = "metrics.csv"
BEGUN = ".begun"  # an error after this is a failed run, one before it a refusal
TRIAL = "trial.json"  # which trial of a study a run is
OVERRIDES = Path(".hydra", "overrides.yaml")
ENDED = ("finished", "pruned")  # pruned: a sweep stopped the run early, since others did better
STATUSES = ("finished", "failed", "interrupted", "pruned")
OBJECTIVES = ("val/acc", "val/acc_best", "train/acc")  # of a summary, what a sweep may maximise: never a number of the test
# What tells how a run is carried out rather than what it is: not compared when looking for the run to resume.
NOT_IDENTITY = ("resume=", "hydra.", "hydra/")

GAP = 0.10  # training less test accuracy, from which on a run over-fitted: R1 ended 0.1078 apart, and called it so
REMEDIES = "augment=enhanced, mix=cutmix, loss=label_smoothing, or a higher optimizer.weight_decay or model.dropout"


class Pruned(Exception):
    """The run was stopped, since others of its study did better. What is known of it goes into its summary."""

    def __init__(self, **known: Any) -> None:
        super().__init__()
        self.known = known


def write_summary(run_dir: Path, summary: dict[str, Any]) -> None:
    """Write summary.json, whole or not at all. Adds the schema."""
    if summary["status"] not in STATUSES:
        raise ValueError(f"status {summary['status']!r}: allowed is {', '.join(STATUSES)}")
    with writing(run_dir / SUMMARY) as part:
        part.write_text(json.dumps({"schema": SCHEMA, **_finite(summary)}, indent=2, allow_nan=False) + "\n")


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """A loss that diverged is no number: null, since strict JSON has no NaN."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()}


def begin(run_dir: Path) -> None:
    """All checks are passed. A run that goes on has no result until it ends again."""
    (run_dir / BEGUN).touch()
    (run_dir / SUMMARY).unlink(missing_ok=True)


def read_summary(run_dir: Path) -> dict[str, Any] | None:
    """The summary of a run; None where there is none (killed, or still running) or it cannot be read."""
    try:
        summary = json.loads((run_dir / SUMMARY).read_text())
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) else None


def read_metrics(run_dir: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv, one an epoch; values that were not measured in an epoch are left out.

    A file ends at its first row that cannot be read, or before one without the end of its line, which a power cut tore: half
    of a number is a number, too.
    """
    rows: list[dict[str, float]] = []
    try:
        for row in csv.DictReader(metrics_lines(run_dir)):
            rows.append({name: float(value) for name, value in row.items() if name and value})
    except (OSError, ValueError, csv.Error):
        return rows
    return rows


def metrics_lines(run_dir: Path) -> list[str]:
    """The whole lines of metrics.csv, without their ends. Raises OSError, ValueError for what is no text."""
    return re.split(r"\r?\n", (run_dir / METRICS).read_text())[:-1]


def read_overrides(run_dir: Path) -> list[str] | None:
    """What was typed to start a run, by its record or, where that is lost, its summary; None where neither says it."""
    import yaml  # slow to import, and not needed to read results

    try:
        overrides = _words(run_dir / OVERRIDES)
    except (OSError, ValueError, yaml.YAMLError):
        overrides = (read_summary(run_dir) or {}).get("overrides")
    return [str(item) for item in overrides] if isinstance(overrides, list) else None


def _words(path: Path) -> Any:
    """What a YAML file says, where words are all that matters: for those the fast loader does. A sweep reads many."""
    import yaml  # slow to import, as above

    return yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def is_of(run_dir: Path, overrides: list[str]) -> bool:
    """Whether a directory is that of the run of these overrides."""
    recorded = read_overrides(run_dir)
    return recorded is not None and identity(recorded) == identity(overrides)


def identity(overrides: list[str]) -> list[str]:
    """The overrides that say what a run is, in one order."""
    return sorted(item for item in overrides if not item.startswith(NOT_IDENTITY))


def fingerprint(overrides: list[str]) -> str:
    """A short name of what a run is."""
    return blake2b("\n".join(identity(overrides)).encode(), digest_size=4).hexdigest()


def read_config(run_dir: Path) -> dict[str, Any]:
    """The composed configuration of a run as plain values, with the options chosen as `choices`."""
    from omegaconf import OmegaConf  # slow to import, as above

    try:
        config = OmegaConf.load(run_dir / ".hydra" / "config.yaml")
        chosen = _words(run_dir / ".hydra" / "hydra.yaml")["hydra"]["runtime"]["choices"]
    except OSError:
        return {}
    OmegaConf.resolve(config)
    choices = {name: value for name, value in chosen.items() if not name.startswith("hydra/")}
    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    return {"choices": choices, **plain}


def is_running(run_dir: Path) -> bool:
    """Whether a living process holds the run's lock; nobody is said to where that cannot be found out."""
    path = run_dir / ".lock"
    try:
        return path.is_file() and _is_held(path)
    except OSError:
        return False


def _is_held(path: Path) -> bool:
    """Looks without writing, since the tree may be another user's, and shared, so that two who look do not see each other."""
    try:
        import fcntl  # only Unix has it
    except ImportError:
        from filelock import FileLock, Timeout  # not needed elsewhere

        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True
    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def is_run(path: Path) -> bool:
    """Whether a directory is one run's; one that may not be entered is none."""
    try:
        return (path / OVERRIDES).is_file() or (path / SUMMARY).is_file()
    except PermissionError:
        return False


def run_of(path: Path) -> Path | None:
    """The run directory that a bundle, a checkpoint or the directory itself belongs to."""
    path = path.absolute()
    places = [path, *([path.parent] if path.name == "model" else []), *([path.parent.parent] if path.is_file() else [])]
    return next((place for place in places if path.exists() and is_run(place)), None)


def find(root: Path) -> Iterator[Path]:
    """Every run directory under a root, once, in name order, those behind links last; a run's own folders are not searched."""
    links, seen = [root], set[tuple[int, int]]()
    while links:
        yield from _search(links.pop(0), links, seen)


def _search(root: Path, links: list[Path], seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Adds the links to folders that it comes upon to `links`, and every folder to `seen`: links may lead round in circles."""
    try:
        place = root.stat()
        if (place.st_dev, place.st_ino) in seen:
            return
        seen.add((place.st_dev, place.st_ino))
        if is_run(root):
            yield root
            return
        with os.scandir(root) as entries:
            children = sorted((entry.name, entry.is_symlink()) for entry in entries if entry.is_dir() and entry.name[0] != ".")
    except OSError:
        return
    for name, linked in children:
        if linked:
            links.append(root / name)
        else:
            yield from _search(root / name, links, seen)


def unfinished(folder: Path, overrides: list[str]) -> Path | None:
    """The latest run in a folder with the same overrides, where it did not finish and is not running; else None."""
    wanted = identity(overrides)
    candidates = [path for path in folder.iterdir() if is_run(path)] if folder.is_dir() else []
    for run_dir in sorted(candidates, reverse=True):
        summary = read_summary(run_dir)
        recorded = read_overrides(run_dir)
        if recorded is None or identity(recorded) != wanted or is_running(run_dir):
            continue
        # A run that was refused or failed at once left nothing to go on with.
        failed = summary is not None and summary.get("status") == "failed" and not (run_dir / "checkpoints").is_dir()
        if failed:
            continue
        return None if summary is not None and summary.get("status") == "finished" else run_dir
    return None
