"""Optuna's studies: opened, sampled so that a resumed study goes on as it would have, and their trials told apart."""

import json
import logging
import os
import platform
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf
from optuna import Study, create_study, exceptions
from optuna import logging as optuna_logging
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError, ProgrammingError

from cifar_lit import runs
from cifar_lit.cli import plan
from cifar_lit.cli.errors import UsageError
from cifar_lit.cli.jobs import Job
from cifar_lit.cli.search import Choice, Dimension, Steps
from cifar_lit.cli.sweep_dir import redacted

# What to install, by the module that SQLAlchemy lacks.
_DRIVERS = {
    "psycopg": "pip install 'psycopg[binary]'",
    "psycopg2": "pip install psycopg2-binary",
    "pymysql": "pip install pymysql",
    "MySQLdb": "pip install pymysql, and begin the address with mysql+pymysql://",
}
log = logging.getLogger(__name__)

_ASKING_SECONDS = 60.0  # longer than it takes to ask for a trial


class SeededTPE(BaseSampler):
    """TPE, whose draws for a trial depend on the seed, the trial's number and what was told before: on no process.

    One generator for a whole process would repeat its first draws whenever a study is resumed.
    """

    def __init__(self, seed: int, **options: Any) -> None:
        self._seed, self._options = seed, {"multivariate": True, "constant_liar": True} | options

    def _for(self, *what: Any) -> TPESampler:
        digest = blake2b(repr((self._seed, *what)).encode(), digest_size=4).digest()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", exceptions.ExperimentalWarning)  # multivariate and constant_liar, up to Optuna 4
            return TPESampler(seed=int.from_bytes(digest, "big"), **self._options)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._for(trial.number).infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        return self._for(trial.number).sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        return self._for(trial.number, param_name).sample_independent(study, trial, param_name, param_distribution)


