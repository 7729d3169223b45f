"""The jobs of a sweep under launchers that fail in every way: told apart, tried once more, never run twice."""

import threading
import time

import pytest
from filelock import FileLock

from cifar_lit import runs
from cifar_lit.cli import attempts, jobs
from cifar_lit.cli.errors import UsageError
from cifar_lit.cli.jobs import Job
from cifar_lit.cli.sweepers import Grid, placed


def recorded(folder, *overrides):
    (folder / ".hydra").mkdir(parents=True)
    (folder / runs.OVERRIDES).write_text("".join(f"- {item}\n" for item in overrides))


KNOWN = {"experiment": "test", "overrides": ["seed=1"], "seed": 1}


def some(folder, count):
    made = [Job(n, (f"seed={n}",), folder / str(n)) for n in range(count)]
    for job in made:
        recorded(job.folder, *job.overrides)
    return made


class Launcher:
    """Carries out jobs one after the other: what comes of each is told beforehand, and at last they finish."""

    def __init__(self, **outcomes):
        self.outcomes = {name.removeprefix("job"): list(each) for name, each in outcomes.items()}
        self.launched = []

    def __call__(self, batch):
        self.launched.append([job.number for job in batch])
        for job in batch:
            left = self.outcomes.get(str(job.number), [])
            what = left.pop(0) if left else "finished"
            if what == "broken":
                raise OSError("no such queue")
            attempts.start(job.folder, KNOWN)
            if what == "refused":
                runs.write_summary(job.folder, {"status": "failed", "error": "optimizer.lr=-1"})
                continue
            (job.folder / runs.BEGUN).touch()
            if what == "failed":
                attempts.note(job.folder, "no luck")
                runs.write_summary(job.folder, {"status": "failed", "error": "no luck"})
            elif what == "died":
                raise RuntimeError("a worker was killed")
            elif what != "running":
                runs.write_summary(job.folder, {"status": what})


def statuses(made):
    return [(runs.read_summary(job.folder) or {}).get("status") for job in made]


@pytest.mark.parametrize("outcome", ["failed", "interrupted"])
def test_what_fails_once_is_tried_again_after_the_others(tmp_path, outcome):
    made = some(tmp_path, 3)
    launch = Launcher(job1=[outcome])
    jobs.carry_out(launch, made)
    assert launch.launched == [[0, 1, 2], [1]]
    assert statuses(made) == ["finished"] * 3
    assert [attempts.failures(job.folder) for job in made] == [0, 1, 0]


@pytest.mark.parametrize("outcome", ["failed", "died", "interrupted"])
def test_what_fails_twice_has_failed(tmp_path, outcome):
    made = some(tmp_path, 3)
    launch = Launcher(job1=[outcome] * 9)
    jobs.carry_out(launch, made)
    assert statuses(made) == ["finished", "interrupted" if outcome == "interrupted" else "failed", "finished"]
    assert sum(1 in batch for batch in launch.launched) == 2
    # Told to run again, it is run once: its second try is spent.
    launch.launched.clear()
    jobs.carry_out(launch, jobs.unfinished(made))
    assert launch.launched == [[1]]


def test_a_job_that_died_says_what_is_known_of_it(tmp_path):
    [job] = some(tmp_path, 1)
    jobs.carry_out(Launcher(job0=["died", "died"]), [job])
    summary = runs.read_summary(job.folder)
    assert summary["overrides"] == ["seed=1"] and summary["attempts"] == 2
    assert summary["error"].startswith("its process died, 2 tries in all")


def test_who_was_killed_along_with_another_is_not_blamed(tmp_path):
    """joblib stops all its workers when one dies; here job 0 is under way when job 1 dies, again and again."""
    made = some(tmp_path, 5)
    attempts.note(made[0].folder, "no luck, in an earlier sweep")
    launch = Launcher(job0=["running"], job1=["died"] * 9)
    jobs.carry_out(launch, made)
    assert statuses(made) == ["finished", "failed", "finished", "finished", "finished"]
    assert launch.launched == [[0, 1, 2, 3, 4], [2, 3, 4], [0], [1]]


def test_a_launcher_that_starts_nothing_is_not_asked_again(tmp_path):
    launch = Launcher(job0=["broken"] * 9)
    with pytest.raises(OSError, match="no such queue"):
        jobs.carry_out(launch, some(tmp_path, 2))
    assert len(launch.launched) == 1


def test_what_a_launcher_leaves_out_is_asked_for_once_more_and_then_has_failed(tmp_path):
    """It returns, and all seems well."""
    made = [Job(n, (f"seed={n}",), tmp_path / str(n)) for n in range(3)]
    finishing, asked = Launcher(), []

    def launch(batch):
        asked.append([job.number for job in batch])
        late = asked.count([1]) > 0
        for job in batch:
            if job.number == 0 or (job.number == 1 and late):
                recorded(job.folder, *job.overrides)
                finishing([job])

    jobs.carry_out(launch, made)
    assert asked == [[0, 1, 2], [1], [2]]
    assert statuses(made) == ["finished", "finished", "failed"]
    assert "had not begun" in runs.read_summary(made[2].folder)["error"]


