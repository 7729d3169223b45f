"""The end of a sweep: a table of all its jobs, and the exit status."""

import logging
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from cifar_lit import runs
from cifar_lit.cli import attempts, errors, repeat
from cifar_lit.cli.quoting import argument

log = logging.getLogger(__name__)

_ELSEWHERE = "running elsewhere"  # by a process of another sweep: this one has waited for the end of its own jobs


class SweepTable(Callback):
    """Closes a sweep with a row a job; exits with 1 where any job did not finish."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        jobs = sorted(runs.find(folder), key=lambda path: (len(path.name), path.name))
        rows = [(path, _result(path)) for path in jobs]
        failed = any(summary.get("status") not in (*runs.ENDED, _ELSEWHERE) for _, summary in rows)
        try:
            _say(folder, rows)
        except Exception as error:  # Hydra makes a warning of it, and of the sweep a success
            log.warning("The table of the sweep could not be drawn: %s", errors.one_line(error))
        if failed:
            print(f"\nRun what has not finished: the same command, with {argument('hydra.sweep.dir', folder)}", flush=True)
            sys.exit(1)


def _result(path: Path) -> dict[str, Any]:
    running = runs.is_running(path)  # before its result is looked for, which it may be about to write
    return runs.read_summary(path) or {"status": _ELSEWHERE if running else "killed"}


def _say(folder: Path, rows: list[tuple[Path, dict[str, Any]]]) -> None:
    if rows:  # none where other processes have carried out every trial of a study
        _print(folder, rows)
    seeds = repeat.over_seeds([summary for _, summary in rows])
    if seeds:
        repeat.write(folder, seeds)
        _print_seeds(folder, seeds)


def _print(folder: Path, rows: list[tuple[Path, dict[str, Any]]]) -> None:
    from rich.console import Console  # wanted once, at the end of a sweep
    from rich.table import Table
    from rich.text import Text  # for all that is typed: in a plain string rich takes [...] for its own

    typed = {path: summary.get("overrides") or runs.read_overrides(path) or [] for path, summary in rows}
    common = [item for item in next(iter(typed.values()), []) if len(rows) > 1 and all(item in items for items in typed.values())]
    caption = Text(f"all with {' '.join(common)}") if common else None
    table = Table(title=Text(f"Sweep {folder}"), caption=caption, title_justify="left")
    for name in ("job", "varied", "status"):
        table.add_column(name)
    for name in ("train", "val", "test", "gap", "train time"):
        table.add_column(name, justify="right")
    for path, summary in rows:
        status = summary["status"] + _tries(path, summary) + (f": {summary['error']}" if summary.get("error") else "")
        scores = [summary.get(key) for key in ("train/acc", "val/acc", "test/acc", "gap")]
        seconds = summary.get("train_seconds")
        table.add_row(
            Text(path.name),
            Text(" ".join(item for item in typed[path] if item not in common)),
            Text(status),
            *("-" if score is None else f"{100 * score:.2f}" for score in scores),
            "-" if seconds is None else f"{seconds:,.1f} s",
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _tries(path: Path, summary: dict[str, Any]) -> str:
    failures = attempts.failures(path)
    if not failures:
        return ""
    return f" after {failures} tries" if summary["status"] not in runs.ENDED else f" in try {failures + 1}"


def _print_seeds(folder: Path, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console  # as above
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"Over seeds: mean and standard deviation ({folder / repeat.FILE})"), title_justify="left")
    table.add_column("setting")
    for name in ("seeds", "val", "test", "lowest test", "prepare", "compile", "train", "fit"):
        table.add_column(name, justify="right")
    for row in rows:
        own = [item for item in row["overrides"] if not all(item in other["overrides"] for other in rows)]
        spread = {name: f"{100 * s['mean']:.2f} ± {100 * s['std']:.2f}" for name, s in row.items() if name.endswith("/acc")}
        times = {name: f"{s['mean']:,.1f} s" for name, s in row.items() if name.endswith("_seconds")}
        lowest = f"{100 * row['test/acc']['min']:.2f}" if "test/acc" in row else "-"
        table.add_row(
            Text(" ".join(own) or "all of them"),
            str(row["runs"]),
            *(spread.get(name, "-") for name in ("val/acc", "test/acc")),
            lowest,
            *(times.get(f"{name}_seconds", "-") for name in ("prepare", "compile", "train", "fit")),
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)
