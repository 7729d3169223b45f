"""R5's grid: what stands over each image, beside it, and what the colours mean."""

import numpy as np
import pytest

from cifar_lit.explain import draw, gradcam, gradcam_grid
from cifar_lit.explain.request import Request, samples
from cifar_lit.model.resnet import resnet8

pytestmark = pytest.mark.slow


@pytest.fixture
def drawn(bundle_of, tmp_path, monkeypatch):
    """The request, and the figure that was about to be written."""
    figures = []
    monkeypatch.setattr(draw, "write", lambda figure, path: figures.append(figure) or path)
    request = Request(bundle=str(bundle_of(resnet8)), out=tmp_path, device="cpu", seed=3)
    gradcam_grid.run(request)
    return request, figures[0]


def test_two_rows_of_three_with_true_and_predicted_class(drawn):
    request, figure = drawn
    *grid, bar = figure.axes
    assert len(grid) == 6
    assert {axes.get_subplotspec().get_gridspec().get_geometry() for axes in grid} == {(2, 3)}
    classes = request.predictor.facts.classes
    for axes, sample in zip(grid, samples(request, 6), strict=True):
        best = request.predictor(sample.pixels)[0]
        true, predicted = axes.get_title().splitlines()[:2]
        assert true == f"true: {draw.plain(classes[sample.truth])}"
        assert predicted.endswith(f"predicted: {draw.plain(best.label)} {draw.percent(best.probability)}")
        assert predicted[0] == ("✓" if best.index == sample.truth else "✗")  # not by colour alone
    assert bar.get_ylabel() == "share of the map's maximum"
    assert "Grad-CAM" in figure.get_suptitle()


def test_each_image_lies_beside_its_overlay(drawn):
    request, figure = drawn
    for axes, sample in zip(figure.axes[:6], samples(request, 6), strict=True):
        shown = np.asarray(axes.images[0].get_array())
        left, right = shown[:, : shown.shape[0]], shown[:, -shown.shape[0] :]
        assert np.array_equal(left, np.asarray(gradcam.enlarge(sample.pixels)))
        assert right.shape == left.shape and not np.array_equal(left, right)
