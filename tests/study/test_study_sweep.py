"""A study carried out for real, small, on drawn images: jobs, table, verdict, and the verdict again."""

import numpy as np
import pytest
from running import TINY

from cifar_lit import runs
from cifar_lit.study.conclude import main

pytestmark = pytest.mark.slow  # trains

STUDY = [
    "-m",
    "+study=learning_rate",
    *TINY,
    "trainer=cpu",
    "optimizer.lr=0.01,0.00001",
    "seed=0,1",
    "trainer.limit_train_batches=1.0",
]


def test_a_study_ends_with_its_verdict(train):
    ran = train(*STUDY)
    assert ran.code == 0, ran.err
    summaries = [runs.read_summary(path) for path in runs.find(ran.folder)]
    assert [(s["status"], s["overrides"][-1]) for s in summaries] and len(summaries) == 4
    means = {lr: np.mean([s["val/acc"] for s in summaries if s["config"]["optimizer.lr"] == lr]) for lr in (0.01, 0.00001)}
    best = max(means, key=lambda lr: means[lr])
    told = ran.out[ran.out.index("Study learning_rate") :]
    assert ran.out.index("Sweep run") < ran.out.index("Study learning_rate")
    assert f"Best learning rate: {best:g}, {100 * means[best]:.2f}% validation accuracy" in told
    page = (ran.folder / "verdict.md").read_text()
    assert f"Best learning rate: {best:g}" in page and "![Accuracy by learning rate](study/rates.png)" in page
    (ran.folder / "verdict.md").unlink()
    assert main([str(ran.folder)]) == 0
    assert (ran.folder / "verdict.md").read_text() == page


def test_a_study_with_failed_jobs_still_concludes(train):
    ran = train(*STUDY, "optimizer.lr=0.01,-1", "seed=0")
    assert ran.code == 1
    assert "failed: optimizer.lr=-1" in ran.out[ran.out.index("Study learning_rate") :]
    assert (ran.folder / "verdict.md").exists()


def test_another_study_with_a_grid_as_typed(train):
    ran = train("-m", "+study=sensitivity", *TINY, "trainer=cpu", "trainer.max_epochs=1", "data.batch_size=50,100", "seed=0",
                "optimizer.weight_decay=0.0", "trainer.gradient_clip_val=null,0.1")  # fmt: skip
    assert ran.code == 0, ran.err
    assert "Best combination: batch" in ran.out
    assert "could not have been seen" not in ran.out[ran.out.index("Study sensitivity") :]  # one seed
