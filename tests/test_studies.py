"""Optuna's studies: trials that are never repeated, and go on where they were; the storage that holds them."""

import json
import sys

import pytest
from optuna import create_study, load_study

from cifar_lit import runs
from cifar_lit.cli import attempts, studies
from cifar_lit.cli.errors import UsageError
from cifar_lit.cli.search import Choice, Interval

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

    def book(folder="sweep", shared=True):
        (tmp_path / folder).mkdir(exist_ok=True)
        storage = f"sqlite:///{tmp_path / 'study.db'}" if shared else None
        books.append(studies.Book(storage, "s", tmp_path / folder, studies.SeededTPE(0)))
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
    (job.folder / runs.OVERRIDES).write_text("".join(f"- {item}\n" for item in job.overrides))
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
        other.take(1, 1, DISTRIBUTIONS)
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


@pytest.mark.parametrize("known", [{}, {"x": DISTRIBUTIONS["x"]}])
def test_what_died_while_it_was_asked_for_is_asked_for_again(opened, known):
    """In a study of one directory at once, and the trial is what it would have been."""
    book, whole = opened(shared=False), opened("undisturbed", shared=False)
    book.study.ask(fixed_distributions=known)
    book.close()
    taken, expected = (one.take(1, 1, DISTRIBUTIONS) for one in (opened(shared=False), whole))
    assert [(trial.number, trial.params) for trial in taken] == [(trial.number, trial.params) for trial in expected]
    assert len(taken) == 1


def test_what_died_in_another_search_space_is_not(opened):
    book = opened(shared=False)
    book.study.ask(fixed_distributions={"z": DISTRIBUTIONS["x"]})
    [taken] = book.take(1, 1, DISTRIBUTIONS)
    assert (taken.number, taken.params.keys()) == (1, DISTRIBUTIONS.keys())


def test_what_died_while_it_was_asked_for_does_not_count(opened, monkeypatch):
    """In a study that others share it may be another process that is asking now: until it has had time for it."""
    one, other = opened(), opened(folder="another_machine")
    one.study.ask(fixed_distributions=DISTRIBUTIONS)
    assert [trial.number for trial in one.take(9, 3, DISTRIBUTIONS)] == [1, 2]
    monkeypatch.setattr(studies, "_ASKING_SECONDS", 0.0)
    stale = other._running()  # as it was before the first of them gave it up
    assert [trial.number for trial in one.take(9, 3, DISTRIBUTIONS)] == [3]
    other._settle_unowned(stale[0], DISTRIBUTIONS)
    other._settle_unowned(stale[0], DISTRIBUTIONS)
    assert [trial.number for trial in one.trials()] == [1, 2, 3]


def test_it_waits_for_the_last_trial_until_somebody_owns_it(opened, monkeypatch, caplog):
    """Or has had time to: else a study that others share would end one trial short."""
    caplog.set_level("INFO")
    book, slept = opened(), []
    book.study.ask(fixed_distributions=DISTRIBUTIONS)

    def owned(seconds):
        slept.append(seconds)
        book._mark(book.study.trials[0]._trial_id, owner="another")

    monkeypatch.setattr(studies.time, "sleep", owned)
    assert book.take(1, 1, DISTRIBUTIONS) == [] and len(slept) == 1
    assert caplog.text.count("Waiting for a trial") == 1
    book.study.ask(fixed_distributions=DISTRIBUTIONS)
    now = studies.time.monotonic()
    monkeypatch.setattr(studies.time, "sleep", lambda _: monkeypatch.setattr(studies.time, "monotonic", lambda: now + 100))
    assert [trial.number for trial in book.take(1, 2, DISTRIBUTIONS)] == [2]


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


def test_a_trial_that_is_tried_again_with_other_settings_leaves_its_directory(opened):
    book = opened()
    [trial] = book.take(1, 1, DISTRIBUTIONS)
    job = finish(book, trial, "failed")
    [trial] = book.study.trials  # as the next command finds it
    assert book.job(trial, ["model=resnet8"]).folder == job.folder
    assert book.job(trial, ["model=resnet20"]).folder != job.folder


def test_the_address_of_a_storage_is_for_its_owner_alone(opened):
    book = opened()
    [trial] = book.take(1, 1, DISTRIBUTIONS)
    path = book.job(trial, []).folder / runs.TRIAL
    assert path.stat().st_mode & 0o077 == 0
    assert json.loads(path.read_text())["study"] == "s"


def test_the_same_parameters_are_run_once(opened):
    book = opened()
    space = studies.distributions({"x": Choice(("1",))})
    first, second = (book.take(1, 9, space)[0] for _ in range(2))
    job = finish(book, first)
    assert book.job(second, ["model=resnet8"]).folder == job.folder
    book.settle(first, job)
    book.settle(second, job)
    assert [trial.value for trial in book.study.trials] == [0.5, 0.5]


def test_more_is_better(opened):
    book = opened()
    for trial, value in zip(book.take(2, 9, DISTRIBUTIONS), (0.1, 0.4), strict=True):
        book.settle(trial, finish(book, trial, **{"val/acc": value}))
    assert "2 finished, 0 pruned, 0 failed; best 0.4000 by trial 1: x=" in book.words()


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
