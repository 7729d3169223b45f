"""How commands end for an error, all in one way."""

import subprocess
import sys

import pytest

from cifar_lit import terminal


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("two\n  lines \x1b[31m"), "error: two lines ?[31m\n"),
        (FileNotFoundError(2, "No such file or directory", "a/b"), "error: a/b: No such file or directory\n"),
        (OSError("of no file"), "error: of no file\n"),
    ],
)
def test_one_line_and_status_one(error, said, capsys, monkeypatch):
    for name in ("CIFAR_LIT_TRACEBACK", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)
    assert terminal.failed(error) == 1
    assert capsys.readouterr().err == said
    assert terminal.failed(ValueError("x" * 900), 100) == 1
    assert len(capsys.readouterr().err) <= 110


def test_who_has_read_enough_is_told_nothing():
    program = (
        "from cifar_lit import terminal\ntry:\n    for _ in range(100_000):\n        print('a line')\n"
        "except OSError as error:\n    raise SystemExit(terminal.failed(error))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("ours", "hydras", "raised"), [(None, "1", True), ("0", "1", False), ("1", "1", True), (None, "0", False)]
)
def test_the_traceback_where_it_is_wanted(ours, hydras, raised, monkeypatch):
    """Not for what train.py asks of Hydra on its own."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", hydras)
    monkeypatch.delenv("CIFAR_LIT_TRACEBACK", raising=False)
    if ours is not None:
        monkeypatch.setenv("CIFAR_LIT_TRACEBACK", ours)
    if raised:
        with pytest.raises(ValueError, match="as it was"):
            terminal.failed(ValueError("as it was"))
    else:
        assert terminal.failed(ValueError("as it was")) == 1
