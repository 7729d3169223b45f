"""Handing jobs to a launcher: what it must find here, and what its processes inherit."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

from cifar_lit.cli.errors import UsageError
from cifar_lit.cli.jobs import Job
from cifar_lit.cores import cores

_PREFIX = "hydra_plugins."
_ANSWER_SECONDS = 30.0


def check(target: str, choice: str) -> None:
    """Refuse a launcher, a class by its dotted name, whose package or cluster is not here. Raises UsageError."""
    if target.startswith(_PREFIX) and find_spec(target.rpartition(".")[0].rpartition(".")[0]) is None:
        raise UsageError(f"hydra/launcher={choice}: pip install {target.split('.')[1].replace('_', '-')}")
    if target.endswith(".SlurmLauncher"):
        for command in ("sbatch", "sacct"):
            if shutil.which(command) is None:
                raise UsageError(f"hydra/launcher={choice}: there is no {command} here; start the sweep where jobs are submitted")
        # submitit learns from it alone that a job has died, and would wait for ever.
        ask = ["sacct", "--noheader", "--allocations", "--starttime=now"]
        try:
            asked = subprocess.run(ask, check=False, capture_output=True, text=True, timeout=_ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            raise UsageError(f"hydra/launcher={choice}: sacct must tell how jobs end, and has not answered") from None
        if asked.returncode:
            said = (asked.stderr or asked.stdout).strip().splitlines()
            raise UsageError(f"hydra/launcher={choice}: sacct must tell how jobs end, and says: {(said or ['nothing'])[0]}")


class Launches:
    """A launcher, and what the jobs that it was given came to. n_jobs: how many it gets at a time; None for all."""

    def __init__(self, launcher: Launcher, n_jobs: int | None = None) -> None:
        self.launcher, self.n_jobs = launcher, n_jobs
        self.returned: dict[Job, JobReturn] = {}  # of the last try

    def __call__(self, batch: Sequence[Job]) -> None:
        """Launch jobs, and wait for them."""
        size = self.n_jobs or len(batch)
        with _environment(self.n_jobs):
            for start in range(0, len(batch), size):
                part = batch[start : start + size]
                returned = self.launcher.launch([job.arguments() for job in part], initial_job_idx=part[0].number)
                self.returned |= dict(zip(part, returned, strict=True))

    def raise_first(self) -> None:
        """Raise what a job raised that Hydra could not even start."""
        for returned in self.returned.values():
            _ = returned.return_value


@contextmanager
def _environment(n_jobs: int | None) -> Iterator[None]:
    """What processes started meanwhile inherit: where this package is, and their share of the cores."""
    given = {name: os.environ.get(name) for name in ("PYTHONPATH", "OMP_NUM_THREADS")}
    here = str(Path(__file__).parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, given["PYTHONPATH"])))
    if n_jobs is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // n_jobs)))
    try:
        yield
    finally:
        for name, value in given.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
