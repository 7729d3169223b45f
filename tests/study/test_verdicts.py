"""Verdicts on runs whose accuracies are known: what is there is said, what is not there is not."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from study.study_jobs import GRID, job

from cifar_lit import runs
from cifar_lit.study import found, learning_rate, optimizer, sensitivity
from cifar_lit.study.conclude import conclude, main


def said(folder: Path) -> str:
    words, files = conclude(folder)
    assert all(path.exists() for path in files)
    return "\n".join(words)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_epochs_to_the_goal_are_those_of_the_rows_that_are_left(tmp_path):
    folder = job(tmp_path / "0", "optimizer", ("a",), 0, 0.5, curve=(0.2, 0.4, 0.6, 0.8, 1.0), seconds=3.0)
    head, *rows = (folder / "metrics.csv").read_text().splitlines()
    (folder / "metrics.csv").write_text("\n".join([head, rows[0], *rows[3:]]) + "\n")  # epochs 1, 4 and 5
    [run], _ = runs.collect([tmp_path])
    assert optimizer.reached(run, 0.4) == pytest.approx((4.0, 6.0))
    assert optimizer._timed(run) == ([3.0, 6.0, 9.0], pytest.approx([0.1, 0.4, 0.5]))


def test_learning_rates_that_work_and_that_do_not(study_of):
    folder = study_of("learning_rate", {0.1: 0.10, 0.01: 0.30, 0.001: 0.301, 0.0001: 0.20})
    text = said(folder)
    assert "Best range: 0.001 to 0.01." in text
    assert re.search(r"Behind 0\.0?01: 0\.0001 by \d+\.\d\d points and 0\.1 by \d+\.\d\d points\.", text)
    known = [run.values["val/acc"] for run in runs.collect([folder])[0] if run.settings["optimizer.lr"] == 0.001]
    assert f"{100 * np.mean(known):.2f}%" in text
    assert re.search(
        r"With 3 seeds and a deviation of 0\.\d\d points, differences below \d\.\d\d points could not have been seen", text
    )
    numbers = table(folder / "study" / "rates.csv")
    assert len(numbers) == 24 and {row["measure"] for row in numbers} == {"val/acc", "test/acc"}


def test_rates_without_any_difference(study_of):
    text = said(study_of("learning_rate", dict.fromkeys((0.1, 0.01, 0.001), 0.3)))
    assert "None of the other learning rates can be told from it" in text
    assert "Best range" not in text and "Behind" not in text


def test_a_best_rate_at_the_edge(study_of):
    assert "The best is the highest that was tried: a higher rate may be better" in said(
        study_of("learning_rate", {0.1: 0.4, 0.01: 0.3, 0.001: 0.2})
    )


def test_one_seed_says_nothing(study_of):
    text = said(study_of("learning_rate", {0.1: 0.4, 0.01: 0.3}, seeds=1))
    assert "No recipe has two seeds" in text and "could not have been seen" not in text and "Best range" not in text


def test_chance_is_not_taken_for_acting_together(study_of):
    """Cells of pure noise differ: by as much as chance makes them, which is taken off."""
    (strand,) = found.read(study_of("sensitivity", dict.fromkeys(GRID, 0.3), noise=0.01)).strands
    samples = np.array([[*level.of("val/acc").values()] for level in strand.levels])
    pure = ((samples - samples.mean(1, keepdims=True)) ** 2).sum() / 24
    whole = ((samples - samples.mean()) ** 2).sum()
    raw = 3 * ((samples.mean(1) - samples.mean()) ** 2).sum()
    additive = 0.0
    for place in range(3):
        column = [level.values[place] for level in strand.levels]
        for value in set(column):
            part = samples[[own == value for own in column]]
            additive += part.size * (part.mean() - samples.mean()) ** 2
    # 12 cells less 1, less the 4 of an additive model: 7 degrees of freedom.
    assert sensitivity.together(strand) == pytest.approx(max(0.0, (raw - additive - 7 * pure) / (whole + pure)), abs=1e-9)
    assert sensitivity.together(strand) < (raw - additive) / whole


def test_sensitivity_without_any_effect(study_of):
    text = said(study_of("sensitivity", dict.fromkeys(GRID, 0.3)))
    assert "No combination can be told from the best" in text
    assert "What matters most" not in text


def test_augmentation_ablation(study_of):
    means = {"ablation/all": 0.30, "ablation/no_crop": 0.27, "ablation/no_flip": 0.30, "ablation/no_corrupt": 0.32, "none": 0.25}
    folder = study_of("augmentation", means, noise=0.001, of={("none"): {"gap": 0.3}})
    text = said(folder)
    assert re.search(r"Removing crop costs [23]\.\d\d points, compared with all\.", text)
    assert re.search(r"Removing hole or noise gains [12]\.\d\d points", text)
    assert "What removing flip does to accuracy, these seeds cannot tell from nothing" in text
    assert "the gap is 30.00 points without any, 5.00 with all" in text
    rows = {row["level"]: row for row in table(folder / "study" / "accuracy.csv")}
    known = {run.path.name: run.values["val/acc"] for run in runs.collect([folder])[0]}
    difference = np.mean([known[f"1-{seed}"] - known[f"0-{seed}"] for seed in range(3)])
    assert float(rows["without crop"]["difference to all"]) == pytest.approx(difference)
    assert float(rows["without crop"]["low"]) < difference < float(rows["without crop"]["high"]) < 0


def test_optimizers_are_timed_to_a_common_accuracy(study_of):
    curves = {"sgd": (0.2, 0.6, 1.0), "adam": (0.8, 0.96, 1.0), "rmsprop": (0.3, 0.6, 1.0)}
    facts = {name: {"curve": curve, "settings": {"optimizer.lr": 0.1}} for name, curve in curves.items()}
    folder = study_of("optimizer", {"sgd": 0.30, "adam": 0.30, "rmsprop": 0.20}, noise=0.0005, of=facts)
    strand = found.read(folder).strands[0]
    assert optimizer.goal(strand) == pytest.approx(0.9 * 0.30, abs=0.001)
    # Adam is at 80% after an epoch and at 96% after two: 90% is 10/16 of the way. An epoch takes 2 s.
    assert np.mean([time[0] for time in optimizer.times(strand)["adam"]]) == pytest.approx(1 + 10 / 16, abs=0.02)
    assert np.mean([time[1] for time in optimizer.times(strand)["sgd"]]) == pytest.approx(2 * (2 + 30 / 40), abs=0.05)
    text = said(folder)
    assert "rmsprop did not get there in 3 of 3 runs." in text
    assert "Fastest in epochs: adam, by 1.1" in text
    assert "Each ran at one learning rate (sgd 0.1, adam 0.1 and rmsprop 0.1)" in text


def test_schedules_and_who_was_ahead_before(study_of):
    facts = {"onecycle": {"curve": (0.2, 1.0)}, "cosine": {"curve": (0.8, 1.0)}}
    folder = study_of("schedule", {"onecycle": 0.35, "cosine": 0.30}, of=facts)
    text = said(folder)
    assert "Best schedule: onecycle" in text and "Behind onecycle: cosine by" in text
    assert "At half of the run the order was another" in text
    assert {row["level"] for row in table(folder / "study" / "schedules.csv")} == {"onecycle", "cosine"}


def test_what_is_missing_is_said(study_of, tmp_path):
    folder = study_of("learning_rate", {0.1: 0.3, 0.01: 0.2})
    job(folder / "9", "learning_rate", (0.001,), 0, None)
    killed = job(folder / "10", "learning_rate", (0.001,), 1, None)
    (killed / "summary.json").unlink()
    job(folder / "11", "learning_rate", (0.001,), 2, None, status="pruned")
    (folder / "0-1" / "summary.json").write_text("{")
    text = said(folder)
    assert "job 9 (optimizer.lr=0.001 seed=0) failed: the power went out" in text
    assert "job 10 (optimizer.lr=0.001 seed=1) killed" in text
    assert "job 11 (optimizer.lr=0.001 seed=2) stopped early" in text
    assert "0-1: cannot be read" in text
    page = (folder / "verdict.md").read_text()
    assert "failed: the power went out" in page and "With 2 to 3 seeds" in page


def test_a_failed_job_hides_no_missing_seed_of_another_level(study_of):
    folder = study_of("learning_rate", {0.1: 0.3, 0.01: 0.2})
    for name in ("0-1", "1-1", "1-2"):
        shutil.rmtree(folder / name)
    job(folder / "9", "learning_rate", (0.01,), 1, None)
    lines = found.read(folder).missing
    assert [line for line in lines if "no result of seed" in line] == ["0.01 has no result of seed 2"]
    job(folder / "10", "learning_rate", (0.1,), 1, 0.3)
    shutil.rmtree(folder / "0-2")
    assert [line for line in found.read(folder).missing if "no result of seed" in line] == []
    job(folder / "11", "learning_rate", (0.001,), 2, 0.3)
    assert {line for line in found.read(folder).missing if "no result of seed" in line} == {
        "0.001 has no result of seed 0 and 1", "0.1 has no result of seed 2", "0.01 has no result of seed 2",
    }  # fmt: skip


def test_seeds_that_agree_to_the_last_digit_tell_nothing(study_of):
    text = said(study_of("learning_rate", {0.1: 0.10, 0.01: 0.30, 0.001: 0.20}, noise=0.0))
    assert "All differences are the same in every seed" in text
    for false in ("No recipe has two seeds", "Best range", "Behind", "ahead of", "could not have been seen"):
        assert false not in text


def test_runs_on_other_images_are_no_seeds_of_one_level(study_of):
    folder = study_of("schedule", {"onecycle": 0.35, "cosine": 0.30})
    for path in folder.glob("*/summary.json"):
        images = "a" * 16 if path.parent.name.endswith("0") else "b" * 16
        path.write_text(json.dumps(json.loads(path.read_text()) | {"data_fingerprint": images}))
    assert {strand.title: len(strand.runs) for strand in found.read(folder).strands} == {
        "images aaaaaaaa": 2,
        "images bbbbbbbb": 4,
    }


def test_nothing_finished(tmp_path):
    job(tmp_path / "sweep" / "0", "schedule", ("cosine",), 0, None)
    assert "No run has finished: there is no verdict." in said(tmp_path / "sweep")


def test_jobs_that_never_began(study_of):
    folder = study_of("learning_rate", {0.1: 0.3, 0.01: 0.2}, seeds=2)
    (folder / "multirun.yaml").write_text(
        "hydra: {sweeper: {params: {optimizer.lr: '0.1,0.01,0.001', seed: 'range(0,2)'}},"
        " overrides: {task: [+study=learning_rate]}}"
    )
    assert "2 jobs of the sweep never began" in said(folder)


def test_other_settings_are_verdicts_of_their_own(study_of, tmp_path):
    study_of("learning_rate", {0.1: 0.4, 0.01: 0.3})
    for seed in range(3):
        for lr, acc in ((0.1, 0.1), (0.01, 0.3)):
            job(
                tmp_path / "sweep" / f"wide-{lr}-{seed}",
                "learning_rate",
                (lr,),
                seed,
                acc + seed / 1000,
                settings={"model": "resnet20"},
            )
    text = said(tmp_path / "sweep")
    assert "model=resnet8" in text and "model=resnet20" in text
    assert text.count("Best learning rate: 0.1,") == 1 and text.count("Best learning rate: 0.01,") == 1
    assert (tmp_path / "sweep" / "study" / "rates-2.png").exists()


def test_watched_runs_are_called_so(study_of):
    facts = {lr: {"validation": "test"} for lr in (0.1, 0.01)}
    text = said(study_of("learning_rate", {0.1: 0.4, 0.01: 0.3}, of=facts))
    assert "% test accuracy" in text and "The test images were watched while training" in text
    assert "had no part in the choice" not in text


@pytest.mark.parametrize(("study", "levels"), [("learning_rate", (0.1, 0.01)), ("optimizer", ("sgd", "adam"))])
def test_figures_of_watched_runs_do_not_speak_of_validation(study_of, study, levels):
    folder = study_of(study, dict(zip(levels, (0.4, 0.3), strict=True)), of={key: {"validation": "test"} for key in levels})
    (strand,) = found.read(folder).strands
    for figure in {"learning_rate": learning_rate, "optimizer": optimizer}[study].drawn(strand):
        written = f"{figure.title} {figure.svg} {figure.caption}".lower()
        assert "accuracy" in figure.svg and "validation" not in written and "val/acc" not in written


@pytest.mark.parametrize("study", sorted(found.FACTORS))
def test_figures_are_pictures_with_their_numbers(study_of, study):
    means = {
        "learning_rate": {0.1: 0.3, 0.01: 0.2}, "sensitivity": GRID, "augmentation": {"ablation/all": 0.3, "none": 0.2},
        "optimizer": {"sgd": 0.3, "adam": 0.2}, "schedule": {"onecycle": 0.3, "cosine": 0.2},
    }[study]  # fmt: skip
    folder = study_of(study, means)
    _, files = conclude(folder)
    pictures = [path for path in files if path.suffix == ".png"]
    assert pictures
    page = (folder / "verdict.md").read_text()
    for path in pictures:
        with Image.open(path) as image:
            assert min(image.size) > 150
        assert len(table(path.with_suffix(".csv"))) > 1
        assert f"(study/{path.name})" in page
    assert not list(folder.rglob("*.part"))


def test_the_command(study_of, capsys, tmp_path):
    folder = study_of("schedule", {"onecycle": 0.35, "cosine": 0.30})
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert "Best schedule: onecycle" in out and str(folder / "verdict.md") in out
    assert main([str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'nowhere'}: no such folder\n"
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 1
    assert "no runs of a study in it" in capsys.readouterr().err
    job(folder / "more", "optimizer", ("sgd",), 0, 0.3)
    assert main([str(folder)]) == 1
    assert "holds runs of optimizer and schedule: choose with --study" in capsys.readouterr().err
    assert main([str(folder), "--study", "schedule"]) == 0


def test_summaries_are_left_as_they_are(study_of):
    folder = study_of("schedule", {"onecycle": 0.35, "cosine": 0.30})
    before = {path: path.read_text() for path in folder.rglob("summary.json")}
    conclude(folder)
    conclude(folder)
    assert {path: path.read_text() for path in folder.rglob("summary.json")} == before
    assert json.loads(before[folder / "0-0" / "summary.json"])["status"] == "finished"
