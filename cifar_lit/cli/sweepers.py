"""Our sweepers, and how Hydra comes to know them. Their jobs are carried out by cifar_lit.cli.jobs."""

import logging
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from cifar_lit import runs
from cifar_lit.cli import jobs, launchers, plan, search, sweep_dir
from cifar_lit.cli.errors import UsageError
from cifar_lit.cli.jobs import Job
from cifar_lit.cores import cores

log = logging.getLogger(__name__)

_PREFIX = "hydra_plugins."  # Hydra takes only sweepers so called; its registry says which class that is


class Carried(Sweeper):
    """What our sweepers share: Hydra hands them its launcher and its configuration."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before the sweep."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        launchers.check(str(config.hydra.launcher._target_), config.hydra.runtime.choices["hydra/launcher"])

    def parse(self, typed: list[str]) -> list[Override]:
        """What was typed, by Hydra's grammar."""
        assert self.hydra_context is not None
        return OverridesParser.create(config_loader=self.hydra_context.config_loader).parse_overrides(typed)

    def kinds(self, jobs: Sequence[Sequence[str]]) -> list[list[str]]:
        """One job of each kind, the first: jobs that choose the same options and name the same keys compose alike.

        So a sweep of hundreds of seeds and rates begins as soon as one of two jobs.
        """
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        decides = cache(lambda key: key.lstrip("+") in search.PROCESSES or bool(loader.get_group_options(key)))
        first: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for job in jobs:
            typed = self.parse(list(job))
            kind = tuple((o.get_key_element(), str(o.value()) if decides(o.key_or_group) else "") for o in typed)
            first.setdefault(kind, list(job))
        return list(first.values())

    def composed(self, job: Sequence[str]) -> DictConfig:
        """The configuration of a job. Raises UsageError where it would have several processes."""
        assert self.hydra_context is not None and self.config is not None
        cfg = self.hydra_context.config_loader.load_sweep_config(self.config, list(job))
        for key in search.PROCESSES:
            value = OmegaConf.select(cfg, key)
            if "ddp" in str(value) or (key.endswith("devices") and value not in (1, "1")):
                reason = "each process would start the sweep again; run its jobs one by one"
                raise UsageError(f"{key}={value}: DDP cannot run inside a sweep (-m): {reason}")
        return cfg

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose jobs, each in vain but for what is wrong with it. Raises UsageError."""
        for job in batch:
            self.composed(job)

    def begin(self, left: Callable[[Path], bool]) -> Path:
        """Make the directory of the sweep, and the launcher, which is told of it.

        left: whether a sweep of the same command has jobs left to do.
        """
        assert self.hydra_context is not None and self.config is not None
        sweep_dir.pin(self.config)
        own = sweep_dir.without_password(self.config)
        at_a_time = None
        if own.hydra.launcher._target_.endswith("submitit_launcher.LocalLauncher"):  # starts all at once, and has no such option
            with open_dict(own):
                at_a_time = own.hydra.launcher.pop("n_jobs")
        launcher = Plugins.instance().instantiate_launcher(self.hydra_context, self.task_function, own)
        self.launches = launchers.Launches(launcher, at_a_time)
        return sweep_dir.begin(self.config, left)


class Grid(Carried):
    """Every combination of what was typed; the same command in the same directory goes on with what has not ended.

    params: a search space from a configuration file. max_batch_size: how many jobs the launcher gets at a time.
    """

    def __init__(self, max_batch_size: int | None = None, params: dict[str, str] | None = None) -> None:
        super().__init__()
        if max_batch_size is not None and (not isinstance(max_batch_size, int) or max_batch_size < 1):
            raise UsageError(f"hydra.sweeper.max_batch_size={max_batch_size}: allowed is a whole number from 1, or null for all")
        self.max_batch_size, self.params = max_batch_size, params or {}

    def sweep(self, arguments: list[str]) -> Any:
        """Carry out every combination."""
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # not before Hydra has looked for plugins

        typed = self.parse([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        [combinations] = BasicSweeper.split_arguments(typed, None)
        self.validate_batch_is_legal(self.kinds(combinations))
        folder = self.begin(lambda earlier: any(job.state() != "ended" for job in placed(earlier, combinations)))
        remaining = jobs.unfinished(placed(folder, combinations, take=True))
        launches = self.launches
        size = self.max_batch_size or max(len(remaining), 1)
        for start in range(0, len(remaining), size):
            jobs.carry_out(launches, remaining[start : start + size])
        launches.raise_first()
        return [list(launches.returned.values())]


class Optuna(Carried):
    """Optuna's TPE: each job is a trial, which maximises the number of validation that `objective` names.

    n_trials: how many in all, over every process and re-run. n_jobs: how many the launcher gets at a time. storage: a
    SQLAlchemy URL; null is study.db in the sweep's directory. study_name: binds the processes that share a storage.
    seed, sampler: of optuna.samplers.TPESampler. params: a search space from a configuration file.
    """

    def __init__(
        self,
        n_trials: int,
        n_jobs: int = 1,
        storage: str | None = None,
        study_name: str | None = None,
        seed: int = 0,
        sampler: dict[str, Any] | None = None,
        params: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(n_trials, int) or n_trials < 1:
            raise UsageError(f"hydra.sweeper.n_trials={n_trials}: allowed is a whole number from 1")
        if storage is not None and study_name is None:
            raise UsageError("hydra.sweeper.storage may hold many studies: give hydra.sweeper.study_name=... too")
        self.n_trials, self.n_jobs = n_trials, n_jobs if n_jobs > 0 else cores()
        self.storage, self.study_name, self.seed = storage, study_name, seed
        self.options, self.params = dict(sampler or {}), params or {}

    def sweep(self, arguments: list[str]) -> Any:
        """Carry out the trials that are left."""
        fixed, free = search.space(self.parse([*(f"{key}={value}" for key, value in self.params.items()), *arguments]))
        if not free:
            raise UsageError("hydra/sweeper=optuna has nothing to search: type e.g. optimizer.lr='interval(1e-4,1e-1)'")
        search.refuse_seeds(free)
        for probe in search.probes(fixed, free):
            search.check(self.composed(probe))
        try:
            from cifar_lit.cli import studies  # Optuna is wanted nowhere else
        except ModuleNotFoundError as error:
            raise UsageError(f"hydra/sweeper=optuna needs {error.name}: pip install 'optuna>=4.5,<6'") from error
        folder = self.begin(lambda earlier: ended(earlier) < self.n_trials)
        sampler = studies.SeededTPE(self.seed, **self.options)
        book = studies.Book(self.storage, self.study_name or folder.name, folder, sampler)
        launches = self.launches
        try:
            book.try_failed_again()
            while trials := book.take(self.n_jobs, self.n_trials, studies.distributions(free)):
                batch = [book.job(trial, fixed) for trial in trials]
                jobs.carry_out(launches, jobs.unfinished(batch))
                for trial, job in zip(trials, batch, strict=True):
                    book.settle(trial, job)
            log.info("%s", book.words())
        finally:
            book.close()
        launches.raise_first()
        return [list(launches.returned.values())]


def ended(folder: Path) -> int:
    """How many runs under a directory have ended."""
    return sum((runs.read_summary(path) or {}).get("status") in runs.ENDED for path in runs.find(folder))


def placed(folder: Path, combinations: Sequence[Sequence[str]], *, take: bool = False) -> list[Job]:
    """The jobs of a sweep, each in its directory. take: as plan.job_dirs has it."""
    names = plan.job_dirs(folder, combinations, take=take)
    return [Job(n, tuple(typed), folder / name) for n, (typed, name) in enumerate(zip(combinations, names, strict=True))]


def register(conf: Path) -> None:
    """Make the sweepers known to Hydra: Grid in place of its own; and the files of conf/hydra/ in place of plugins' nodes."""
    plugins = Plugins.instance()  # the first use finds all plugins, which store nodes of their own
    for sweeper in (Grid, Optuna):
        plugins.register(sweeper)
        plugins.class_name_to_class[f"{_PREFIX}{sweeper.__module__}.{sweeper.__name__}"] = sweeper
    store = ConfigStore.instance()
    grid = {"_target_": f"{_PREFIX}{Grid.__module__}.Grid", "max_batch_size": None, "params": None}
    store.store(group="hydra/sweeper", name="basic", node=grid, provider="cifar_lit")
    for path in conf.glob("hydra/*/*.yaml"):  # else Hydra takes the nodes for schemas of the files, and warns
        store.repo["hydra"].get(path.parent.name, {}).pop(path.name, None)
