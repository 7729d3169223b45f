"""Which directory each job of a sweep has: the same one in every process and every re-run, and no other job's."""

import json
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from cifar_lit import runs
from cifar_lit.atomic import writing

PLAN, _LOCK = ".jobs.json", ".jobs.lock"


def job_dirs(sweep_dir: Path, combinations: Sequence[Sequence[str]], first: int = 0, *, take: bool = False) -> list[str]:
    """The names of jobs' directories. A job that has one keeps it; else it is its number, unless that is another job's.

    take: they are these jobs' from now on, whoever else plans a sweep in the same place, now or before any of them begins.
    """
    if not take:
        return _named(_taken(sweep_dir), combinations, first)
    with FileLock(sweep_dir / _LOCK):
        taken = _taken(sweep_dir)
        known = len(taken)
        names = _named(taken, combinations, first)
        if len(taken) > known:
            with writing(sweep_dir / PLAN) as part:
                part.write_text(json.dumps(taken) + "\n")
    return names


def _taken(sweep_dir: Path) -> dict[str, list[str]]:
    """What each directory is for. What was run in one says more than what was planned for it."""
    try:
        planned = dict(json.loads((sweep_dir / PLAN).read_text()))
    except (OSError, ValueError, TypeError):
        planned = {}
    recorded = {path.name: runs.read_overrides(path) or [] for path in sweep_dir.iterdir() if runs.is_run(path)}
    return planned | {name: runs.identity(overrides) for name, overrides in recorded.items()}


def _named(taken: dict[str, list[str]], combinations: Sequence[Sequence[str]], first: int) -> list[str]:
    """Adds to `taken` what was not."""
    known = {tuple(own): name for name, own in sorted(taken.items(), reverse=True)}  # of two, the first keeps the job
    names = []
    for number, overrides in enumerate(combinations, first):
        own = runs.identity(list(overrides))
        if tuple(own) not in known:
            name = str(number) if str(number) not in taken else f"{number}-{runs.fingerprint(own)}"
            known[tuple(own)], taken[name] = name, own
        names.append(known[tuple(own)])
    return names
