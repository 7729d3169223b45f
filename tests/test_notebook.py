"""notebooks/tour.ipynb, run from its first cell to its last on drawn images, as a reader would."""

import base64
import io
import re

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image
from running import REPOSITORY

TOUR = REPOSITORY / "notebooks" / "tour.ipynb"
# Of what readers wait for, a part: (what is in a cell, what the test makes of it).
SMALLER = [
    (
        "progress_bar=null",
        "progress_bar=null data.train_per_class=20 data.val_size=200 data.batch_size=100 trainer.limit_test_batches=2",
    ),
    (
        "train_per_class=40 data.val_size=500 data.test_per_class=10",
        "train_per_class=4 data.val_size=100 data.batch_size=100 data.test_per_class=3",
    ),
]


def test_nothing_that_was_run_is_kept():
    tour = nbformat.read(TOUR, as_version=4)
    nbformat.validate(tour)
    for cell in tour.cells:
        assert not cell.get("outputs"), "clear the outputs"
        assert cell.get("execution_count") is None
        assert not cell.metadata
    assert tour.metadata.kernelspec.name == "python3"
    assert not re.search(r"/(home|Users|root|work|tmp)/", TOUR.read_text()), "no paths of one machine"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The tour after it was run in a copy of the checkout, so that its runs stay there. Cells by their text."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("train.py", "conf", "cifar_lit"):
        (checkout / name).symlink_to(REPOSITORY / name)
    (checkout / "notebooks").mkdir()
    tour = nbformat.read(TOUR, as_version=4)
    for words, smaller in SMALLER:
        [cell] = [cell for cell in tour.cells if cell.cell_type == "code" and words in cell.source]
        cell.source = cell.source.replace(words, smaller)
    NotebookClient(tour, timeout=900, kernel_name="python3", resources={"metadata": {"path": checkout / "notebooks"}}).execute()
    return checkout, [cell for cell in tour.cells if cell.cell_type == "code"]


def text(cell):
    """What a cell printed, and what it ended in, as text or Markdown."""
    parts = [output["text"] for output in cell.outputs if output.output_type == "stream"]
    data = [output["data"] for output in cell.outputs if "data" in output]
    return "".join(parts + [bundle.get("text/markdown", "") for bundle in data])


def pictures(cell):
    data = [output["data"] for output in cell.outputs if "data" in output]
    return [Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) for bundle in data if "image/png" in bundle]


def cell_with(cells, words):
    [found] = [cell for cell in cells if words in cell.source]
    return found


@pytest.mark.slow  # trains
def test_it_trains(ran):
    checkout, cells = ran
    from cifar_lit import runs

    printed = text(cell_with(cells, "hydra.run.dir"))
    assert "quickstart, seed 0" in printed
    [first] = (checkout / "runs" / "tour").glob("*/first")
    summary = runs.read_summary(first)
    assert summary["status"] == "finished"
    assert summary["test/acc"] > 0.05, "of a hundred classes: it learned"
    assert len(pictures(cell_with(cells, "curves.png"))) == 1


@pytest.mark.slow  # as above
def test_it_compares_two_recipes(ran):
    _, cells = ran
    printed = text(cell_with(cells, "cifar_lit.report"))
    rows = re.findall(r"^\| (\d) \| (mix=\w+) \| (\d) \|", printed, re.MULTILINE)
    assert sorted(recipe for _, recipe, _ in rows) == ["mix=cutmix", "mix=none"]
    assert [(rank, seeds) for rank, _, seeds in rows] == [("1", "2"), ("2", "2")]
    assert len(pictures(cell_with(cells, "held-out-scores"))) == 1


@pytest.mark.slow  # as above
def test_it_loads_predicts_and_explains(ran):
    _, cells = ran
    assert "on synthetic" in text(cell_with(cells, "checkpoint.load"))
    assert "'test/acc'" in text(cell_with(cells, "checkpoint.load"))
    table = text(cell_with(cells, "Predictor(")).splitlines()[2:]
    assert len(table) == 3
    for row in table:
        shares = [float(share) for share in re.findall(r"([\d.]+)%", row)]
        assert len(shares) == 3
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 100.2
    overlays = pictures(cell_with(cells, "gradcam.overlay"))
    assert len(overlays) == 3
    for overlay in overlays:
        assert min(overlay.size) >= 288
        assert np.ptp(np.asarray(overlay.convert("RGB"), int), axis=2).max() > 100, "colours, over the grey picture"


@pytest.mark.slow  # as above
def test_nothing_went_wrong_by_the_way(ran):
    _, cells = ran
    for cell in cells:
        assert "Traceback" not in text(cell)
        assert not re.search(r"\b(error|Error):", text(cell)), cell.source
        assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.source
