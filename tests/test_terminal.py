"""How commands end for an error, all in one way."""

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
