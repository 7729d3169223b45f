"""The files of a test, against what they are made of."""

import csv

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from cifar_lit import findings
from cifar_lit.data import synthetic
from cifar_lit.metrics import Evaluation

DATASET = synthetic.load(2, 6, 32)


@pytest.fixture
def written(tmp_path):
    generator = torch.Generator().manual_seed(0)
    labels = torch.from_numpy(np.array(DATASET.test.labels))
    logits = torch.randn(len(labels), 100, generator=generator)
    logits[torch.arange(len(labels)), labels] += 4
    taken = (labels == 3) & (torch.arange(len(labels)) % 6 < 4)  # class 3 is taken for class 7, four times
    logits[taken, 7] += 20 + torch.arange(int(taken.sum()))
    evaluation = Evaluation()
    evaluation.update(logits, labels)
    _, confusion = evaluation.scores()
    order = np.arange(len(labels))
    findings.write(tmp_path, DATASET, confusion, logits, labels, order, 1.6)
    return tmp_path, logits, labels


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_confusions_and_classes(written):
    folder, logits, labels = written
    predicted = logits.argmax(1)
    table = [line.split(",") for line in (folder / "confusion.csv").read_text().splitlines()]
    assert table[0][1:] == list(DATASET.classes) == [row[0] for row in table[1:]]
    assert int(table[4][8]) == ((labels == 3) & (predicted == 7)).sum() == 4
    assert sum(int(cell) for row in table[1:] for cell in row[1:]) == len(labels)
    classes = rows(folder / "per_class.csv")
    assert float(classes[3]["acc"]) == pytest.approx(((predicted == 3) & (labels == 3)).sum().item() / 6, abs=1e-4)
    assert classes[3]["superclass"] == DATASET.superclasses[DATASET.superclass_of[3]]


def test_the_calibration_error_can_be_computed_from_its_bins(written):
    folder, logits, labels = written
    bins = rows(folder / "calibration.csv")
    assert len(bins) == 15 and sum(int(row["images"]) for row in bins) == len(labels)
    for prefix, values in (("", logits), ("calibrated_", logits / 1.6)):
        filled = [row for row in bins if row[prefix + "confidence"]]
        triples = [[float(row[prefix + name]) for name in ("images", "confidence", "accuracy")] for row in filled]
        error = sum(n * abs(confidence - accuracy) for n, confidence, accuracy in triples) / len(labels)
        assert error == pytest.approx(multiclass_calibration_error(values, labels, 100, n_bins=15).item(), abs=1e-4)
        assert all(float(row["bin_low"]) <= float(row[prefix + "confidence"]) <= float(row["bin_high"]) for row in filled)


def test_without_a_temperature_its_columns_are_empty(tmp_path):
    findings._write_calibration(tmp_path / "c.csv", torch.eye(3) * 9, torch.arange(3), None)
    table = rows(tmp_path / "c.csv")
    assert {row["calibrated_images"] for row in table} == {"0"} and {row["calibrated_accuracy"] for row in table} == {""}
    assert table[-1]["images"] == "3" and table[0]["confidence"] == ""


def test_mistakes_are_the_surest_of_the_commonest_pairs(written):
    folder, logits, labels = written
    kept = np.load(folder / "mistakes.npz", allow_pickle=False)
    assert (kept["true"][:3] == 3).all() and (kept["predicted"][:3] == 7).all()
    assert (np.diff(kept["probability"][:3]) <= 0).all()
    probability, predicted = logits.double().softmax(1).max(1)
    taken = torch.nonzero((labels == 3) & (predicted == 7))[:, 0]
    surest = taken[probability[taken].argsort(descending=True, stable=True)][:3]
    assert np.array_equal(kept["images"][:3], DATASET.test.images[surest.numpy()])
    assert kept["images"].shape[1:] == (32, 32, 3) and list(kept["classes"]) == list(DATASET.classes)
    assert len(kept["true"]) <= 24 and (kept["true"] != kept["predicted"]).all()


def test_no_mistakes_and_images_that_cannot_be_told(tmp_path):
    labels = torch.from_numpy(np.array(DATASET.test.labels))
    logits = torch.nn.functional.one_hot(labels, 100).float()
    confusion = torch.eye(100, dtype=torch.long) * 6
    findings.write(tmp_path, DATASET, confusion, logits, labels, np.arange(len(labels)), None)
    assert len(np.load(tmp_path / "mistakes.npz")["true"]) == 0
    (tmp_path / "mistakes.npz").unlink()
    findings.write(tmp_path, DATASET, confusion, logits, labels, np.arange(len(labels))[::-1].copy(), None)
    assert not (tmp_path / "mistakes.npz").exists()


def test_a_run_that_diverged_has_its_files(tmp_path):
    labels = torch.from_numpy(np.array(DATASET.test.labels))
    logits = torch.full((len(labels), 100), torch.nan)
    logits[0] = 0.0
    evaluation = Evaluation()
    evaluation.update(logits, labels)
    _, confusion = evaluation.scores()
    findings.write(tmp_path, DATASET, confusion, logits, labels, np.arange(len(labels)), None)
    with open(tmp_path / "calibration.csv", newline="") as file:
        assert sum(int(row["images"]) for row in csv.DictReader(file)) == 1
