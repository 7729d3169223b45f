"""CIFAR-100-C's own files, stood in for by empty ones of their layout: what is read of them, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cifar_lit.data.dataset import DataError, Split
from cifar_lit.data.order import holdout
from cifar_lit.robustness import official
from cifar_lit.robustness.corruptions import NAMES, SEVERITIES
from cifar_lit.robustness.official import IMAGES, SHAPE
from cifar_lit.robustness.study import Study

pytestmark = pytest.mark.slow

LABELS = np.tile(np.random.default_rng(0).permutation(np.arange(IMAGES) % 100), 5).astype(np.uint8)


def empty(path, shape=SHAPE, dtype=np.uint8):
    """An .npy file of nothing but a header and a hole."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + int(np.prod(shape)) * np.dtype(dtype).itemsize)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "CIFAR-100-C"
    place.mkdir()
    for name in NAMES:
        empty(place / f"{name}.npy")
    np.save(place / "labels.npy", LABELS)
    return place


def test_severities_are_stacked_and_files_are_mapped(folder):
    array = np.load(folder / "fog.npy", mmap_mode="r+")
    for severity in SEVERITIES:
        array[(severity - 1) * IMAGES] = severity
        array[severity * IMAGES - 1] = 10 * severity
    array.flush()
    files = official.load(folder, 100)
    assert all(isinstance(array, np.memmap) for array in files.arrays.values())
    for severity in SEVERITIES:
        split = files.split("fog", severity)
        assert split.images.shape == (IMAGES, 32, 32, 3) and np.array_equal(split.labels, LABELS[:IMAGES])
        assert (split.images[0] == severity).all() and (split.images[-1] == 10 * severity).all()
        assert not files.split("snow", severity).images[0].any()


def spoil(folder, how):
    match how:
        case "missing":
            (folder / "snow.npy").unlink()
        case "several missing":
            for name in NAMES[:5]:
                (folder / f"{name}.npy").unlink()
        case "labels missing":
            (folder / "labels.npy").unlink()
        case "short":
            empty(folder / "fog.npy", (10_000, 32, 32, 3))
        case "channels first":
            empty(folder / "fog.npy", (50_000, 3, 32, 32))
        case "floats":
            empty(folder / "fog.npy", dtype=np.float32)
        case "pickle":
            np.save(folder / "fog.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
        case "archive":
            with open(folder / "fog.npy", "wb") as file:
                np.savez(file, a=np.zeros(2))
        case "torn":
            with open(folder / "fog.npy", "r+b") as file:
                file.truncate(5_000_000)
        case "empty":
            (folder / "fog.npy").write_bytes(b"")
        case "text":
            (folder / "fog.npy").write_text("<html>not found</html>")
        case "many classes":
            np.save(folder / "labels.npy", LABELS.astype(np.int64) + 1)
        case "labels of floats":
            np.save(folder / "labels.npy", LABELS / 1)
        case "labels that differ":
            labels = LABELS.copy()
            labels[-2:] = (labels[-2:] + 1) % 100
            np.save(folder / "labels.npy", labels)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "lacks snow.npy; unpack"),
        ("several missing", "lacks gaussian_noise.npy, shot_noise.npy, impulse_noise.npy and 2 more"),
        ("labels missing", "lacks labels.npy"),
        ("short", r"fog.npy: uint8\(10000, 32, 32, 3\), not uint8 \(50000, 32, 32, 3\)"),
        ("channels first", r"uint8\(50000, 3, 32, 32\), not"),
        ("floats", "float32.*, not uint8"),
        ("pickle", "no array that can be read"),
        ("archive", "an archive, not one array"),
        ("torn", "no array that can be read"),
        ("empty", "no array that can be read"),
        ("text", "no array that can be read"),
        ("many classes", "labels from 1 to 100, not 0 to 99"),
        ("labels of floats", "not integers"),
        ("labels that differ", "differ from severity to severity"),
    ],
)
def test_one_line_on_what_is_wrong(folder, how, message):
    spoil(folder, how)
    with pytest.raises(DataError, match=message) as caught:
        official.load(folder, 100)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_no_such_folder(tmp_path):
    with pytest.raises(DataError, match="there is no such folder; give the one with gaussian_noise.npy and labels.npy"):
        official.load(tmp_path / "nothing", 100)


class Oracle:
    """A stand-in for a predictor that reads the class off an image's first pixel, and is right where that tells it."""

    facts = SimpleNamespace(temperature=2.0, image_size=(32, 32))
    device = "cpu"

    def normalise(self, pixels):
        return np.ascontiguousarray(pixels[:, :1, :1].transpose(0, 3, 1, 2).astype(np.float32))

    def net(self, first):
        return 8.0 * (first[:, :1, 0, 0] == torch.arange(100)).float()


def test_a_study_of_the_files_takes_their_own_labels(folder):
    """Of 200 images a corruption, in the files' order: at severity s, s in 5 images of each class show their class."""
    chosen = holdout(LABELS[:IMAGES].astype(np.int64), 200)[1]
    for name in NAMES[:2]:
        array = np.load(folder / f"{name}.npy", mmap_mode="r+")
        for severity in SEVERITIES:
            shown = chosen[np.arange(200) % 5 < severity]
            array[(severity - 1) * IMAGES + shown, 0, 0, 0] = LABELS[shown]
            hidden = np.setdiff1d(chosen, shown)
            array[(severity - 1) * IMAGES + hidden, 0, 0, 0] = (LABELS[hidden] + 1) % 100
        array.flush()
    tests = Split(np.zeros((500, 32, 32, 3), np.uint8), np.repeat(np.arange(100), 5))
    said = []
    study = Study(predictor=Oracle(), tests=tests, official=official.load(folder, 100), others=None, limit=200, seed=0, threads=1)
    numbers = study.run(said.append)
    assert np.bincount(study.chosen(tests.labels) // 5).tolist() == [2] * 100  # of each class its share
    assert numbers["images"] == 200 and numbers["clean"]["acc"] == 0.01  # all are taken for class 0, of which there are 2
    for name in NAMES[:2]:
        assert [cell["acc"] for cell in numbers["corruptions"][name]] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert all(cell["acc"] == 0.01 for cell in numbers["corruptions"]["fog"])
    assert numbers["mean"]["acc"] == pytest.approx((2 * 0.6 + 13 * 0.01) / 15)
    assert said[0] == "clean: 200 images" and said[1] == "gaussian_noise (1 of 15)" and len(said) == 16


def test_batches_and_threads_change_nothing():
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    tests = Split(images, images[:, 0, 0, 0].astype(np.int64) % 100)

    def run(**how):
        study = Study(predictor=Oracle(), tests=tests, official=None, others=None, limit=None, seed=0, **how)
        return study.run(lambda line: None)

    assert run(threads=1, batch_size=100) == run(threads=3, batch_size=7)
