"""hydra/sweeper=optuna: the search space as typed, studies that go on where they were, trials that are never repeated."""

import json
import os
import re
import signal
import sys
import time
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna import create_study, load_study
from optuna.trial import TrialState
from running import TINY, TRAIN, Process

from cifar_lit import runs
from cifar_lit.cli import attempts, search, studies
from cifar_lit.cli.errors import UsageError
from cifar_lit.cli.repeat import expanded
from cifar_lit.cli.search import Choice, Interval, Steps
from cifar_lit.cli.sweep_dir import redacted
from cifar_lit.cli.sweepers import Optuna

SPACE = ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "model.dropout=choice(0,0.1,0.3)"]
SEARCH = ["-m", "hydra/sweeper=optuna", *TINY, "trainer.max_epochs=1", *SPACE]


def parsed(*typed):
    return search.space(OverridesParser.create().parse_overrides(list(typed)))


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("a=interval(1e-4,1e-1)", Interval(1e-4, 1e-1)),
        ("a=tag(log, interval(1e-4, 1e-1))", Interval(1e-4, 1e-1, log=True)),
        ("a=int(interval(1,5))", Interval(1, 5)),
        ("a=interval(1,5)", Interval(1.0, 5.0)),
        ("a=range(1,10,3)", Steps(1, 7, 3)),
        ("a=range(0,1,0.25)", Steps(0.0, 0.75, 0.25)),
        ("a=choice(0,0.1,x)", Choice(("0", "0.1", "x"))),
        ("a=1,2", Choice(("1", "2"))),
        ("a=choice([1,2],[3])", Choice(("[1,2]", "[3]"))),
    ],
)
def test_hydras_grammar(typed, expected):
    assert parsed("b=1", "model=resnet8", typed) == (["b=1", "model=resnet8"], {"a": expected})


def test_of_a_key_typed_twice_the_last_counts():
    assert parsed("a=1,2", "a=3") == (["a=3"], {})
    assert parsed("a=3", "a=1,2") == ([], {"a": Choice(("1", "2"))})


@pytest.mark.parametrize("typed", ["a=glob(*)", "a=interval(2,1)", "a=tag(log,interval(0,1))", "a=range(3,3)"])
def test_what_is_no_search_space(typed):
    with pytest.raises(UsageError, match=re.escape(typed)):
        parsed(typed)


def test_whole_numbers_stay_whole_and_ends_are_within():
    space = studies.distributions(
        {"a": Steps(1, 7, 3), "b": Interval(1, 5), "c": Interval(1.0, 5.0), "d": Steps(0.0, 0.75, 0.25)}
    )
    study = create_study(sampler=studies.SeededTPE(0))
    seen = [study.ask(space).params for _ in range(60)]
    assert {params["a"] for params in seen} == {1, 4, 7}
    assert {params["b"] for params in seen} == {1, 2, 3, 4, 5}
    assert {params["d"] for params in seen} == {0.0, 0.25, 0.5, 0.75}
    assert all(isinstance(params["c"], float) for params in seen)


FREE = {"x": Interval(0.0, 1.0), "y": Interval(0.0, 1.0)}


def told(study, count):
    for _ in range(count):
        trial = study.ask(studies.distributions(FREE))
        study.tell(trial, -((trial.params["x"] - 0.7) ** 2) - (trial.params["y"] - 0.2) ** 2)
    return [tuple(trial.params.values()) for trial in study.trials]


def test_a_resumed_study_goes_on_as_it_would_have(tmp_path):
    """A new process for every few trials, or one for all: the same trials. Optuna's own repeats itself."""
    whole = told(create_study(direction="maximize", sampler=studies.SeededTPE(3, n_startup_trials=5)), 18)
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    create_study(direction="maximize", storage=storage, study_name="s")
    for _ in range(6):
        parts = told(load_study(study_name="s", storage=storage, sampler=studies.SeededTPE(3, n_startup_trials=5)), 3)
    assert parts == whole
    assert len(set(whole)) == 18
    assert all(x != y for x, y in whole), "each dimension has draws of its own"
    assert told(create_study(direction="maximize", sampler=studies.SeededTPE(4)), 3) != whole[:3]