def distributions(free: dict[str, Dimension]) -> dict[str, BaseDistribution]:
    """The dimensions as Optuna has them."""
    return {key: _distribution(dimension) for key, dimension in free.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    whole = all(isinstance(value, int) for value in vars(dimension).values())  # log is a bool, and so an int
    kind: Any = IntDistribution if whole else FloatDistribution
    if isinstance(dimension, Steps):
        return kind(dimension.low, dimension.high, step=dimension.step)
    return kind(dimension.low, dimension.high, log=dimension.log)


class Book:
    """The trials of one study that one process carries out in one sweep directory, among others that may do the same.

    A trial belongs to the process that asked for it, which holds a lock in the sweep's directory while it lives. What a
    dead one left there is taken over as it is: the same trial, in the same directory. Trials of other directories, which may
    be on other machines, are left to who resumes them there. Without a storage the study is study.db in that directory, and
    no other directory's.
    """

    def __init__(self, storage: str | None, name: str, folder: Path, sampler: BaseSampler) -> None:
        optuna_logging.set_verbosity(optuna_logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.url, self.shared = storage or f"sqlite:///{folder.resolve() / 'study.db'}", storage is not None
        patience = {"connect_args": {"timeout": 60}} if self.url.startswith("sqlite") else {"pool_pre_ping": True}
        self.folder = folder
        self.unowned: dict[int, float] = {}  # when this process first saw each, by its own clock
        self.rows = _opened(self.url, patience)
        self.study = create_study(storage=self.rows, study_name=name, sampler=sampler, direction="maximize", load_if_exists=True)
        self.owners = folder / ".owners"
        self.owners.mkdir(exist_ok=True)
        self.own = f"{platform.node()}-{os.getpid()}-{os.urandom(4).hex()}"
        self.living = FileLock(self.owners / self.own)
        self.living.acquire()

    def close(self) -> None:
        """This process carries out no more trials."""
        self.living.release()
        self.rows.engine.dispose()

    def trials(self) -> list[FrozenTrial]:
        """The trials that make up the study: not those given back, nor those that were begun anew under another number."""
        found = self.study.get_trials(deepcopy=False)
        again = {trial.user_attrs.get("again") for trial in found}
        return [trial for trial in found if "void" not in trial.user_attrs and trial.number not in again]

    def try_failed_again(self) -> None:
        """Enqueue what failed in this directory: the same parameters, in the directory that it has."""
        for trial in self.trials():
            if trial.state == TrialState.FAIL and (self.owners / trial.user_attrs.get("owner", "")).is_file():
                again = {"again": trial.number, "folder": trial.user_attrs["folder"]}
                self.study.enqueue_trial(trial.params, user_attrs=again)

    def take(self, wanted: int, limit: int, space: dict[str, BaseDistribution]) -> list[FrozenTrial]:
        """The next trials: those that a dead process left; else up to `wanted` new ones, `limit` in all.

        Where there is none, but another process seems to be asking for one just now, it waits to see whether that process
        comes to own it, a minute at most: should it have died, the study would end one trial short.
        """
        with FileLock(self.folder / ".study.lock"):
            waiting = False
            while True:
                for trial in self._running():
                    if "owner" not in trial.user_attrs:
                        self._settle_unowned(trial, space)
                left = [trial for trial in self._running() if self._is_left(trial, space)]
                for trial in left:
                    self._mark(trial._trial_id, owner=self.own)
                taken = left or self._ask(wanted, limit, space)
                if taken or all("owner" in trial.user_attrs for trial in self._running()):
                    return taken
                if not waiting:
                    log.info("Waiting for a trial that another process is asking for, %.0f s at most", _ASKING_SECONDS)
                waiting = True
                time.sleep(0.5)

    def _running(self) -> list[FrozenTrial]:
        return [trial for trial in self.trials() if trial.state == TrialState.RUNNING]

    def _settle_unowned(self, trial: FrozenTrial, space: dict[str, BaseDistribution]) -> None:
        """A trial whose process is asking for it just now, or died while it did.

        In a directory's own study only who holds its lock asks: that one died, and the next to ask gets its trial. In a
        shared one time must tell, by this process's clock: others may have another.
        """
        since = self.unowned.setdefault(trial._trial_id, time.monotonic())
        if not self.shared and trial.params.keys() <= space.keys():
            self.rows.set_trial_state_values(trial._trial_id, TrialState.WAITING)
        elif not self.shared:
            self._void(trial._trial_id, "of another search space")
        elif time.monotonic() - since > _ASKING_SECONDS:
            with suppress(exceptions.UpdateFinishedTrialError):  # others do this at the same time
                self._void(trial._trial_id, "not begun")

    def _ask(self, wanted: int, limit: int, space: dict[str, BaseDistribution]) -> list[FrozenTrial]:
        batch: list[FrozenTrial] = []
        while len(batch) < wanted:
            known = self.trials()
            if len(known) >= limit and not any(trial.state == TrialState.WAITING for trial in known):
                break
            trial = self.study.ask(fixed_distributions=space)
            # Another machine may have asked at the same time: of too many, the last ones are given back.
            if sum(other.number < trial.number for other in self.trials()) >= limit and "again" not in trial.user_attrs:
                self._void(trial._trial_id, "one too many")
                break
            self._mark(trial._trial_id, owner=self.own)
            batch.append(self.study.get_trials(deepcopy=False)[trial.number])
        return batch

    def _is_left(self, trial: FrozenTrial, space: dict[str, BaseDistribution]) -> bool:
        owner = trial.user_attrs.get("owner")
        if owner is None:
            return False
        lock = self.owners / owner
        if owner == self.own or not lock.is_file():
            return False
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout:
            return False
        if trial.params.keys() != space.keys():
            self._void(trial._trial_id, "of another search space")
            return False
        return True

    def _void(self, trial_id: int, why: str) -> None:
        self._mark(trial_id, void=why)
        self.rows.set_trial_state_values(trial_id, TrialState.FAIL)

    def _mark(self, trial_id: int, **marks: Any) -> None:
        for name, value in marks.items():
            self.rows.set_trial_user_attr(trial_id, name, value)

    def job(self, trial: FrozenTrial, fixed: Sequence[str]) -> Job:
        """The job of a trial, whose directory says which trial it is (callbacks=prune asks)."""
        overrides = [*fixed, *(f"{key}={value}" for key, value in trial.params.items())]
        name = trial.user_attrs.get("folder")
        if name is None or Job(trial.number, tuple(overrides), self.folder / name).is_lost():  # what is fixed may be new
            # Of two trials with the same parameters, the second is the first: its result is known.
            name = plan.job_dirs(self.folder, [overrides], trial.number, take=True)[0]
        self._mark(trial._trial_id, folder=name)
        job = Job(trial.number, tuple(overrides), self.folder / name)
        job.folder.mkdir(exist_ok=True)
        path = job.folder / runs.TRIAL
        path.touch(mode=0o600)  # the address of a storage may hold a password
        about = {"storage": self.url, "study": self.study.study_name, "trial_id": trial._trial_id}
        path.write_text(json.dumps(about) + "\n")
        return job

    def settle(self, trial: FrozenTrial, job: Job) -> None:
        """Tell the study what came of a trial. One that was interrupted stays as it is, for the next time."""
        summary = runs.read_summary(job.folder) or {}
        state = job.state()
        value = summary.get(_objective(job.folder)) if state == "ended" else None
        if summary.get("status") == "pruned":
            self.study.tell(trial.number, state=TrialState.PRUNED)
        elif value is not None:
            self.study.tell(trial.number, value)
        elif state != "interrupted":
            self.study.tell(trial.number, state=TrialState.FAIL)

    def words(self) -> str:
        """The best trial, among how many."""
        found = self.trials()
        count = {state: sum(trial.state == state for trial in found) for state in TrialState}
        done = count[TrialState.COMPLETE]
        many = f"{done} finished, {count[TrialState.PRUNED]} pruned, {count[TrialState.FAIL]} failed"
        if not done:
            return f"Study {self.study.study_name}: {many}"
        best = self.study.best_trial
        chosen = " ".join(f"{key}={value}" for key, value in best.params.items())
        return f"Study {self.study.study_name}: {many}; best {best.value:.4f} by trial {best.number}: {chosen}"


def _opened(url: str, patience: dict[str, Any]) -> RDBStorage:
    """The storage; where several processes make its tables at once, all but one of them fail, and find the tables later."""
    for seconds in (0.5, 1.0, 2.0, 4.0):
        try:
            return RDBStorage(url, engine_kwargs=patience)
        except ImportError as error:
            lacking = getattr(error.__cause__, "name", None) or str(error.__cause__ or error)
            advice = _DRIVERS.get(lacking, f"install {lacking}")
            raise UsageError(f"hydra.sweeper.storage={redacted(url)} needs a driver: {advice}") from error
        except ArgumentError as error:
            given = f"hydra.sweeper.storage={redacted(url)}: no address of a database that SQLAlchemy knows"
            raise UsageError(f"{given}; type e.g. postgresql://user:password@host/name") from error
        except (IntegrityError, OperationalError, ProgrammingError):
            time.sleep(seconds)
    return RDBStorage(url, engine_kwargs=patience)


def _objective(folder: Path) -> str:
    return str(OmegaConf.load(folder / ".hydra" / "config.yaml").objective)