@pytest.mark.parametrize("size", [-1, 0, 1.5, "many"])
def test_a_batch_of_no_size_is_refused(size):
    """Regression: none of the jobs was run, and all seemed well."""
    with pytest.raises(UsageError, match=f"max_batch_size={size}: allowed is"):
        Grid(max_batch_size=size)


def test_what_is_misconfigured_is_not_tried_again(tmp_path):
    launch = Launcher(job0=["refused"])
    jobs.carry_out(launch, some(tmp_path, 2))
    assert launch.launched == [[0, 1]]


@pytest.mark.parametrize("status", ["finished", "pruned"])
def test_what_has_ended_is_never_launched(tmp_path, status):
    made = some(tmp_path, 2)
    runs.write_summary(made[0].folder, {"status": status})
    assert jobs.unfinished(made) == [made[1]]


def test_a_job_given_twice_is_one_job(tmp_path):
    [job] = some(tmp_path, 1)
    assert jobs.unfinished([job, job]) == [job]


def test_a_failure_of_before_does_not_hide_a_death(tmp_path):
    [job] = some(tmp_path, 1)
    runs.write_summary(job.folder, {"status": "failed", "error": "long ago"})
    launch = Launcher(job0=["died"])
    jobs.carry_out(launch, [job])
    assert len(launch.launched) == 2
    assert statuses([job]) == ["finished"]
    assert "its process died" in (job.folder / attempts.FAILURES).read_text()


def test_what_a_killed_sweep_left_is_no_death_in_this_one(tmp_path):
    [job] = some(tmp_path, 1)
    attempts.start(job.folder, KNOWN)
    with pytest.raises(OSError, match="no such queue"):
        jobs.carry_out(Launcher(job0=["broken"]), [job])
    assert attempts.failures(job.folder) == 0


@pytest.mark.parametrize("finishes", [True, False])
def test_what_another_process_runs_is_waited_for(tmp_path, finishes, monkeypatch):
    monkeypatch.setattr(jobs, "_LOOK_SECONDS", 0.01)
    [job] = some(tmp_path, 1)
    lock = FileLock(job.folder / ".lock", thread_local=False)
    lock.acquire()

    def other():
        time.sleep(0.1)
        if finishes:
            runs.write_summary(job.folder, {"status": "finished"})
        lock.release()

    launched = []

    def launch(batch):
        launched.append(batch)
        if len(launched) == 1:
            threading.Thread(target=other).start()  # the job itself finds the lock taken, and does nothing
        else:
            Launcher()(batch)

    jobs.carry_out(launch, [job])
    assert len(launched) == (1 if finishes else 2)
    assert statuses([job]) == ["finished"]


def test_a_job_keeps_its_directory_whatever_its_number(tmp_path):
    recorded(tmp_path / "0", "seed=5")
    recorded(tmp_path / "1", "seed=6")
    found = placed(tmp_path, [["seed=6"], ["seed=7"], ["seed=5"]])
    assert [job.folder.name for job in found] == ["1", f"1-{runs.fingerprint(['seed=7'])}", "0"]


def test_two_sweeps_that_begin_at_once_in_one_directory_share_no_jobs(tmp_path):
    def names(*seeds, take=True):
        return [job.folder.name for job in placed(tmp_path, [[f"seed={seed}"] for seed in seeds], take=take)]

    assert names(1, 2, take=False) == ["0", "1"] and not list(tmp_path.iterdir()), "to look takes nothing"
    assert names(1, 2) == ["0", "1"]
    other = names(3, 2, 4)
    assert other == [f"0-{runs.fingerprint(['seed=3'])}", "1", "2"], "the job that both have is one"
    assert names(1, 2) == ["0", "1"] and names(3, 2, 4) == other
    recorded(tmp_path / "0", "seed=9")  # what was run counts, not what was planned
    assert names(9, 1) == ["0", f"1-{runs.fingerprint(['seed=1'])}"]


def test_what_another_job_left_in_its_directory_is_not_a_jobs_own(tmp_path):
    [job] = some(tmp_path, 1)
    other = Job(0, ("seed=9",), job.folder)
    jobs.carry_out(Launcher(), [job])
    assert (job.state(), other.state()) == ("ended", "new")
    assert jobs.unfinished([job, other]) == [other]
    kept = (job.folder / attempts.STARTED).read_text(), runs.read_summary(job.folder)
    with pytest.raises(UsageError, match="has become another job's"):
        jobs.carry_out(lambda batch: None, [other])
    assert kept == ((job.folder / attempts.STARTED).read_text(), runs.read_summary(job.folder))


def test_a_job_that_another_process_runs_is_left_alone_and_its_death_there_is_no_try_here(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_LOOK_SECONDS", 0.01)
    [job] = some(tmp_path, 1)
    attempts.start(job.folder, KNOWN)
    lock = FileLock(job.folder / ".lock", thread_local=False)
    lock.acquire()
    asked = []

    def launch(batch):
        asked.append((job.folder / attempts.STARTED).exists())
        if len(asked) == 1:
            threading.Timer(0.1, lock.release).start()
        else:
            Launcher()(batch)

    jobs.carry_out(launch, [job])
    assert asked == [True, False], "what the other process said of its start is there while it runs"
    assert statuses([job]) == ["finished"] and attempts.failures(job.folder) == 0
