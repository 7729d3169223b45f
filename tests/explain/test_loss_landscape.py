"""The loss landscape: directions as in the paper, the network left alone, and a command that goes on where it was stopped."""

import copy
import csv

import numpy as np
import pytest
import torch
from figure_checks import check_axes
from PIL import Image
from torch.nn import functional as F

from cifar_lit.explain import landscape, loss_landscape
from cifar_lit.explain.__main__ import main
from cifar_lit.explain.landscape import Probe
from cifar_lit.model.registry import build
from cifar_lit.model.resnet import resnet8
from cifar_lit.model.speednet import speednet_small
from cifar_lit.predict import Predictor
from cifar_lit.seeding import derive

SMALL = ["--points", "3", "--images", "20"]


def batch(count: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 32, 32, generator=generator), torch.randint(0, 100, (count,), generator=generator)


def test_filters_of_a_direction_are_as_long_as_the_networks(predictor_of):
    net = predictor_of(resnet8).net
    found = landscape.direction(net, 0, 0)
    weights = dict(net.named_parameters())
    assert set(found) == {name for name, weight in weights.items() if weight.ndim > 1}
    for name, noise in found.items():
        torch.testing.assert_close(noise.flatten(1).norm(dim=1), weights[name].detach().flatten(1).norm(dim=1))


def test_directions_are_the_seeds_and_two(predictor_of):
    net = predictor_of(resnet8).net
    name = "conv1.weight"
    first, again, second, other = (landscape.direction(net, *place)[name] for place in ((0, 0), (0, 0), (0, 1), (1, 0)))
    assert torch.equal(first, again)
    assert not torch.equal(first, second) and not torch.equal(first, other)


def test_the_middle_is_the_network_and_moving_leaves_it_alone(predictor_of):
    net = predictor_of(resnet8).net
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    images, labels = batch()
    probe = Probe(net, 0, images, labels)
    with torch.no_grad():
        expected = float(F.cross_entropy(net(images), labels))
    far = probe(0.5, -0.5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert probe(0.0, 0.0)[0] == pytest.approx(expected, rel=1e-5)
    assert far[0] != pytest.approx(expected, rel=1e-3)
    # Moved by hand.
    moved = build(predictor_of(resnet8).facts.network).eval()
    moved.load_state_dict(before)
    with torch.no_grad():
        for name, weight in moved.named_parameters():
            if weight.ndim > 1:
                weight.add_(0.5 * landscape.direction(net, 0, 0)[name] - 0.5 * landscape.direction(net, 0, 1)[name])
        assert far[0] == pytest.approx(float(F.cross_entropy(moved(images), labels)), rel=1e-4)


def test_the_untrained_network_is_that_of_the_seed(predictor_of):
    predictor = predictor_of(speednet_small)
    images, _ = batch()
    with torch.no_grad():
        predictor.net.stem.weight.mul_(3)  # as if fitted to images
    state = torch.random.get_rng_state()
    fresh = landscape.untrained(lambda: build(predictor.facts.network), predictor.net, images, derive(5, "weights"))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(derive(5, "weights"))
    begun = build(predictor.facts.network)
    for name, weight in begun.named_parameters():
        assert torch.equal(weight, dict(fresh.named_parameters())[name]), name
    assert torch.equal(fresh.stem.weight, predictor.net.stem.weight)
    norm = fresh.groups[0].norm
    with torch.no_grad():
        entering = fresh.groups[0].pool(fresh.groups[0].conv(fresh.stem(images)))
    torch.testing.assert_close(norm.running_mean, entering.mean((0, 2, 3)))
    assert not any(module.training for module in fresh.modules())


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_command(bundle_of, tmp_path, capsys):
    out = tmp_path / "out"
    command = [str(bundle_of(resnet8)), "--what", "loss_landscape", *SMALL, "-o", str(out)]
    assert main(command) == 0
    names = ["loss_landscape.npz", "loss_landscape.csv", "loss_landscape.png", "accuracy_landscape.png"]
    said = capsys.readouterr().out.splitlines()
    assert said[:5] == [str(out / name) for name in [*names, "loss_landscape.md"]]
    assert "\n".join(said[5:]) + "\n" == (out / "loss_landscape.md").read_text()
    table = rows(out / "loss_landscape.csv")
    assert [row["network"] for row in table] == ["trained"] * 9 + ["untrained"] * 9
    assert all(float(row["loss"]) > 0 and 0 <= float(row["acc"]) <= 1 for row in table)
    for name in names[2:]:
        with Image.open(out / name) as image:
            assert image.info["dpi"][0] >= 149.9
    assert not list(out.glob("*.part"))


@pytest.mark.parametrize(
    ("options", "points", "images"),
    [(["--budget", "minutes"], 5, 3), ([], 3, 2), (["--budget", "minutes", "--points", "3", "--images", "4"], 3, 4)],
)
def test_a_budget_says_how_much(bundle_of, tmp_path, monkeypatch, options, points, images):
    assert sorted(loss_landscape.BUDGETS, key=loss_landscape.BUDGETS.__getitem__) == ["minutes", "hour", "full"]
    monkeypatch.setattr(loss_landscape, "BUDGETS", {"minutes": (5, 3), "hour": (3, 2)})
    monkeypatch.setattr(loss_landscape.draw, "write", lambda figure, path: path)
    assert main([str(bundle_of(resnet8)), "--what", "loss_landscape", *options, "-o", str(tmp_path)]) == 0
    assert len(rows(tmp_path / "loss_landscape.csv")) == 2 * points**2
    assert f"{images} drawn images" in (tmp_path / "loss_landscape.md").read_text().splitlines()[0]


def test_numbers_are_of_the_weights_moved_by_hand(bundle_of, tmp_path, monkeypatch):
    """w + a d1 + b d2 on the same images, at places where the two directions cannot be taken for each other."""
    began, real = [], Probe.__init__
    monkeypatch.setattr(Probe, "__init__", lambda self, *given: (began.append(given), real(self, *given))[1])
    figures = []
    monkeypatch.setattr(loss_landscape.draw, "write", lambda figure, path: (figures.append(figure), path)[1])
    assert main([str(bundle_of(resnet8)), "--what", "loss_landscape", *SMALL, "--seed", "3", "-o", str(tmp_path)]) == 0
    names = ("network", "first direction", "second direction")
    table = {tuple(row[name] for name in names): row for row in rows(tmp_path / "loss_landscape.csv")}
    for name, (net, seed, images, labels) in zip(landscape.NETS, began, strict=True):
        along, across = (landscape.direction(net, seed, number) for number in (0, 1))
        assert (seed, len(images)) == (3, 20)
        for first, second in ((1, 0), (0, 1), (-1, 1)):
            moved = copy.deepcopy(net)
            with torch.no_grad():
                for key, weight in moved.named_parameters():
                    weight.add_(first * along[key] + second * across[key] if key in along else 0.0)
                logits = moved(images)
            row = table[name, str(first), str(second)]
            assert float(row["loss"]) == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-4)
            assert float(row["acc"]) == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
            assert float(row["loss"]) != pytest.approx(float(table[name, str(second), str(first)]["loss"]), rel=1e-3)
    assert len(figures) == 2
    for figure in figures:
        check_axes(figure)


