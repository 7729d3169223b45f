"""The table of confused pairs against numbers counted anew, and the choice of what is drawn."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifar_lit.data import synthetic
from cifar_lit.explain import confusions
from cifar_lit.explain.__main__ import main
from cifar_lit.explain.confusions_figure import MISTAKES, Pair, Seen, mistakes
from cifar_lit.model.resnet import resnet8
from cifar_lit.predict import Predictor

CLASSES, PARENTS = synthetic.CLASSES, [synthetic.SUPERCLASSES[index] for index in synthetic.SUPERCLASS_OF]


def run_with(bundle: Path, run: Path, table: np.ndarray) -> Path:
    """A run directory as outcome.py writes it, with a bundle and a confusion matrix."""
    run.mkdir()
    (run / "summary.json").write_text("{}")
    shutil.copytree(bundle, run / "model")
    with open(run / "confusion.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["true / predicted", *CLASSES])
        rows.writerows([name, *row] for name, row in zip(CLASSES, table.tolist(), strict=True))
    return run


def pairs_in(folder: Path) -> list[dict[str, str]]:
    with open(folder / "confused_pairs.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_without_a_run_the_test_images_are_counted(bundle_of, tmp_path, capsys):
    folder = bundle_of(resnet8)
    assert main([str(folder), "--what", "confusions", "-o", str(tmp_path / "out"), "--top", "2"]) == 0
    tests = synthetic.load(test_per_class=3).test  # as the bundle's overrides say
    guesses = [guess.index for (guess,) in Predictor(folder, device="cpu").stream(tests.images, top=1)]
    wrong = Counter((a, b) for a, b in zip(tests.labels.tolist(), guesses, strict=True) if a != b)
    rows = pairs_in(tmp_path / "out")
    assert {(row["true"], row["predicted"]): int(row["images"]) for row in rows} == {
        (CLASSES[a], CLASSES[b]): images for (a, b), images in wrong.items()
    }
    for row in rows:
        a, b, images = CLASSES.index(row["true"]), CLASSES.index(row["predicted"]), int(row["images"])
        assert float(row["share_of_true"]) == pytest.approx(images / 3, abs=1e-6)
        assert float(row["share_of_errors"]) == pytest.approx(images / wrong.total(), abs=1e-6)
        assert int(row["reverse_images"]) == wrong[b, a]
        assert (row["true_superclass"], row["predicted_superclass"]) == (PARENTS[a], PARENTS[b])
    assert [int(row["images"]) for row in rows] == sorted(wrong.values(), reverse=True)
    inside = sum(images for (a, b), images in wrong.items() if PARENTS[a] == PARENTS[b]) / wrong.total()
    said = capsys.readouterr().out
    assert f"Counts: this network on the test images, now. {wrong.total()} of 300 test images mistaken" in said
    assert f"{100 * inside:.1f}% of the mistakes stay within the superclass (4.0% if spread evenly)" in said
    assert said.splitlines()[1:] == [str(tmp_path / "out" / name) for name in ("confused_pairs.csv", "confusions.png")]
    with Image.open(tmp_path / "out" / "confusions.png") as image:
        assert image.info["dpi"][0] >= 149.9


def test_a_runs_own_table_is_used(bundle_of, tmp_path, capsys):
    table = np.random.default_rng(0).integers(0, 5, (100, 100)) * (np.random.default_rng(1).random((100, 100)) < 0.05)
    run = run_with(bundle_of(resnet8), tmp_path / "run", table)
    for place in (run, run / "model"):
        assert main([str(place), "--what", "confusions", "--top", "1"]) == 0
        assert "the run's confusion.csv" in capsys.readouterr().out
        rows = pairs_in(run / "explain")  # the run's own folder by default
        shutil.rmtree(run / "explain")
        assert len(rows) == np.count_nonzero(table) - np.count_nonzero(np.diag(table))
        assert all(int(row["images"]) == table[CLASSES.index(row["true"]), CLASSES.index(row["predicted"])] for row in rows)


def test_tables_that_are_not_the_networks_are_refused(bundle_of, tmp_path, capsys):
    run = run_with(bundle_of(resnet8), tmp_path / "run", np.eye(100, dtype=int))
    command = [str(run), "--what", "confusions", "-o", str(tmp_path / "out")]
    assert main(command) == 1
    assert "none of the 100 test images is taken for another class" in capsys.readouterr().err
    whole = (run / "confusion.csv").read_text()
    for broken in (whole.replace(CLASSES[3], "something_else"), whole[: len(whole) // 2], "", whole.replace("1", "x"),
                   whole.replace("1", "-1")):  # fmt: skip
        (run / "confusion.csv").write_text(broken)
        assert main(command) == 1
        error = capsys.readouterr().err
        assert (
            error.startswith(f"error: {run / 'confusion.csv'}: no table of the network's 100 classes") and error.count("\n") == 1
        )
    assert not (tmp_path / "out").exists()


def test_other_weights_of_a_run_than_those_it_tested_are_counted_anew(bundle_of, tmp_path):
    run = run_with(bundle_of(resnet8), tmp_path / "run", np.eye(100, dtype=int))
    facts = Predictor(run, device="cpu").facts
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").touch()
    assert confusions.recorded(str(run), facts) is not None
    assert confusions.recorded(str(run / "model"), facts) is not None
    assert confusions.recorded(str(run / "checkpoints" / "last.ckpt"), facts) is None
    assert confusions.recorded(str(tmp_path / "bundle"), facts) is None


def test_pairs_count_in_both_directions_and_once():
    table = np.zeros((4, 4), int)
    table[0, 1], table[1, 0], table[2, 3], table[3, 0], table[0, 0] = 4, 5, 7, 1, 90
    pairs = confusions.confused(table)
    assert [pair.images for pair in pairs] == [7, 5, 4, 1]
    assert confusions.most_confused(pairs, 2) == [Pair(1, 0, 5, 4), Pair(2, 3, 7, 0)]
    assert len(confusions.most_confused(pairs, 30)) == 3


def test_mistakes_drawn_are_the_surest():
    chances = np.array([[0.9, 0.1], [0.4, 0.6], [0.1, 0.9], [0.3, 0.7], [0.2, 0.8], [0.45, 0.55]])
    assert mistakes(Seen(np.zeros((6, 2, 2, 3), np.uint8), chances), 1).tolist() == [2, 4, 3, 1][:MISTAKES]
