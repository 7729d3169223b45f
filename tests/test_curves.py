"""The picture of a run's learning curves, by its pixels."""

import numpy as np
import pytest
from PIL import Image

from cifar_lit.curves import draw

ROW = {"epoch": 0, "train/acc": 0.1, "val/acc": 0.15, "val/acc5": 0.4, "train/loss": 4.0, "val/loss": 3.9, "lr": 0.1}


def quarters(path) -> dict[str, int]:
    """How many pixels of each quarter of the picture are coloured: lines are, and texts, axes and grids are not."""
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (1000, 700))
        pixels = np.asarray(image.convert("RGB"), int)
    coloured = np.ptp(pixels, axis=2) > 60
    parts = [part for half in np.split(coloured, 2) for part in np.split(half, 2, axis=1)]
    return {name: int(part.sum()) for name, part in zip(("accuracy", "loss", "rate", "gap"), parts, strict=True)}


def test_each_quantity_has_its_place(tmp_path):
    rows = [ROW | {"epoch": epoch, "train/acc": 0.1 * (epoch + 1), "lr": 0.1 / (epoch + 1)} for epoch in range(3)]
    draw(rows, tmp_path / "curves.png")
    assert all(quarters(tmp_path / "curves.png").values())
    draw([{key: row[key] for key in ("epoch", "lr")} for row in rows], tmp_path / "curves.png")
    found = quarters(tmp_path / "curves.png")
    assert (found["accuracy"], found["loss"], found["gap"]) == (0, 0, 0) and found["rate"]


@pytest.mark.parametrize("rows", [[], [ROW], [ROW | {"train/loss": float("nan"), "val/loss": float("inf")}]])
def test_runs_that_came_to_little_have_a_picture_too(rows, tmp_path):
    draw(rows, tmp_path / "curves.png")
    assert bool(quarters(tmp_path / "curves.png")["accuracy"]) == bool(rows)
