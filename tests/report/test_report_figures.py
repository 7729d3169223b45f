"""Figures: each with its PNG and CSV, whose numbers are computed again here, from the run directories alone."""

import csv
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from report.fake_runs import make_run, sweep
from report.read_back import drawn, held_out, metrics, table

from cifar_lit.report import write
from cifar_lit.report.draw import INK
from cifar_lit.report.figures import calibration
from cifar_lit.runs import records

pytestmark = pytest.mark.slow

ALWAYS = {"scores", "seconds", "overview", "gap", "classes", "superclasses", "confusions", "calibration", "mistakes",
          "curve-val-acc", "curve-train-acc", "curve-val-loss", "curve-train-loss", "curve-lr"}  # fmt: skip


def test_every_figure_has_its_files_and_what_it_needs(written):
    _, out, contents = written
    names = {one.name.split("-", 2 if one.name.startswith("held-out") else 1)[-1] for one in drawn(contents)}
    assert ALWAYS | {"importance", "parallel", "grid-1", "grid-2", "grid-3"} == names
    assert len({one.name for one in drawn(contents)}) == len(drawn(contents))
    for one in drawn(contents):
        with Image.open(out / "figures" / f"{one.name}.png") as image:
            assert image.width >= 700
            assert image.convert("RGB").getpixel((2, image.height - 2)) == (255, 255, 255)  # white, for papers
        assert (out / "figures" / f"{one.table}.csv").exists()
        assert one.title and one.caption.endswith((".", ")"))


def test_curves_are_the_means_of_the_runs(written):
    root, out, _ = written
    runs = held_out(root)
    rows = table(out, "held-out-curves")
    assert {row["recipe"] for row in rows} == runs.keys()
    for row in rows:
        own = [metrics(path)[int(row["epoch"]) - 1] for path, _ in runs[row["recipe"]]]
        for name in ("train/acc", "val/acc", "val/acc5", "train/loss", "val/loss", "lr"):
            values = [one[name] for one in own]
            told = [float(row[f"{name} {part}"]) for part in ("mean", "low", "high", "n")]
            assert told == pytest.approx([np.mean(values), min(values), max(values), 3], rel=1e-5)
    with np.load(out / "figures" / "held-out-curves.npz", allow_pickle=False) as file:
        recipes = file["recipes"].tolist()
        for row in rows:
            assert file["val/acc mean"][recipes.index(row["recipe"]), int(row["epoch"]) - 1] == pytest.approx(
                float(row["val/acc mean"]), rel=1e-5
            )


def test_scores_gap_and_seconds_are_those_of_the_summaries(written):
    root, out, _ = written
    runs = held_out(root)
    for row in table(out, "held-out-scores"):
        name = {"validation": "val/acc", "test": "test/acc"}[row["measure"]]
        values = {summary["seed"]: summary[name] for _, summary in runs[row["recipe"]]}
        assert float(row["value"]) == values[int(row["seed"])]
        assert float(row["mean"]) == pytest.approx(np.mean(list(values.values())))
    for row in table(out, "held-out-gap"):
        own = [summary for _, summary in runs[row["recipe"]]]
        assert float(row["gap"]) == pytest.approx(np.mean([one["train/acc"] - one["test/acc"] for one in own]))
        assert float(row["gap"]) == pytest.approx(float(row["train/acc"]) - float(row["test/acc"]))
    points = table(out, "held-out-seconds")
    assert len(points) == 18
    for row in points:
        own = [summary for _, summary in runs[row["recipe"]]]
        cost, gain = np.mean([one["train_seconds"] for one in own]), np.mean([one["val/acc"] for one in own])
        assert (float(row["train_seconds"]), float(row["score"])) == pytest.approx((cost, gain))
        beaten = any(float(o["train_seconds"]) < cost and float(o["score"]) > gain for o in points)
        assert (row["on_front"] == "1") == (not beaten)


def test_grids_are_means_over_the_recipes_in_each_cell(written):
    root, out, _ = written
    runs = [summary for group in held_out(root).values() for _, summary in group]
    pairs = set()
    for number in (1, 2, 3):
        rows = table(out, f"held-out-grid-{number}")
        pairs.add(frozenset((rows[0]["row"], rows[0]["column"])))
        for row in rows:
            cell = [s["val/acc"] for s in runs if str(s["config"][row["row"]]) == row["row value"]
                    and str(s["config"][row["column"]]) == row["column value"]]  # fmt: skip
            assert float(row["score"]) == pytest.approx(np.mean(cell)) and len(cell) == 3 * int(row["recipes"])
    assert len(pairs) == 3


