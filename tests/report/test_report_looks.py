"""How the figures of a report look: names and units on every axis, colours that can be seen, and nothing told by colour alone."""

import re
from itertools import combinations
from pathlib import Path

import pytest
from figure_checks import check_axes, check_without_colour, check_words, keeping
from report.fake_runs import make_run
from report.read_back import drawn

from cifar_lit.report import draw, write
from cifar_lit.report.draw import ON_DARK, PALETTE

pytestmark = pytest.mark.slow

VARIED = ("optimizer", "optimizer.lr", "augment")  # settings, by their names


def test_axes_have_names_and_units(written, kept):
    assert kept.keys() == {one.name for one in drawn(written[2])}
    for figure in kept.values():
        check_axes(figure, *VARIED)
    [parallel] = kept["held-out-parallel"].axes
    assert [label.get_text() for label in parallel.get_xticklabels()][-1] == "score (%)"


def test_words_are_whole_and_apart(kept):
    for figure in kept.values():
        check_words(figure)


def test_settings_that_count_something_say_what(tmp_path):
    for number, (images, padding) in enumerate([(64, 2), (64, 4), (256, 2), (256, 4)]):
        settings = {"data.batch_size": images, "augment.crop.padding": padding}
        make_run(tmp_path / str(number), seed=0, settings=settings, accuracy=0.5 + number / 20)
    figures = {}
    with keeping(figures):
        write.read([tmp_path], "t", 8)
    [grid] = figures["held-out-grid-1"].axes
    across, down = grid.get_xlabel(), grid.get_ylabel()
    assert {across, down.replace(".\n", ".").replace("\n", " ")} == {"data.batch_size (images)", "augment.crop.padding (pixels)"}
    [parallel] = figures["held-out-parallel"].axes
    labels = [label.get_text() for label in parallel.get_xticklabels()]
    for figure in figures.values():
        check_words(figure)
    assert set(labels[:2]) == {"data.\nbatch_size\n(images)", "augment.\ncrop.padding\n(pixels)"}


def test_many_long_names_and_times_apart_by_far(tmp_path):
    for number in range(8):
        bits = [(number >> place) & 1 for place in range(3)]
        settings = {
            "trainer.accumulate_grad_batches": 1 + bits[0], "trainer.limit_train_batches": (1.0, 1)[bits[1]],
            "callbacks.early_stopping.check_on_train_epoch_end": bool(bits[2]), "data.eval_batch_size": 100 + number,
        }  # fmt: skip
        make_run(tmp_path / str(number), settings=settings, accuracy=0.4 + number / 50, train_seconds=10.0 * 3**number)
    figures = {}
    with keeping(figures):
        contents = write.read([tmp_path], "t", 8)
    for name, figure in figures.items():
        check_words(figure)
        labels = [text.get_window_extent() for axes in figure.axes for text in axes.get_xticklabels() if text.get_text()]
        assert "parallel" not in name or not any(one.overlaps(other) for one, other in combinations(labels, 2))
    for one in drawn(contents):
        assert "mathdefault" not in one.svg
    assert "1.0" in {tick for axes in figures["held-out-parallel"].axes for tick in (text.get_text() for text in axes.texts)}
    seconds = [text.get_text() for text in figures["held-out-seconds"].axes[0].get_xticklabels()]
    assert seconds and all(re.fullmatch(r"[\d.]+", text) for text in seconds)


def test_nothing_relies_on_colour_alone(written, kept):
    for figure in kept.values():
        check_without_colour(figure)
    for name, figure in kept.items():
        if "held-out-curve" in name:
            [legend] = figure.legends
            assert len(legend.texts) == len(figure.axes[0].get_lines()) == 8


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(("colours", "ground"), [(PALETTE, "#ffffff"), (ON_DARK, "#14171a")])
def test_colours_can_be_seen_on_their_ground(colours, ground):
    assert ground in Path(draw.__file__).with_name("style.css").read_text()
    for colour in colours:
        light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, colour
