"""The jobs of a sweep, carried out by whatever launcher: none that ended is run again, one that fails or dies once more."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cifar_lit import runs
from cifar_lit.cli import attempts
from cifar_lit.cli.errors import UsageError
from cifar_lit.cli.quoting import quoted

log = logging.getLogger(__name__)

_AGAIN = ("died", "failed", "interrupted")  # the states of a job that is tried once more
_LOOK_SECONDS = 0.5  # how often to look whether another process has let go of a job


@dataclass(frozen=True)
class Job:
    """One job: what is typed for it, and the directory that is its own in every process and every re-run of the sweep."""

    number: int
    overrides: tuple[str, ...]
    folder: Path

    def arguments(self) -> list[str]:
        """What Hydra is told: the directory too, so that any part of a sweep can be launched, in any order, at any time."""
        place = {"hydra.sweep.dir": self.folder.parent, "hydra.sweep.subdir": self.folder.name}
        return [*self.overrides, *(f"{key}={quoted(value)}" for key, value in place.items())]

    def is_lost(self) -> bool:
        """Whether the directory is another job's, whose results are not this one's."""
        return runs.is_run(self.folder) and not runs.is_of(self.folder, list(self.overrides))

    def state(self) -> str:
        """ended; or new, if it has not begun in this launch; else interrupted, refused (misconfigured), failed or died."""
        if not runs.is_of(self.folder, list(self.overrides)):
            return "new"
        status = (runs.read_summary(self.folder) or {}).get("status")
        if status in runs.ENDED:
            return "ended"
        if not (self.folder / attempts.STARTED).exists():
            return "new"
        if status == "failed":
            return "failed" if (self.folder / runs.BEGUN).exists() else "refused"
        return "died" if status is None else str(status)


Launch = Callable[[Sequence[Job]], None]


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """The jobs that have not ended, each once; the others are named."""
    left: dict[Path, Job] = {}
    for job in jobs:
        if job.state() == "ended":
            log.info("Finished before, not run again: %s", job.folder)
        else:
            left.setdefault(job.folder, job)
    return list(left.values())


def carry_out(launch: Launch, jobs: Sequence[Job]) -> None:
    """Run jobs to their ends, all together; then those that failed, died, were stopped or left out once more, each alone.

    A process that dies may take others with it (joblib stops all its workers): who of them is at fault shows only when
    each runs alone. Those that had not begun go on together. Raises what the launcher raises before any job began.
    """
    alone: list[Job] = []
    waiting = list(jobs)
    while waiting:
        broken, waited = _launch(launch, waiting)
        states = {job: job.state() for job in waiting}
        if broken is not None and all(state == "new" for state in states.values()):
            raise broken
        died = [job for job, state in states.items() if state == "died"]
        for job, state in states.items():
            if job not in waited:
                _note(job, state, broken)
            first = attempts.failures(job.folder) < attempts.LIMIT
            among_others = state == "died" and len(died) > 1
            left_out = state == "new" and (job in waited or broken is None)
            if among_others or (first and state in _AGAIN) or left_out:
                alone.append(job)
        waiting = [job for job, state in states.items() if state == "new" and job not in waited] if broken else []
        _report([job for job in died if job not in alone])
    for job in alone:
        _carry_out_alone(launch, job)
    lost = [job.folder for job in jobs if job.is_lost()]
    if lost:
        raise UsageError(f"{lost[0]} has become another job's: the same command once more, and this one gets another")


def _carry_out_alone(launch: Launch, job: Job) -> None:
    while True:
        log.info("Once more: %s", job.folder)
        broken, waited = _launch(launch, [job])
        state = job.state()
        if broken is not None and state == "new":
            raise broken
        if not waited:
            _note(job, state, broken)
        elif state == "new":  # who held it has not carried it out
            continue
        if state not in _AGAIN or attempts.failures(job.folder) >= attempts.LIMIT:
            _report([job])
            return


def _launch(launch: Launch, jobs: Sequence[Job]) -> tuple[Exception | None, list[Job]]:
    """Launch jobs; returns what the launcher raised, and the jobs that other processes held (now they do no longer)."""
    for job in jobs:
        if not (runs.is_running(job.folder) or job.is_lost()):
            (job.folder / attempts.STARTED).unlink(missing_ok=True)
    broken = None
    try:
        launch(jobs)
    except Exception as error:  # each launcher has its own for a process that died
        log.warning("%s: %s", type(error).__name__, " ".join(str(error).split()) or "no reason given")
        broken = error
    held = [job for job in jobs if job.state() in ("new", "died") and runs.is_running(job.folder) and not job.is_lost()]
    for job in held:
        log.info("Waiting for another process, which runs %s", job.folder)
        while runs.is_running(job.folder):
            time.sleep(_LOOK_SECONDS)
    return broken, held


def _note(job: Job, state: str, broken: Exception | None) -> None:
    """A try of ours that came to nothing, where the job has not noted it itself: none was made by a sweep that is stopped."""
    if state == "died":
        attempts.note(job.folder, f"its process died ({type(broken).__name__})" if broken is not None else "its process died")
    elif state == "interrupted":
        attempts.note(job.folder, "its process was told to stop")


def _report(jobs: Sequence[Job]) -> None:
    """A process that died, or was never there, could not say so: its result is written for it."""
    for job in jobs:
        state = job.state()
        if state == "new" and not job.is_lost():
            job.folder.mkdir(parents=True, exist_ok=True)
            line = "its launcher came back, and it had not begun"
            runs.write_summary(job.folder, {"overrides": list(job.overrides), "status": "failed", "error": line})
        elif state == "died":
            tries = attempts.failures(job.folder)
            line = f"its process died, {tries} tries in all: killed, or out of memory? what it said last is in train.log"
            known = {"overrides": list(job.overrides)} | attempts.read_start(job.folder)
            runs.write_summary(job.folder, known | {"status": "failed", "error": line, "attempts": tries})