def test_it_searches(tmp_path):
    """After its random trials it is nearer to the best than they were."""
    found = told(create_study(direction="maximize", sampler=studies.SeededTPE(0)), 60)
    far = [abs(x - 0.7) + abs(y - 0.2) for x, y in found]
    assert sum(far[-20:]) / 20 < 0.5 * sum(far[:10]) / 10


@pytest.fixture
def opened(tmp_path):
    books = []

    def book(name="s", folder="sweep", storage=None):
        (tmp_path / folder).mkdir(exist_ok=True)
        url = storage or f"sqlite:///{tmp_path / 'study.db'}"
        books.append(studies.Book(url, name, tmp_path / folder, studies.SeededTPE(0)))
        return books[-1]

    yield book
    for each in books:
        each.close()


DISTRIBUTIONS = studies.distributions(FREE)


def finish(book, trial, status="finished", **more):
    """What a job leaves behind."""
    job = book.job(trial, ["model=resnet8"])
    (job.folder / ".hydra").mkdir(exist_ok=True)
    (job.folder / ".hydra" / "config.yaml").write_text("objective: val/acc\n")
    attempts.start(job.folder, {})
    (job.folder / runs.BEGUN).touch()
    if status:
        runs.write_summary(job.folder, {"status": status, "val/acc": 0.5, **more})
    return job


def states(book):
    return [trial.state.name for trial in book.study.trials]


@pytest.mark.parametrize(
    ("status", "state"), [("finished", "COMPLETE"), ("pruned", "PRUNED"), ("failed", "FAIL"), ("interrupted", "RUNNING")]
)
def test_what_a_trial_came_to(opened, status, state):
    book = opened()
    [trial] = book.take(1, 9, DISTRIBUTIONS)
    book.settle(trial, finish(book, trial, status))
    assert states(book) == [state]


def test_a_result_that_is_no_number_has_failed(opened):
    book = opened()
    [trial] = book.take(1, 9, DISTRIBUTIONS)
    book.settle(trial, finish(book, trial, "finished", **{"val/acc": float("nan")}))
    assert states(book) == ["FAIL"]


def test_trials_end_at_the_number_asked_for(opened):
    book = opened()
    assert len(book.take(2, 3, DISTRIBUTIONS)) == 2
    assert len(book.take(2, 3, DISTRIBUTIONS)) == 1
    assert book.take(2, 3, DISTRIBUTIONS) == []


def test_several_processes_share_a_study_and_no_trial(opened):
    one, other, elsewhere = opened(), opened(), opened(folder="another_machine")
    taken = [trial.number for book in (one, other, elsewhere) for trial in book.take(2, 5, DISTRIBUTIONS)]
    assert taken == [0, 1, 2, 3, 4]
    assert len({tuple(trial.params.values()) for trial in one.study.trials}) == 5


def test_one_too_many_is_given_back(opened, monkeypatch):
    """Another machine asked between the count and the question."""
    one, other = opened(), opened(folder="another_machine")
    ask = one.study.ask

    def slow(**options):
        other.study.ask(fixed_distributions=DISTRIBUTIONS)
        return ask(**options)

    monkeypatch.setattr(one.study, "ask", slow)
    assert one.take(1, 1, DISTRIBUTIONS) == []
    assert [trial.number for trial in one.trials()] == [0]


def test_what_a_dead_process_left_is_taken_over(opened):
    dead, elsewhere = opened(), opened(folder="another_machine")
    [trial] = dead.take(1, 2, DISTRIBUTIONS)
    elsewhere.take(1, 2, DISTRIBUTIONS)
    job = finish(dead, trial, status=None)
    living = opened()
    assert living.take(1, 2, DISTRIBUTIONS) == [], "its process lives"
    dead.close()
    [again] = living.take(1, 2, DISTRIBUTIONS)
    assert (again.number, again.params) == (trial.number, trial.params)
    assert living.job(again, ["model=resnet8"]).folder == job.folder
    assert living.take(1, 2, DISTRIBUTIONS) == []
    elsewhere.close()
    assert living.take(1, 2, DISTRIBUTIONS) == [], "another machine's trials are its own"


