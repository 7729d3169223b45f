"""Ctrl-C ends the command quietly, and what is not begun then is not made."""

import threading

import numpy as np
import pytest
from robustness.subjects import make_bundle

from cifar_lit.robustness import __main__ as command

pytestmark = pytest.mark.slow


def test_ctrl_c_says_nothing(tmp_path, monkeypatch, capsys):
    made = make_bundle(tmp_path / "model", origin={"overrides": ["data.test_per_class=1"]})
    monkeypatch.setattr(command.Study, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert command.main([str(made), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 130
    assert capsys.readouterr() == ("", "")


def test_what_is_not_begun_when_it_ends_is_not_made():
    began, end = [], threading.Event()

    def make(part):
        began.append(part)
        if len(began) == 2:
            end.wait(5)
        return part

    study = command.Study(predictor=None, tests=None, official=None, others=None, limit=None, seed=0, threads=1, batch_size=1)
    batches = study._ahead(make, np.arange(9))
    next(batches)
    threading.Timer(0.1, end.set).start()
    batches.close()
    assert len(began) <= 2