@pytest.mark.slow
def test_a_stopped_command_goes_on_and_comes_to_the_same(bundle_of, tmp_path, capsys, monkeypatch):
    bundle = str(bundle_of(resnet8))
    assert main([bundle, "--what", "loss_landscape", *SMALL, "-o", str(tmp_path / "whole")]) == 0
    measured = []
    real = Probe.__call__

    def stopping(self, first, second):
        if len(measured) == 7:
            raise KeyboardInterrupt
        measured.append((first, second))
        return real(self, first, second)

    with monkeypatch.context() as patched:
        patched.setattr(Probe, "__call__", stopping)
        assert main([bundle, "--what", "loss_landscape", *SMALL, "-o", str(tmp_path / "torn")]) == 130
    assert not (tmp_path / "torn" / "loss_landscape.png").exists()
    again = []
    monkeypatch.setattr(Probe, "__call__", lambda self, *place: (again.append(place), real(self, *place))[1])
    assert main([bundle, "--what", "loss_landscape", *SMALL, "-o", str(tmp_path / "torn")]) == 0
    assert len(again) == 18 - 7
    assert "7 of 18 points are there" in capsys.readouterr().err
    assert rows(tmp_path / "torn" / "loss_landscape.csv") == rows(tmp_path / "whole" / "loss_landscape.csv")
    again.clear()
    assert main([bundle, "--what", "loss_landscape", *SMALL, "-o", str(tmp_path / "torn")]) == 0
    assert not again  # all there: only drawn
    assert main([bundle, "--what", "loss_landscape", *SMALL, "--seed", "1", "-o", str(tmp_path / "torn")]) == 0
    assert len(again) == 18  # other directions: another landscape


def test_other_pixels_or_labels_are_another_landscape(predictor_of):
    net = predictor_of(resnet8).net
    images, labels = (tensor.numpy() for tensor in batch())
    name = landscape.identity(net, images, labels, seed=0)
    assert name == landscape.identity(net, images.copy(), labels.copy(), seed=0)
    other = images.copy()
    other[3, 1, 2, 2] += 0.5
    assert name != landscape.identity(net, other, labels, seed=0)
    assert name != landscape.identity(net, images, labels[::-1], seed=0)
    assert name != landscape.identity(net, images, labels, seed=1)


