"""The whole command on a small network and drawn images: its files agree with each other and with the network."""

import csv
import json
import re
import shutil
from html import unescape

import numpy as np
import pytest
import torch
from PIL import Image
from robustness.subjects import TEMPERATURE, make_bundle, others
from torchmetrics.functional.classification import multiclass_calibration_error

from cifar_lit import bundle, checkpoint
from cifar_lit.data import cifar100, of_bundle, synthetic
from cifar_lit.data.dataset import Dataset, Split
from cifar_lit.robustness import __main__ as command
from cifar_lit.robustness import files, official
from cifar_lit.robustness.corruptions import NAMES, SEVERITIES, corrupt

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run with a bundle, of which all is measured once."""
    run = tmp_path_factory.mktemp("robustness") / "run"
    make_bundle(run / "model")
    (run / "summary.json").write_text("{}")
    assert command.main([str(run / "model"), "--ood", str(others(run.parent / "others")), "--seed", "5", "--device", "cpu"]) == 0
    return run / "robustness"


@pytest.fixture(scope="module")
def record(place):
    return json.loads((place / files.NUMBERS).read_text())


@pytest.fixture(scope="module")
def page(place):
    return (place / files.PAGE).read_text()


def network_answers(place, images):
    net, facts = checkpoint.load(place.parent)
    normal = (images.astype(np.float32) / 255 - np.float32(facts.mean)) / np.float32(facts.std)
    with torch.inference_mode():
        return net(torch.from_numpy(normal.transpose(0, 3, 1, 2).copy())).double()


def test_the_files(place):
    pictures = [f"accuracy_{family}.png" for family in ("noise", "blur", "weather", "digital")]
    pictures += [f"reliability_{which}_{when}.png" for which in ("clean", "corrupted") for when in ("before", "after")]
    pictures += ["ece_by_severity.png", "ood_max_softmax.png", "ood_energy.png"]
    numbers = ["robustness.json", "index.html", "corruptions.csv", "reliability.csv", "ood.csv"]
    assert sorted(path.name for path in place.iterdir()) == sorted(pictures + numbers)
    for name in pictures:
        with Image.open(place / name) as image:
            assert image.size == (800, 640) and image.getpixel((2, 2))[:3] == (255, 255, 255)


def test_what_was_measured(place, record):
    assert record["title"] == "tiny <net> & co" and record["seed"] == 5 and record["limit"] is None
    assert record["sha256"] == json.loads((place.parent / "model" / "config.json").read_text())["sha256"]
    assert record["images"] == 200 and record["temperature"] == TEMPERATURE
    assert {"python", "torch", "numpy", "scipy", "opencv-python-headless"} <= record["versions"].keys()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record["made"])
    assert record["source"]["kind"] == "generated" and "not comparable to published ones" in record["source"]["words"]
    assert list(record["corruptions"]) == list(NAMES)
    assert all([cell["severity"] for cell in cells] == list(SEVERITIES) for cells in record["corruptions"].values())


@pytest.mark.parametrize(("name", "severity"), [("clean", 0), ("gaussian_noise", 2), ("glass_blur", 5), ("jpeg_compression", 1)])
def test_numbers_are_the_networks_own(place, record, name, severity):
    tests = synthetic.load(train_per_class=1, test_per_class=2).test
    images = np.array(tests.images)
    cell = record["clean"]
    if severity:
        images, cell = corrupt(images, name, severity, seed=5), record["corruptions"][name][severity - 1]
    logits, labels = network_answers(place, images), torch.from_numpy(tests.labels.copy())
    assert cell["acc"] == float((logits.argmax(1) == labels).double().mean())
    for scale, mark in ((1.0, ""), (TEMPERATURE, "_calibrated")):
        assert cell[f"nll{mark}"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits / scale, labels)), rel=1e-5)
        expected = multiclass_calibration_error((logits / scale).softmax(1), labels, 100, n_bins=15)
        assert cell[f"ece{mark}"] == pytest.approx(float(expected), abs=1e-5)


def test_means(record):
    cells = [cell for cells in record["corruptions"].values() for cell in cells]
    assert len(cells) == 75
    for key in ("acc", "nll", "ece", "nll_calibrated", "ece_calibrated"):
        assert record["mean"][key] == pytest.approx(sum(cell[key] for cell in cells) / 75)
    assert record["mean"]["error"] == pytest.approx(1 - sum(cell["acc"] for cell in cells) / 75)
    assert record["mean"]["error_over_clean"] == pytest.approx(record["mean"]["error"] - (1 - record["clean"]["acc"]))


def test_reliability(record):
    for which, images in (("clean", 200), ("corrupted", 200 * 75)):
        for when in ("before", "after"):
            table = record["reliability"][which][when]
            bins = [row for row in table["bins"] if row["images"]]
            assert len(table["bins"]) == 15 and sum(row["images"] for row in bins) == images
            assert all(row["low"] <= row["confidence"] <= row["high"] + 1e-12 for row in bins)
            ece = sum(row["images"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / images
            assert table["ece"] == pytest.approx(ece)
    assert record["reliability"]["clean"]["before"]["ece"] == record["clean"]["ece"]
    assert record["reliability"]["clean"]["after"]["ece"] == record["clean"]["ece_calibrated"]


def test_other_images(place, record):
    found = record["ood"]
    assert (found["folder"], found["files"], found["images"]) == ("others", 8, 6)
    assert [line.split(":")[0] for line in found["failed"]] == ["broken<i>.jpg", "deeper/text.PNG"]
    own = network_answers(place, np.array(synthetic.load(train_per_class=1, test_per_class=2).test.images))
    paths = sorted((place.parent.parent / "others").rglob("*.png"))
    predictor = command.Predictor(place.parent, device="cpu")
    outside = network_answers(place, np.stack([predictor.prepare(path) for path in paths]))
    for name, of in (("max_softmax", lambda logits: logits.softmax(1).amax(1)), ("energy", lambda logits: logits.logsumexp(1))):
        inside, beyond = of(own).numpy(), of(outside).numpy()
        wins = np.mean([(a > b) + 0.5 * (a == b) for a in inside for b in beyond])
        assert found["measures"][name]["auroc"] == pytest.approx(wins, abs=1e-3)  # float32 answers of other batches
        assert sum(found["measures"][name]["own"]) == 200 and sum(found["measures"][name]["others"]) == 6


def test_tables_are_the_numbers(place, record):
    with open(place / "corruptions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 76
    for row in rows:
        cell = (
            record["clean"]
            if row["corruption"] == "clean"
            else record["corruptions"][row["corruption"]][int(row["severity"]) - 1]
        )
        assert all(float(row[key]) == cell[key] for key in ("acc", "nll", "ece", "nll_calibrated", "ece_calibrated"))
    with open(place / "reliability.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["images"] for row in rows if (row["of"], row["temperature"]) == ("corrupted", "after")] == [
        str(row["images"]) for row in record["reliability"]["corrupted"]["after"]["bins"]
    ]
    with open(place / "ood.csv", newline="") as file:
        assert sum(int(row["other_images"]) for row in csv.DictReader(file) if row["confidence"] == "energy") == 6


def rows_of(page):
    """The first table of the page: a list of texts a row."""
    table = page[page.index("<tbody>") : page.index("</table>")]
    return [
        [unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in table.split("</tr>") if "<th" in row
    ]


def test_the_page_shows_the_numbers(page, record):
    rows = rows_of(page)
    assert [row[0] for row in rows] == ["clean", *NAMES, "mean"]
    for row in rows[1:-1]:
        cells = record["corruptions"][row[0]]
        assert row[1:6] == [f"{100 * cell['acc']:.1f}" for cell in cells]
        means = {key: np.mean([cell[key] for cell in cells]) for key in cells[0]}
        assert float(row[6]) == pytest.approx(100 * means["acc"], abs=0.0501)
        assert [float(cell) for cell in row[7:]] == pytest.approx(
            [means["nll"], 100 * means["ece"], means["nll_calibrated"], 100 * means["ece_calibrated"]], abs=0.0501
        )
    assert rows[0][6] == f"{100 * record['clean']['acc']:.1f}" and rows[-1][6] == f"{100 * record['mean']['acc']:.1f}"
    assert f"<dt>mean corruption error</dt><dd>{100 * record['mean']['error']:.1f}%</dd>" in page
    for measure in record["ood"]["measures"].values():
        assert f"<td>{100 * measure['auroc']:.1f}</td><td>{100 * measure['fpr95']:.1f}</td>" in page


def test_the_page_says_what_it_is_and_needs_nothing(page):
    assert "<h1>Robustness of tiny &lt;net&gt; &amp; co</h1>" in page
    assert "<li>broken&lt;i&gt;.jpg: " in page and "2 of 8 files could not be read" in page
    assert "Generated images" in page and "not comparable to published ones" in page and "photographs of frost" in page
    assert "default-src 'none'" in page and "<script" not in page
    asked = set(re.findall(r'(?:src|href)="([^"#]*)"', page)) | set(re.findall(r"url\(([^#)][^)]*)\)", page))
    assert all(re.fullmatch(r"data:,|[a-z_]+\.(png|csv|json)", link) for link in asked), asked
    assert page.count("<svg") == 11 and page.count('role="img"') == 11
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    used = set(re.findall(r"url\(#([^)]+)\)", page)) | set(re.findall(r'xlink:href="#([^"]+)"', page))
    assert used <= set(names)
    assert "#010203" not in page and "currentColor" in page and "prefers-color-scheme: dark" in page


def test_without_a_temperature_there_is_no_after(tmp_path):
    made = make_bundle(tmp_path / "model", temperature=None, origin={"overrides": ["data.test_per_class=1"]})
    assert command.main([str(made), "-o", str(tmp_path / "out"), "--limit", "20", "--device", "cpu"]) == 0
    record = json.loads((tmp_path / "out" / files.NUMBERS).read_text())
    assert record["clean"]["ece_calibrated"] is None is record["mean"]["nll_calibrated"]
    assert record["reliability"]["clean"]["after"] is None
    page = (tmp_path / "out" / files.PAGE).read_text()
    assert "has no temperature" in page and "after" not in rows_of(page)[0] and len(rows_of(page)[3]) == 9
    assert not list((tmp_path / "out").glob("*after*"))


def fake_cifar100():
    images = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), np.uint8)
    split = Split(images, np.repeat(np.arange(100), 2))
    return Dataset("cifar100", split, split, cifar100.CLASSES, (), (), (0.5,) * 3, (0.2,) * 3)


def official_files(folder):
    folder.mkdir(parents=True)
    for name in NAMES:
        with open(folder / f"{name}.npy", "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": official.SHAPE})
            file.truncate(file.tell() + int(np.prod(official.SHAPE)))
    np.save(folder / "labels.npy", np.tile(np.arange(10_000) % 100, 5).astype(np.uint8))
    return folder


def test_official_files_are_found_in_the_root_and_said_to_be_used(tmp_path, monkeypatch):
    made = make_bundle(tmp_path / "model", data="cifar100", classes=cifar100.CLASSES)
    official_files(tmp_path / "data" / "CIFAR-100-C")
    monkeypatch.setattr(of_bundle, "load", lambda *facts: fake_cifar100())
    arguments = [str(made), "--root", str(tmp_path / "data"), "--limit", "30", "--device", "cpu"]
    for extra, kind in (([], "official"), (["--generate"], "generated")):
        assert command.main([*arguments, "-o", str(tmp_path / kind), *extra]) == 0
        source = json.loads((tmp_path / kind / files.NUMBERS).read_text())["source"]
        assert source["kind"] == kind
    page = (tmp_path / "official" / files.PAGE).read_text()
    assert "CIFAR-100-C&#x27;s own files" in page and "Only a sample of them was used" in page
    assert "--generate was given" in (tmp_path / "generated" / files.PAGE).read_text()
    (tmp_path / "data" / "CIFAR-100-C" / "snow.npy").unlink()  # no silent fallback
    assert command.main([*arguments, "-o", str(tmp_path / "third")]) == 1


def test_errors_take_one_line(place, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("CIFAR_LIT_TRACEBACK", raising=False)
    run, out = str(place.parent), ["-o", str(tmp_path / "out")]
    (tmp_path / "nothing").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_text("text")
    (tmp_path / "file").touch()
    make_bundle(tmp_path / "cifar", data="cifar100", classes=cifar100.CLASSES)
    shuffled = make_bundle(tmp_path / "shuffled", classes=tuple(reversed(synthetic.CLASSES)))
    for arguments, message in (
        ([str(tmp_path / "none")], "no such file or folder"),
        ([run, "--ood", str(tmp_path / "none")], "none: there is no such folder; --ood wants"),
        ([run, "--ood", str(tmp_path / "nothing")], "nothing: no images in this folder"),
        ([run, "--ood", str(tmp_path / "bad")], "none of its 1 images could be read; the first: a.png: "),
        ([run, "--corrupted", str(tmp_path / "nothing")], "CIFAR-100-C goes with networks of CIFAR-100's classes"),
        ([run, "--root", str(tmp_path)], "drawn images, which lie nowhere"),
        ([str(shuffled)], "of other classes than the network's: 100 instead of 100, differing in the order"),
        ([str(tmp_path / "cifar"), "--root", str(tmp_path)], "no CIFAR-100 in it"),
        ([run, "--device", "abacus"], "device=abacus"),
        ([run, "-o", str(tmp_path / "file" / "out")], "file"),
    ):
        assert command.main([*out, *arguments]) == 1, arguments
        printed = capsys.readouterr()
        last = printed.err.strip().splitlines()[-1]
        assert last.startswith("error: ") and message in last, printed.err
        assert "Traceback" not in printed.err and not printed.out
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    with pytest.raises(SystemExit, match="2"):
        command.main([run, "--limit", "0"])
    with pytest.raises(SystemExit, match="2"):
        command.main([run, "--generate", "--corrupted", "x"])


def test_a_failure_leaves_the_old_page_alone(place, record, tmp_path, monkeypatch):
    shutil.copytree(place, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(files.page, "render", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        files.write({**record, "title": "another"}, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_answers_that_are_no_numbers(tmp_path, capsys):
    made = make_bundle(tmp_path / "model", origin={"overrides": ["data.test_per_class=1"]})
    net, facts = checkpoint.load(made)
    state = {name: tensor * float("nan") if tensor.is_floating_point() else tensor for name, tensor in net.state_dict().items()}
    bundle.save(made, state, facts, "")
    assert command.main([str(made), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 1
    assert "not finite numbers" in capsys.readouterr().err


def test_which_file_the_weights_came_from(place, tmp_path):
    run = place.parent
    assert command.weights(run) == command.weights(run / "model") == run / "model" / "model.safetensors"
    for other in (tmp_path / "a.ckpt", tmp_path / "half" / "checkpoints" / "best.ckpt"):
        other.parent.mkdir(parents=True, exist_ok=True)
        other.touch()
        assert command.weights(other) == other
    assert command.weights(tmp_path / "half") == other
