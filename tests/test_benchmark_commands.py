"""Benchmarks that are run from the first argument to the last number, on next to nothing."""

import json

import pytest
import torch
from test_benchmarks import asked

from benchmarks import pipeline, suite


def test_the_tests_are_counted_as_pytest_does(monkeypatch, capsys, tmp_path):
    head = '<?xml version="1.0"?><testsuites><testsuite errors="1" failures="1" skipped="2" tests="12" time="{}"/></testsuites>'
    for name, seconds in (("whole", "100.4"), ("fast", "9.6")):
        (tmp_path / name).write_text(head.format(seconds))
    assert asked(monkeypatch, suite, tmp_path / "whole", tmp_path / "fast", "--json", tmp_path / "found.json") == 0
    assert capsys.readouterr().out.splitlines()[1] == "fast   8 passed, 2 skipped, 2 failed: 10 s"
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["whole"] == {"tests": 12, "skipped": 2, "failed": 2, "seconds": 100.4}
    for wrong in ("<testsuites/>", "none"):
        (tmp_path / "fast").write_text(wrong)
        assert asked(monkeypatch, suite, tmp_path / "whole", tmp_path / "fast") == 1
        assert "not what pytest writes" in capsys.readouterr().err


@pytest.mark.slow  # draws and augments by every policy
@pytest.mark.parametrize("cores", [1, 2])
def test_every_policy_is_measured(monkeypatch, capsys, tmp_path, cores):
    wanted = {"trivial", "enhanced"} if cores > 1 else {path.stem for path in (pipeline.CONF / "augment").glob("*.yaml")}
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    few = (
        "--policies",
        *wanted,
        "--cores",
        cores,
        "--images",
        8,
        "--batch",
        4,
        "--repetitions",
        1,
        "--json",
        tmp_path / "found.json",
    )
    assert asked(monkeypatch, pipeline, *few) == 0
    found = json.loads((tmp_path / "found.json").read_text())["images_per_second"]
    assert found.keys() == wanted and {row.split()[0] for row in capsys.readouterr().out.splitlines()[2:]} == wanted
    for name, row in found.items():
        assert row.keys() == ({"per_image"} if name == "trivial" else {"per_image", "batched", "ratio"})
        assert all(value > 0 for value in row.values())