def test_what_died_while_it_was_asked_for_does_not_count(opened, monkeypatch):
    book = opened()
    book.study.ask(fixed_distributions=DISTRIBUTIONS)
    assert len(book.take(9, 3, DISTRIBUTIONS)) == 2, "it may be another process that is asking now"

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(minutes=2)

    monkeypatch.setattr(studies, "datetime", Later)
    assert len(book.take(9, 3, DISTRIBUTIONS)) == 1
    assert [trial.number for trial in book.trials()] == [1, 2, 3]


def test_what_failed_is_tried_again_in_its_directory_by_the_next_command(opened):
    book = opened()
    [trial] = book.take(1, 1, DISTRIBUTIONS)
    job = finish(book, trial, "failed")
    book.settle(trial, job)
    assert book.take(1, 1, DISTRIBUTIONS) == [], "not within the same command"
    book.close()
    again = opened()
    again.try_failed_again()
    [second] = again.take(1, 1, DISTRIBUTIONS)
    assert second.params == trial.params
    assert again.job(second, ["model=resnet8"]).folder == job.folder
    again.settle(second, finish(again, second))
    again.try_failed_again()
    assert again.take(1, 1, DISTRIBUTIONS) == []
    assert [trial.number for trial in again.trials()] == [1]


def test_the_address_of_a_storage_is_for_its_owner_alone(opened):
    book = opened()
    [trial] = book.take(1, 1, DISTRIBUTIONS)
    path = book.job(trial, []).folder / runs.TRIAL
    assert path.stat().st_mode & 0o077 == 0
    assert json.loads(path.read_text())["study"] == "s"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_trials": 0}, "n_trials=0: allowed is"),
        ({"n_trials": 1, "storage": "sqlite:///x.db"}, "give hydra.sweeper.study_name"),
    ],
)
def test_refusals(options, words):
    with pytest.raises(UsageError, match=words):
        Optuna(**options)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["seed=1"], "nothing to search"),
        (["optimizer.lrr=interval(0,1)"], "optimizer.lrr: no such key"),
        (["optimizer.lr=interval(0,1)", "hydra.sweeper.n_trials=0"], "n_trials=0"),
        (["optimizer.lr=glob(*)"], "takes choice, range and interval"),
        (["optimizer.lr=interval(0,1)", "experiment=ft3"], "add data.validation=holdout"),
        (["experiment=quickstart,ft3"], "add data.validation=holdout"),
        (["data.validation=holdout,test"], "add data.validation=holdout"),
        (["optimizer.lr=interval(0,1)", "objective=val/loss"], "allowed is val/acc, val/acc_best, train/acc"),
        (["optimizer.lr=interval(0,1)", "seed=1,2,3"], "seed: a search would pick the luckiest one; type seed=0"),
        (["+study=learning_rate"], "seed: a search would pick the luckiest one; type seed=0"),
    ],
)
def test_refused_in_one_line_before_any_trial(train, typed, words):
    ran = train("-m", "hydra/sweeper=optuna", *typed)
    assert ran.code == 2
    assert words in ran.err
    assert ran.err.count("\n") == 1
    assert not list(ran.folder.glob("[0-9]*"))