def test_importance_of_a_balanced_grid_is_that_of_its_sums_of_squares(written):
    root, out, _ = written
    runs = [summary for group in held_out(root).values() for _, summary in group]
    values = np.array([one["val/acc"] for one in runs])
    total = ((values - values.mean()) ** 2).sum()
    between, freedom = {}, {}
    for name in ("optimizer", "optimizer.lr", "augment"):
        levels = {one["config"][name] for one in runs}
        groups = [values[[one["config"][name] == level for one in runs]] for level in levels]
        between[name] = sum(len(group) * (group.mean() - values.mean()) ** 2 for group in groups)
        freedom[name] = len(levels) - 1
    error = (total - sum(between.values())) / (len(values) - 1 - sum(freedom.values()))
    expected = {name: (between[name] - freedom[name] * error) / (total + error) for name in between}
    told = {row["setting"]: float(row["share"]) for row in table(out, "held-out-importance")}
    assert told == pytest.approx(expected) and list(told) == sorted(expected, key=lambda name: -expected[name])


def test_classes_superclasses_and_confusions_are_those_of_the_confusion_matrices(written):
    root, out, _ = written
    runs = held_out(root)
    first = table(out, "held-out-scores")[0]["recipe"]
    matrices = []
    for path, _ in runs[first]:
        with open(path / "confusion.csv", newline="") as file:
            head, *rows = csv.reader(file)
        matrices.append(np.array([row[1:] for row in rows], int))
    classes, total = head[1:], sum(matrices)
    own = [row for row in table(out, "held-out-classes") if row["recipe"] == first]
    assert [row["class"] for row in own] == classes
    share = np.mean([np.diag(matrix) / matrix.sum(1) for matrix in matrices], axis=0)
    assert [float(row["acc mean"]) for row in own] == pytest.approx(share.tolist(), abs=1e-4)
    for row in table(out, "held-out-superclasses"):
        if row["recipe"] == first:
            inside = [i for i, name in enumerate(classes) if name.startswith(row["superclass"])]
            near = total[np.ix_(inside, inside)].sum() / total[inside].sum()
            assert float(row["acc superclass"]) == pytest.approx(near)
            assert float(row["acc class"]) == pytest.approx(np.diag(total)[inside].sum() / total[inside].sum(), abs=1e-4)
    pairs = table(out, "held-out-confusions")
    assert len(pairs) == np.count_nonzero(total - np.diag(np.diag(total)))
    assert [int(row["images"]) for row in pairs] == sorted((int(row["images"]) for row in pairs), reverse=True)
    for row in pairs:
        assert int(row["images"]) == total[classes.index(row["true"]), classes.index(row["predicted"])]


def test_calibration_pools_the_bins_of_the_runs(written):
    root, out, _ = written
    runs = held_out(root)
    first = table(out, "held-out-scores")[0]["recipe"]
    files = []
    for path, _ in runs[first]:
        with open(path / "calibration.csv", newline="") as file:
            files.append(list(csv.DictReader(file)))
    rows = table(out, "held-out-calibration")
    for number, row in enumerate(rows):
        images = [int(file[number]["images"]) for file in files]
        assert int(row["images"]) == sum(images)
        if sum(images):
            for name in ("confidence", "accuracy", "calibrated_confidence", "calibrated_accuracy"):
                mean = sum(n * float(file[number][name]) for n, file in zip(images, files, strict=True) if n) / sum(images)
                assert float(row[name]) == pytest.approx(mean, abs=1e-5)
    error = sum(int(row["images"]) * abs(float(row["confidence"]) - float(row["accuracy"])) for row in rows if row["confidence"])
    bins = tuple(np.array([float(row[name] or "nan") for row in rows]) for name in ("images", "confidence", "accuracy"))
    assert calibration.error(bins) == pytest.approx(error / sum(int(row["images"]) for row in rows))


