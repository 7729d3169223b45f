"""The words of the studies that need no training, on surfaces, maps and filters whose answers are known."""

import numpy as np
import pytest

from cifar_lit.explain import stride_padding, verdicts

STEPS = np.linspace(-1, 1, 21)


def bowl(bottom, steepness, x=0.0, y=0.0):
    across, down = np.meshgrid(STEPS, STEPS)
    return bottom + steepness * ((across - x) ** 2 + (down - y) ** 2)


def test_a_ring_is_the_mean_at_a_distance():
    assert verdicts.ring(STEPS, bowl(1, 4), 0.5) == pytest.approx(1 + 4 * 0.25, abs=0.1)
    assert np.isnan(verdicts.ring(STEPS, np.full((21, 21), np.nan), 0.5))


def test_the_steeper_landscape_is_named_with_its_numbers():
    trained, untrained, compared = verdicts.landscape(STEPS, np.stack([bowl(1, 8), bowl(4, 2, x=0.3)]))
    assert "trained network: loss 1 nats in the middle; the lowest of 441 points is 1, which is the middle" in trained
    assert "has doubled at a radius of 0.4" in trained  # 8 r^2 = 1 at 0.35, between two rings
    assert "lowest of 441 points is 4, at (0.3, 0)" in untrained and "not doubled within a radius of 1" in untrained
    assert "when trained" in compared and "around the trained network is" in compared
    ratio = float(compared.split("network is ")[1].split(" times")[0])
    assert ratio == pytest.approx(4, rel=0.1)


def test_a_landscape_that_does_not_rise_is_not_made_a_ratio():
    assert "cannot be compared by a ratio" in verdicts.landscape(STEPS, np.stack([bowl(1, 8), bowl(4, -2)]))[2]
    assert verdicts.landscape(STEPS, np.stack([np.full((21, 21), np.nan), bowl(4, 1)])), "a network that diverged"


def test_sizes_and_borders_in_words():
    pixels = np.full((32, 32, 3), 255, np.uint8)
    found = [(made.stride, made.padding, made.values) for made in stride_padding.maps(pixels)]
    said = verdicts.stride_padding((32, 32), 3, found)
    assert said[0] == "stride 1 with padding 1 keeps the size of 32x32 (a kernel of 3x3)."
    assert said[1].startswith("Stride 1: 30 to 34 rows of 32, and 88% to 113% of the values; each pixel of padding adds 2 rows")
    assert said[2].startswith("Stride 2: 15 to 17 rows of 32, and 22% to 28%")
    assert "9 of 9 maps have the height" in said[4]
    wrong = [(stride, padding, values[1:]) for stride, padding, values in found]
    assert any("0 of 9 maps" in sentence for sentence in verdicts.stride_padding((32, 32), 3, wrong))


def test_the_frame_of_padding_is_measured():
    pixels = np.random.default_rng(0).integers(100, 156, (32, 32, 3)).astype(np.uint8)
    found = [(made.stride, made.padding, made.values) for made in stride_padding.maps(pixels)]
    [one, two] = verdicts.stride_padding((32, 32), 3, found)[5:]
    assert one.startswith("Padding 1 at stride 1") and two.startswith("Padding 2 at stride 1")
    assert float(one.split("border are ")[1].split(" times")[0]) > 1.5, "a grey image in a black frame"


def test_filters_are_told_apart():
    weight = np.zeros((5, 3, 3, 3), np.float32)
    weight[0] = 1.0  # brightness of a patch
    weight[1, :, :, 0], weight[1, :, :, 2] = -1.0, 1.0  # an edge, in grey
    weight[2, 0], weight[2, 2] = 1.0, -1.0  # red against blue, of a patch
    weight[3, 0, :, 0], weight[3, 2, :, 2] = 1.0, -1.0  # a coloured edge
    weight[4] = 0.001  # dead
    maps = np.zeros((2, 10, 4, 4), np.float32)
    maps[:, 3, 0, 0] = 8.0
    maps[:, 4:9, 0, 0] = 1.0
    dead, told, layer = verdicts.filters(weight, [("conv1", maps)])
    assert dead.startswith("1 of the first layer's 5 filters are nearly dead")
    assert told.startswith("Of the other 4, 2 answer to colour rather than to brightness, and 2 to differences")
    assert layer.startswith(
        "Layer conv1: 4 of 10 maps are the same everywhere on these 2 images; the liveliest tenth, first map 3"
    )
    assert f"{100 * 8 / 13:.0f}% of all variation" in layer


def test_a_verdict_is_a_file(tmp_path):
    path = verdicts.write("Title", ["One.", "Two."], tmp_path / "what.md")
    assert path.read_text() == "# Title\n\n- One.\n- Two.\n"


def test_a_verdict_is_printed_and_commands_no_terminal(tmp_path):
    path = verdicts.write("On \x1b[2Jcat.png", ["Layer \x1b]0;x\x07."], tmp_path / "what.md")
    assert path.read_text() == "# On ?[2Jcat.png\n\n- Layer ?]0;x?.\n"