def test_what_may_be_searched():
    """Every choice of a group is looked at, of a number one; what is typed after a recipe wins."""
    fixed, free = parsed("data.validation=holdout", "experiment=ft3,quickstart", "optimizer.lr=0.1,0.2", "model.dropout=0,0.1")
    assert list(search.probes(fixed, free)) == [
        ["data.validation=holdout", f"experiment={name}", "optimizer.lr=0.1", "model.dropout=0"] for name in ("ft3", "quickstart")
    ]
    for objective in runs.OBJECTIVES:
        search.check(OmegaConf.create({"objective": objective, "data": {"validation": "holdout"}}))
        with pytest.raises(UsageError, match="a search would choose by the test images"):
            search.check(OmegaConf.create({"objective": objective, "data": {"validation": "test"}}))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:s3cret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("mysql+pymysql://me:s3/c@ret:@host/db", "mysql+pymysql://me:***@host/db"),
        ("postgresql:///db?user=me&password=s3cret&x=1", "postgresql:///db?user=me&password=***&x=1"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:////tmp/study.db", "sqlite:////tmp/study.db"),
    ],
)
def test_a_password_is_not_shown(address, shown):
    assert redacted(address) == shown


@pytest.mark.slow
def test_a_password_is_written_nowhere_but_in_what_its_owner_alone_may_read(train, tmp_path, monkeypatch):
    opened = studies._opened
    monkeypatch.setattr(studies, "_opened", lambda *_: opened(f"sqlite:///{tmp_path / 'shared.db'}", {}))
    storage = ["hydra.sweeper.storage='postgresql://me:s3cret@host/db'", "hydra.sweeper.study_name=s", "hydra.sweeper.n_trials=1"]
    for words in ("Sweep in run", "1 finished"):  # the same command goes on with it
        ran = train(*SEARCH, *storage)
        assert ran.code == 0 and words in ran.out, ran.err
    holding = [path for path in ran.folder.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert [path.name for path in holding] == [runs.TRIAL] and holding[0].stat().st_mode & 0o077 == 0
    record = OmegaConf.load(ran.folder / "0" / ".hydra" / "hydra.yaml").hydra
    assert record.sweeper.storage == "postgresql://me:***@host/db"
    assert "me:***@host" in (ran.folder / "multirun.yaml").read_text()


@pytest.mark.parametrize(
    ("address", "module", "words"),
    [
        ("postgresql+psycopg://me:s3cret@host/db", "psycopg", r"pip install 'psycopg\[binary\]'"),
        ("postgresql+psycopg2://me:s3cret@host/db", "psycopg2", "pip install psycopg2-binary"),
        ("mysql+pymysql://me:s3cret@host/db", "pymysql", "pip install pymysql"),
        ("mysql://me:s3cret@host/db", "MySQLdb", r"pip install pymysql, and begin the address with mysql\+pymysql://"),
        ("postgres://me:s3cret@host/db", "none", r"no address of a database.* postgresql://user:password@host/name"),
    ],
)
def test_what_a_database_needs(monkeypatch, address, module, words):
    monkeypatch.setitem(sys.modules, module, None)  # not installed
    with pytest.raises(UsageError, match=words) as refused:
        studies._opened(address, {})
    assert "s3cret" not in str(refused.value)


def params_of(folder):
    found = load_study(study_name=folder.name, storage=f"sqlite:///{folder / 'study.db'}").trials
    return [(trial.number, trial.state, trial.params, trial.values) for trial in found]


@pytest.mark.slow
def test_a_study(train):
    """In one go, or in two: the same trials with the same values; none is run twice."""
    whole = train(*SEARCH, "hydra.sweeper.n_trials=4", folder="whole/study")
    assert whole.code == 0, whole.err
    first = train(*SEARCH, "hydra.sweeper.n_trials=2", folder="parts/study")
    before = {path.parent.name: path.stat().st_mtime_ns for path in first.folder.glob("*/summary.json")}
    assert set(before) == {"0", "1"}
    second = train(*SEARCH, "hydra.sweeper.n_trials=4", folder="parts/study")
    assert second.code == 0, second.err
    assert params_of(second.folder) == params_of(whole.folder)
    assert all((second.folder / job / "summary.json").stat().st_mtime_ns == stamp for job, stamp in before.items())
    assert "4 finished, 0 pruned, 0 failed; best" in second.out
    for number, state, params, values in params_of(whole.folder):
        summary = runs.read_summary(whole.folder / str(number))
        assert state == TrialState.COMPLETE
        assert values == [summary["val/acc"]]
        assert f"optimizer.lr={params['optimizer.lr']}" in summary["overrides"]


@pytest.mark.slow
def test_a_study_that_is_killed(tmp_path):
    """kill -9 of everything, four times: all trials are there, once each, and the trials of an undisturbed study."""

    def started(folder):
        (tmp_path / folder).mkdir(exist_ok=True)
        command = [TRAIN, *SEARCH, "hydra.sweeper.n_trials=6", "hydra.sweep.dir=study"]
        with open(tmp_path / f"{folder}.txt", "a") as said:
            return Process(command, cwd=tmp_path / folder, stdout=said, stderr=said, start_new_session=True)

    killed = tmp_path / "killed" / "study"
    for trial in (0, 1, 1, 3):
        process = started("killed")
        limit = time.monotonic() + 120
        while not (killed / str(trial) / ".begun").exists() and time.monotonic() < limit and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.2 * trial)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert time.monotonic() < limit
    for folder in ("killed", "whole"):
        assert started(folder).wait(240) == 0, (tmp_path / f"{folder}.txt").read_text()[-2000:]
    assert params_of(killed) == params_of(tmp_path / "whole" / "study")
    assert sorted(path.name for path in runs.find(killed)) == list("012345")