def test_overfitting_table_is_of_the_curves(written):
    root, out, _ = written
    for row in table(out, "held-out-overfitting"):
        own = [metrics(path) for path, _ in held_out(root)[row["recipe"]]]
        best = [int(np.argmax([epoch["val/acc"] for epoch in curve])) + 1 for curve in own]
        rise = [curve[-1]["val/loss"] / min(epoch["val/loss"] for epoch in curve) - 1 for curve in own]
        assert float(row["best_epoch"]) == pytest.approx(np.mean(best))
        assert float(row["loss_rise"]) == pytest.approx(np.mean(rise), abs=1e-5)
        assert (row["verdict"] == "over-fits") == (float(row["gap"]) > 0.10)


def test_parallel_coordinates_hold_each_recipes_settings(written):
    root, out, _ = written
    for row in table(out, "held-out-parallel"):
        config = held_out(root)[row["recipe"]][0][1]["config"]
        assert {name: row[name] for name in ("optimizer", "augment")} == {name: config[name] for name in ("optimizer", "augment")}
        assert float(row["optimizer.lr"]) == config["optimizer.lr"]


def test_figures_follow_the_page(written):
    ids: list[str] = []
    for one in drawn(written[2]):
        root = ElementTree.fromstring(one.svg)
        assert root.get("role") == "img" and root.get("aria-label") == one.title and not root.get("width")
        assert "currentColor" in one.svg and INK not in one.svg.lower() and "<metadata" not in one.svg and "<style" not in one.svg
        own = [element.get("id") for element in root.iter() if element.get("id")]
        links = {value.lstrip("#") for element in root.iter() for name, value in element.items() if name.endswith("href")}
        assert {link for link in links if not link.startswith("data:")} <= set(own)
        assert set(re.findall(r"url\(#([^)]*)\)", one.svg)) <= set(own)
        ids += own
    assert len(ids) == len(set(ids))


def test_a_figure_is_left_out_with_the_runs_that_lack_its_file(tmp_path):
    run = make_run(tmp_path / "old", seed=1, extras=False)
    (run / "confusion.csv").unlink()
    contents = write.read([tmp_path], "t", 8)
    notes = [one for section in contents.parts[0].sections.values() for one in section if isinstance(one, str)]
    for file in ("calibration.csv", "mistakes.npz", "confusion.csv"):
        assert any(file in note and str(run) in note for note in notes), file
    names = {one.name for one in drawn(contents)}
    assert names == {f"held-out-{name}" for name in ALWAYS - {"calibration", "mistakes", "confusions"}}


def evil_array() -> bytes:
    out = io.BytesIO()
    np.savez(out, images=np.array([print], object), true=1, predicted=1, probability=1, classes=np.array(["a"]))
    return out.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"class,superclass,images,acc\na,b,x,0.5\n", b"\xff\xfe\0", evil_array()]
)
@pytest.mark.parametrize("name", ["per_class.csv", "confusion.csv", "calibration.csv", "mistakes.npz"])
def test_torn_and_hostile_files_are_as_if_not_there(tmp_path, name, content):
    run = make_run(tmp_path / "run", seed=1)
    (run / name).write_bytes(content)
    assert getattr(records, name.split(".")[0])(run) is None


def test_nothing_is_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "was here",)

    run = make_run(tmp_path / "run", seed=1)
    with np.load(run / "mistakes.npz") as file:
        arrays = dict(file)
    for name in arrays:
        np.savez(run / "mistakes.npz", **arrays | {name: np.array([Evil()], object)})
        assert records.mistakes(run) is None
    assert not (tmp_path / "was here").exists()


def test_a_report_on_torn_files_only(tmp_path):
    run = make_run(tmp_path / "run", seed=1)
    for name in ("per_class.csv", "confusion.csv", "calibration.csv", "mistakes.npz", "metrics.csv"):
        (run / name).write_bytes(b"PK\x03\x04\xff")
    names = {one.name for one in drawn(write.read([tmp_path], "t", 8))}
    assert names == {"held-out-scores", "held-out-seconds", "held-out-gap"}


def test_a_grid_with_a_missing_cell_is_drawn_and_says_so(tmp_path):
    sweep(tmp_path, seeds=1, epochs=2)
    (tmp_path / "000" / "summary.json").unlink()
    (tmp_path / "001" / "summary.json").unlink()
    captions = [one.caption for one in drawn(write.read([tmp_path], "t", 8)) if "grid" in one.name]
    assert any("Hatched: no finished run." in caption for caption in captions)
