"""A thousand run directories: in under ten seconds and 500 MB on a free core; the bound here leaves room for a busy machine."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from report.fake_runs import make_run
from running import REPOSITORY

from cifar_lit import runs


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak of memory from")
def test_a_thousand_runs(tmp_path):
    chance = np.random.default_rng(0)
    drawn = [make_run(tmp_path / "one" / f"{i}", epochs=100, classes=100, accuracy=0.5 + i / 50) for i in range(4)]
    for recipe in range(334):
        settings = {"optimizer.lr": float(10 ** chance.uniform(-4, 0)), "optimizer": str(chance.choice(["sgd", "adam", "muon"])),
                    "model": str(chance.choice(["resnet8", "resnet20", "resnet34"]))}  # fmt: skip
        like = drawn[recipe % len(drawn)]
        told = runs.read_summary(like)
        for seed in (1, 2, 3):
            folder = tmp_path / "runs" / f"{recipe}-{seed}"
            shutil.copytree(like, folder)
            noise = float(chance.normal(0, 0.01))
            watched = {"validation": "test", "evaluated": "last"} if recipe % 10 == 0 else {}
            scores = {name: told[name] + noise for name in ("val/acc", "test/acc")}
            config = told["config"] | settings
            runs.write_summary(folder, {**told, "seed": seed, "config": config, **watched, **scores})
    code = "import resource, sys; from cifar_lit.report.__main__ import main; main(sys.argv[1:]);"
    code += " own = resource.getrusage(resource.RUSAGE_SELF);"
    # VmHWM and not ru_maxrss, which counts the process of the tests that this one was forked from.
    code += " peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1];"
    code += " print(own.ru_utime + own.ru_stime, peak, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "runs"), "-o", str(tmp_path / "out")], cwd=REPOSITORY,
                          capture_output=True, text=True)  # fmt: skip
    seconds, kilobytes = map(float, done.stderr.split())
    text = (tmp_path / "out" / "index.html").read_text()
    assert "1,002 runs ranked" in text
    assert seconds < 30, f"{seconds:.1f} s of processor time"
    assert kilobytes < 500 * 1024, f"{kilobytes / 1024:.0f} MB"