def test_the_same_command_over_other_images_measures_them(bundle_of, tmp_path, monkeypatch):
    """The folder is the same, and so are the numbers of the images: only what is in them changed."""
    monkeypatch.setattr(loss_landscape.draw, "write", lambda figure, path: path)
    for name in ("_losses", "_accuracies"):
        monkeypatch.setattr(loss_landscape, name, lambda grid, about: None)
    out = tmp_path / "out"
    command = [str(bundle_of(resnet8)), "--what", "loss_landscape", *SMALL, "-o", str(out)]
    assert main(command) == 0
    before = rows(out / "loss_landscape.csv")
    real = Predictor.prepare
    monkeypatch.setattr(Predictor, "prepare", lambda self, picture: real(self, 255 - np.asarray(picture)))
    assert main(command) == 0
    assert rows(out / "loss_landscape.csv") != before


def test_a_torn_file_is_begun_anew(tmp_path):
    (tmp_path / "grid.npz").write_bytes(b"PK\x03\x04 torn")
    assert len(landscape.opened(tmp_path / "grid.npz", "name", 3, 1.0).left) == 18


def test_losses_that_are_no_numbers_are_drawn_as_the_highest():
    drawn = loss_landscape.shown(np.array([np.nan, np.inf, 1e9, 2.0]))
    assert drawn.tolist() == [1e4, 1e4, 1e4, 2.0]


def test_both_networks_are_on_one_scale():
    loss = np.stack([np.full((3, 3), 0.5), np.full((3, 3), 50.0)]) * np.linspace(1, 2, 9).reshape(3, 3)
    figure = loss_landscape._losses(landscape.Grid("", np.linspace(-1, 1, 3), loss, loss / 100), "a network")
    solids = [axes for axes in figure.axes if hasattr(axes, "get_zlim")]
    assert len(solids) == 2 and solids[0].get_zlim() == solids[1].get_zlim()
    assert solids[0].get_zlim() == pytest.approx(np.log10([0.5, 100.0]), abs=0.3)
    scales = {
        (mesh.norm.vmin, mesh.norm.vmax) for axes in figure.axes for mesh in axes.collections if getattr(mesh, "filled", False)
    }
    assert scales == {(0.5, 100.0)}


def test_no_word_is_cut_off():
    """Nor a tick: all that is drawn lies on the picture, the labels of surfaces too, which layouts do not see."""
    loss = np.random.default_rng(0).uniform(1.5, 54, (2, 11, 11))
    grid = landscape.Grid("", np.linspace(-1, 1, 11), loss, loss / 60)
    about = "speednet_small-adam_l2_onecycle: 400 training images, 11x11 points, seed 0"
    for figure in (loss_landscape._losses(grid, about), loss_landscape._accuracies(grid, about)):
        figure.draw_without_rendering()  # which lays it out
        drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert 0 <= drawn.x0 < drawn.x1 <= width and 0 <= drawn.y0 < drawn.y1 <= height


def test_the_first_direction_is_drawn_from_left_to_right():
    loss = np.broadcast_to(np.linspace(1, 9, 5), (2, 5, 5))  # rises along the columns of the grid alone
    grid = landscape.Grid("", np.linspace(-1, 1, 5), loss, loss / 10)
    for figure in (loss_landscape._losses(grid, "a network"), loss_landscape._accuracies(grid, "a network")):
        lines = [one for axes in figure.axes for one in axes.collections if getattr(one, "filled", True) is False]
        upright = [path.vertices for contours in lines for path in contours.get_paths() if len(path.vertices)]
        assert len(lines) == 2 and upright and all(np.ptp(line[:, 0]) < 1e-6 for line in upright)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--points", "4"], 2, "--points 4: allowed is an odd number, 3 to 201"),
        (["--range", "0"], 2, "--range 0: allowed is above 0, up to 10"),
        (["--top", "3"], 2, "--top is for --what confusions"),
        (["--images", "x.png"], 1, "--images x.png: for loss_landscape give how many, 1 to 50000"),
    ],
)
def test_refusals(bundle_of, tmp_path, capsys, arguments, code, message):
    command = [str(bundle_of(resnet8)), "--what", "loss_landscape", *arguments, "-o", str(tmp_path / "out")]
    if code == 2:
        with pytest.raises(SystemExit):
            main(command)
    else:
        assert main(command) == 1
    assert message in capsys.readouterr().err
