"""The tables of a study of robustness, bin by bin from the network's answers; and how its figures look."""

import csv
import json

import numpy as np
import pytest
import torch
from figure_checks import check_axes, check_without_colour, check_words
from robustness.subjects import TEMPERATURE, make_bundle, others

from cifar_lit import checkpoint
from cifar_lit.data import synthetic
from cifar_lit.predict import Predictor
from cifar_lit.robustness import __main__ as command
from cifar_lit.robustness import figures, files, study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The folder of a study of twenty images, which they were, how each corruption left them, and the figures by name."""
    folder = tmp_path_factory.mktemp("robustness")
    made = make_bundle(folder / "model")
    corrupted, drawn = [], {}
    corrupt, paint_with = study.corrupt, figures._drawn

    def corrupting(*given):
        corrupted.append((given[-1], corrupt(*given)))
        return corrupted[-1][1]

    def drawing(name, section, words, paint):
        return paint_with(name, section, words, lambda figure: (drawn.update({name: figure}), paint(figure)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "corrupt", corrupting)
        patch.setattr(figures, "_drawn", drawing)
        arguments = ["--limit", "20", "--ood", str(others(folder / "others")), "--device", "cpu"]
        assert command.main([str(made), "-o", str(folder / "out"), *arguments]) == 0
    chosen = corrupted[0][0]
    assert len(corrupted) == 75 and all(np.array_equal(part, chosen) for part, _ in corrupted)
    return folder, chosen, np.concatenate([images for _, images in corrupted]), drawn


def answers(folder, images: np.ndarray) -> torch.Tensor:
    """Logits of raw images, by the network alone."""
    net, facts = checkpoint.load(folder / "model")
    normal = (images.astype(np.float32) / 255 - np.float32(facts.mean)) / np.float32(facts.std)
    with torch.inference_mode():
        return net(torch.from_numpy(normal.transpose(0, 3, 1, 2).copy())).double()


def table(folder, name: str) -> list[dict[str, str]]:
    with open(folder / "out" / name, newline="") as file:
        return list(csv.DictReader(file))


def test_every_bin_of_the_reliability(measured):
    folder, chosen, corrupted, _ = measured
    tests = synthetic.load(train_per_class=1, test_per_class=2).test
    labels = tests.labels[chosen]
    rows = table(folder, "reliability.csv")
    assert len(rows) == 4 * 15
    for which, images in (("clean", np.array(tests.images)[chosen]), ("corrupted", corrupted)):
        logits, truth = answers(folder, images), np.tile(labels, len(images) // 20)
        for when, scale in (("before", 1.0), ("after", TEMPERATURE)):
            confidence, guess = (found.numpy() for found in (logits / scale).softmax(1).max(1))
            own = [row for row in rows if (row["of"], row["temperature"]) == (which, when)]
            for number, row in enumerate(own):
                low, high = number / 15, (number + 1) / 15
                assert (float(row["low"]), float(row["high"])) == pytest.approx((low, high))
                inside = (confidence >= low) & (confidence < high) if number < 14 else confidence >= low
                assert int(row["images"]) == inside.sum()
                told = [float(row[name]) for name in ("confidence", "accuracy") if row[name]]
                expected = [confidence[inside].mean(), (guess == truth)[inside].mean()] if inside.any() else []
                assert told == pytest.approx(expected, abs=1e-4)


def test_every_bin_of_the_other_images(measured):
    folder, chosen, _, drawn = measured
    own = answers(folder, np.array(synthetic.load(train_per_class=1, test_per_class=2).test.images)[chosen])
    predictor = Predictor(folder / "model", device="cpu")
    outside = answers(folder, np.stack([predictor.prepare(path) for path in sorted((folder / "others").rglob("*.png"))]))
    for name, of in (("max_softmax", lambda logits: logits.softmax(1).amax(1)), ("energy", lambda logits: logits.logsumexp(1))):
        values = [of(logits).numpy() for logits in (own, outside)]
        ends = (0, 1) if name == "max_softmax" else (np.concatenate(values).min(), np.concatenate(values).max())
        edges = np.linspace(*ends, 31)
        rows = [row for row in table(folder, "ood.csv") if row["confidence"] == name]
        assert [float(row["low"]) for row in rows] == pytest.approx(edges[:-1], abs=1e-4)
        assert [float(row["high"]) for row in rows] == pytest.approx(edges[1:], abs=1e-4)
        outlines = [patch for patch in drawn[f"ood_{name}"].axes[0].patches if not patch.get_fill()]
        for column, seen, outline in zip(("test_images", "other_images"), values, outlines, strict=True):
            places = np.clip(np.searchsorted(edges, seen, side="right") - 1, 0, 29)
            counts = np.bincount(places, minlength=30)
            assert [int(row[column]) for row in rows] == counts.tolist()
            assert outline.get_data().values == pytest.approx(100 * counts / len(seen))


def test_figures_have_names_units_and_looks(measured):
    drawn = measured[3]
    assert len(drawn) == 11
    for figure in drawn.values():
        check_axes(figure)
        check_without_colour(figure)
        check_words(figure)


def test_a_sample_repeats_itself(measured, tmp_path):
    folder = measured[0]
    assert command.main([str(folder / "model"), "--limit", "20", "-o", str(tmp_path), "--device", "cpu"]) == 0
    numbers = [json.loads((place / files.NUMBERS).read_text()) for place in (folder / "out", tmp_path)]
    assert numbers[0]["images"] == numbers[0]["limit"] == 20
    assert "a sample of 20 test images, by class" in (tmp_path / files.PAGE).read_text()
    for key in ("clean", "corruptions", "mean", "reliability"):
        assert numbers[0][key] == numbers[1][key]
    assert numbers[1]["ood"] is None and not (tmp_path / "ood.csv").exists()