@pytest.mark.slow
def test_trials_in_parallel_processes(train):
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_trials=3"]
    ran = train(*SEARCH, *parallel)
    assert ran.code == 0, ran.err
    assert [state for _, state, _, _ in params_of(ran.folder)] == [TrialState.COMPLETE] * 3
    assert ran.out.count("is launching 2 jobs") == 1 and ran.out.count("is launching 1 jobs") == 1


@pytest.mark.slow
def test_a_trial_behind_the_median_is_pruned(train):
    prune = ["callbacks=prune", "callbacks.prune.n_startup_trials=1", "callbacks.prune.n_warmup_epochs=0", "trainer.max_epochs=3"]
    ran = train(*SEARCH, *prune, "hydra.sweeper.n_trials=4")
    assert ran.code == 0, ran.err
    found = params_of(ran.folder)
    pruned = [number for number, state, _, _ in found if state == TrialState.PRUNED]
    assert pruned, "of four trials of untrained networks one is behind"
    for number in pruned:
        summary = runs.read_summary(ran.folder / str(number))
        assert summary["status"] == "pruned" and summary["pruned_epoch"] + 1 == summary["epochs"] < 3
        assert not any(key.startswith("test/") for key in summary), "the test images are not looked at"
        assert len(runs.read_metrics(ran.folder / str(number))) == summary["epochs"]
    assert f"{4 - len(pruned)} finished, {len(pruned)} pruned" in ran.out
    assert "Run what has not finished" not in ran.out
    again = train(*SEARCH, *prune, "hydra.sweeper.n_trials=4")
    assert again.code == 0 and params_of(ran.folder) == found


def test_the_same_parameters_are_run_once(opened):
    book = opened()
    space = studies.distributions({"x": Choice(("1",))})
    first, second = (book.take(1, 9, space)[0] for _ in range(2))
    job = finish(book, first)
    recorded = job.folder / runs.OVERRIDES
    recorded.write_text("".join(f"- {item}\n" for item in job.overrides))
    assert book.job(second, ["model=resnet8"]).folder == job.folder
    book.settle(first, job)
    book.settle(second, job)
    assert [trial.value for trial in book.study.trials] == [0.5, 0.5]


def test_more_is_better(opened):
    book = opened()
    for trial, value in zip(book.take(2, 9, DISTRIBUTIONS), (0.1, 0.4), strict=True):
        book.settle(trial, finish(book, trial, **{"val/acc": value}))
    assert "2 finished, 0 pruned, 0 failed; best 0.4000 by trial 1: x=" in book.words()


def test_a_repeat_is_no_search():
    with pytest.raises(UsageError, match="repeat=2 is a sweep over seeds"):
        expanded(["hydra/sweeper=optuna", "repeat=2"])
