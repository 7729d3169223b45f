"""`python -m cifar_lit.report`: exit statuses, one-line errors, what is printed, and the live page."""

import subprocess
import sys
import time

import pytest
from filelock import FileLock
from report.fake_runs import make_run
from running import REPOSITORY

from cifar_lit.report import __main__ as command
from cifar_lit.report import figures
from cifar_lit.report.figures import gap


@pytest.fixture(autouse=True)
def _few_figures(monkeypatch):
    monkeypatch.setattr(figures, "SECTIONS", {"Some": (gap.draw_all,)})
    monkeypatch.delenv("CIFAR_LIT_TRACEBACK", raising=False)


def run(*arguments, capsys) -> tuple[int, str, str]:
    code = command.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_the_ranking_and_the_path_are_printed(tmp_path, capsys):
    make_run(tmp_path / "runs" / "a", seed=1, settings={"optimizer": "sgd"}, **{"val/acc": 0.71, "test/acc": 0.7021})
    make_run(tmp_path / "runs" / "b", seed=1, settings={"optimizer": "adam"}, **{"val/acc": 0.61, "test/acc": 0.6021})
    make_run(tmp_path / "runs" / "c", status="failed")
    code, out, err = run(tmp_path / "runs", "-o", tmp_path / "out", "--title", "Mine", capsys=capsys)
    assert (code, err) == (0, "")
    assert out.index("optimizer=sgd") < out.index("optimizer=adam") and "70.21" in out and "-10.00" in out
    assert "One seed each" in out and "Not ranked: 1 run" in out
    assert out.rstrip().endswith(str(tmp_path / "out" / "index.html"))
    assert "<h1>Mine</h1>" in (tmp_path / "out" / "index.html").read_text()


def test_top_says_how_many_are_drawn(tmp_path, capsys):
    for number in range(4):
        make_run(tmp_path / "runs" / f"{number}", seed=1, settings={"model": f"m{number}"})
    assert run(tmp_path / "runs", "-o", tmp_path / "out", "--top", 2, capsys=capsys)[0] == 0
    assert len((tmp_path / "out" / "figures" / "held-out-gap.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("roots", "words"), [(["empty"], "no run directories under"), (["nowhere"], "no such folder"), (["a.txt"], "no such folder")]
)
def test_no_runs_is_one_line_and_status_1(tmp_path, capsys, roots, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").touch()
    code, out, err = run(*(tmp_path / root for root in roots), "-o", tmp_path / "out", capsys=capsys)
    assert (code, out) == (1, "") and err.startswith("error: ") and words in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_report_is_one_line(tmp_path, capsys):
    make_run(tmp_path / "runs" / "a")
    (tmp_path / "out").touch()
    code, _, err = run(tmp_path / "runs", "-o", tmp_path / "out", capsys=capsys)
    assert code == 1 and err.count("\n") == 1 and "is a file" in err


@pytest.mark.parametrize("arguments", [["--top", "0"], ["--top", "99"], ["--live", "0"], ["--nonsense"], ["--top", "x"]])
def test_wrong_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 2


def going(tmp_path):
    """A finished run, and one that a living process holds."""
    make_run(tmp_path / "runs" / "a", seed=1)
    running = make_run(tmp_path / "runs" / "b", seed=2, epochs=3)
    (running / ".hydra").mkdir()
    (running / ".hydra" / "overrides.yaml").write_text("[]\n")
    return running, (running / "summary.json").read_text(), FileLock(running / ".lock")


def test_live_goes_on_while_runs_are_going_and_then_stops(tmp_path, capsys, monkeypatch):
    running, summary, lock = going(tmp_path)
    (running / "summary.json").unlink()
    lock.acquire()
    pages = []

    def sleep(seconds):
        pages.append((tmp_path / "out" / "index.html").read_text())
        assert seconds == 7
        if len(pages) == 2:
            (running / "summary.json").write_text(summary)
            lock.release()

    monkeypatch.setattr(time, "sleep", sleep)
    code, out, err = run(tmp_path / "runs", "-o", tmp_path / "out", "--live", 7, capsys=capsys)
    assert (code, err) == (0, "") and out.count("1 run going") == 2 and "nothing is running any more" in out
    assert len(pages) == 3  # once more after the last one ended: a sweep may only be between two jobs
    assert all('<meta http-equiv="refresh" content="7">' in page for page in pages)
    assert "3 epochs done, validation accuracy" in pages[0] and "1 running" in pages[0]
    last = (tmp_path / "out" / "index.html").read_text()
    assert 'http-equiv="refresh"' not in last and "2 runs ranked" in last


def test_ctrl_c_leaves_a_page_that_does_not_reload_itself(tmp_path, capsys, monkeypatch):
    running, _, lock = going(tmp_path)
    (running / "summary.json").unlink()

    def sleep(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    with lock:
        code, _, err = run(tmp_path / "runs", "-o", tmp_path / "out", "--live", capsys=capsys)
    assert (code, err) == (130, "")
    assert 'http-equiv="refresh"' not in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.slow
def test_no_torch_in_a_report(tmp_path):
    make_run(tmp_path / "runs" / "a")
    code = (
        "import sys; from cifar_lit.report.__main__ import main; code = main(sys.argv[1:]);"
        " assert not {'torch', 'lightning', 'pandas'} & sys.modules.keys(); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "runs"), "-o", str(tmp_path / "out")], cwd=REPOSITORY,
                          capture_output=True, text=True)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
