"""The command: what it writes and where, and what it refuses in one line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import REPOSITORY

from cifar_lit.data import cifar100
from cifar_lit.data.dataset import DataError
from cifar_lit.explain import draw
from cifar_lit.explain.__main__ import main
from cifar_lit.explain.request import Request, data_of, samples
from cifar_lit.model.resnet import resnet8
from cifar_lit.predict import Predictor

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path) -> list[str]:
    paths = [tmp_path / "a $x$ photo.png", tmp_path / "日本.jpg"]
    for path in paths:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
    return [str(path) for path in paths]


def test_gradcam_of_test_images_goes_beside_the_caller(bundle_of, tmp_path, monkeypatch, capsys):
    bundle = bundle_of(resnet8)
    monkeypatch.chdir(tmp_path)
    assert main([str(bundle), "--what", "gradcam", "--seed", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == ["explain/gradcam.png"]
    first = Path("explain/gradcam.png").read_bytes()
    assert os.listdir("explain") == ["gradcam.png"]
    assert main([str(bundle), "--what", "gradcam", "--seed", "3"]) == 0
    assert Path("explain/gradcam.png").read_bytes() == first
    assert main([str(bundle), "--what", "gradcam", "--seed", "4"]) == 0
    assert Path("explain/gradcam.png").read_bytes() != first


def test_gradcam_of_ones_own_images_needs_no_data(bundle_of, tmp_path, photos):
    bundle = bundle_of(resnet8, data="somewhere else")
    out = ["-o", str(tmp_path / "out")]
    assert main([str(bundle), "--what", "gradcam", "--images", *photos, "--label", "plain_disc", *out]) == 0
    with Image.open(tmp_path / "out" / "gradcam.png") as image:
        assert image.info["dpi"][0] >= 149.9


def test_samples_are_test_images_with_their_classes(bundle_of):
    request = Request(bundle=str(bundle_of(resnet8)), out=Path(), device="cpu")
    six, four = samples(request, 6), samples(request, 4)
    assert [sample.name for sample in four] == [sample.name for sample in six[:4]]
    assert len({sample.name for sample in six}) == 6
    for sample in six:
        index = int(sample.name.removeprefix("test image "))
        assert sample.truth == request.tests.test.labels[index]
        assert np.array_equal(sample.pixels, request.tests.test.images[index])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--what", "gradcam", "--label", "plain_dsic"], "label plain_dsic: no class of this network"),
        (["--what", "gradcam", "--images", "nowhere.png"], "nowhere.png: cannot be read"),
        (["--what", "gradcam", "--images", *["x.png"] * 25], "--images: 25 are given, allowed are 24"),
        (["--what", "filters", "--images", *["x.png"] * 13], "--images: 13 are given, allowed are 12"),
        (["--what", "filters", "--root", "here"], "--root: the network was trained on drawn images"),
        (["--what", "confusions", "--device", "abacus"], "device=abacus: not to be had"),
    ],
)
def test_refusals_are_one_line(bundle_of, tmp_path, capsys, arguments, message):
    assert main([str(bundle_of(resnet8)), *arguments, "-o", str(tmp_path / "out")]) == 1
    out, error = capsys.readouterr()
    assert error.startswith(f"error: {message}") and error.count("\n") == 1 and not out
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written(bundle_of, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([str(bundle_of(resnet8)), "--what", "filters", "-o", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'file'}: File exists\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--what", "dreams"], "invalid choice: 'dreams'"),
        (["--what", "gradcam", "--top", "3"], "--top is for --what confusions"),
        (["--what", "confusions", "--label", "x"], "--label is for --what gradcam"),
        (["--what", "confusions", "--images", "x"], "--images is for --what gradcam, filters, loss_landscape, stride_padding"),
        (["--what", "confusions", "--top", "0"], "--top 0: allowed is 1 to 30"),
    ],
)
def test_usage_errors_exit_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bundle", *arguments])
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_a_traceback_where_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFAR_LIT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no-such"):
        main([str(tmp_path / "no-such"), "--what", "filters"])


def test_where_test_images_are_looked_for(predictor_of, tmp_path, monkeypatch):
    known = {"classes": cifar100.CLASSES, "superclasses": cifar100.SUPERCLASSES, "superclass_of": cifar100.SUPERCLASS_OF}
    facts = predictor_of(resnet8, data="cifar100", **known).facts
    monkeypatch.setenv("CIFAR100_ROOT", str(tmp_path / "here"))
    with pytest.raises(DataError, match=rf"^{tmp_path}/here: no CIFAR-100 in it; give its folder with --root or CIFAR100_ROOT$"):
        data_of(facts, None)
    with pytest.raises(DataError, match=rf"^{tmp_path}/there: no CIFAR-100 in it"):
        data_of(facts, str(tmp_path / "there"))
    monkeypatch.delenv("CIFAR100_ROOT")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^data: no CIFAR-100 in it"):
        data_of(facts, None)
    assert not list(tmp_path.glob("**/cifar-100*"))  # nothing was downloaded


def test_folders_and_their_classes(predictor_of, tmp_path):
    facts = predictor_of(resnet8, data="folder").facts
    with pytest.raises(DataError, match="trained on a folder of images: give it, .* with --root"):
        data_of(facts, None)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            Image.new("RGB", (40, 40)).save(tmp_path / "pets" / split / name / "1.png")
    with pytest.raises(DataError, match=r"of other classes than the network's: 2 instead of 100, differing in cat"):
        data_of(facts, str(tmp_path / "pets"))
    with pytest.raises(DataError, match="trained on 'elsewhere': allowed is cifar100, synthetic or folder"):
        data_of(predictor_of(resnet8, data="elsewhere").facts, None)


def test_words_are_safe_to_draw():
    assert draw.plain("a\nb\x1b[31m $x$") == r"a?b?[31m \$x\$"
    assert draw.plain("a" * 30, 10) == "a" * 9 + "…"
    assert [draw.percent(share) for share in (0, 0.004, 0.005, 0.5, 0.994, 0.9951, 1)] == [
        "0%",
        "<1%",
        "0%",
        "50%",
        "99%",
        ">99%",
        "100%",
    ]


@pytest.mark.slow
def test_as_a_process(bundle_of, tmp_path):
    command = [sys.executable, "-W", "error", "-m", "cifar_lit.explain", str(bundle_of(resnet8)), "--what", "gradcam"]
    done = subprocess.run([*command, "-o", str(tmp_path / "out")], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'out' / 'gradcam.png'}\n", "")


@pytest.mark.skipif("CIFAR100_ROOT" not in os.environ, reason="needs CIFAR100_ROOT")
def test_real_test_images(bundle_of, tmp_path):
    known = {"classes": cifar100.CLASSES, "superclasses": cifar100.SUPERCLASSES, "superclass_of": cifar100.SUPERCLASS_OF}
    bundle = bundle_of(resnet8, data="cifar100", **known)
    assert main([str(bundle), "--what", "gradcam", "-o", str(tmp_path / "out")]) == 0
    tests = data_of(Predictor(bundle, device="cpu").facts, None)
    assert len(tests.test.labels) == 10_000
