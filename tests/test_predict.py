"""Predictor and its command: the answers of the bare network, for any number of pictures, in order."""

import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from running import REPOSITORY
from test_bundle import FACTS, network

from cifar_lit import bundle, predict
from cifar_lit.bundle import CheckpointError
from cifar_lit.pictures import PictureError
from cifar_lit.predict import Predictor


@pytest.fixture
def folder(tmp_path):
    bundle.save(tmp_path / "model", network().state_dict(), FACTS, "")
    return tmp_path / "model"


def pictures(count, size=16):
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    return pixels, [Image.fromarray(one) for one in pixels]


def expected_logits(pixels):
    images = (pixels.astype(np.float32) / 255 - np.float32(FACTS.mean)) / np.float32(FACTS.std)
    with torch.inference_mode():
        return network()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


def files(tmp_path, images):
    (tmp_path / "images").mkdir()
    names = []
    for number, image in enumerate(images):
        names.append(tmp_path / "images" / f"{number}.png")
        image.save(names[-1])
    return names


def test_logits_are_the_networks_own(folder):
    pixels, images = pictures(7)
    logits = Predictor(folder, batch_size=7).logits(images)
    assert logits.dtype == np.float32 and np.array_equal(logits, expected_logits(pixels))


def test_probabilities_are_calibrated(folder):
    pixels, images = pictures(3)
    expected = torch.softmax(torch.from_numpy(expected_logits(pixels)) / FACTS.temperature, 1).numpy()
    np.testing.assert_allclose(Predictor(folder).probabilities(images), expected, rtol=1e-5)
    plain = replace(FACTS, temperature=None)
    bundle.save(folder, network().state_dict(), plain, "")
    expected = torch.softmax(torch.from_numpy(expected_logits(pixels)), 1).numpy()
    np.testing.assert_allclose(Predictor(folder).probabilities(images), expected, rtol=1e-5)


def test_guesses(folder):
    _, images = pictures(1)
    predictor = Predictor(folder)
    shares = predictor.probabilities(images)[0]
    guesses = predictor(images[0], top=3)
    assert [guess.index for guess in guesses] == np.argsort(-shares)[:3].tolist()
    assert [guess.label for guess in guesses] == [FACTS.classes[guess.index] for guess in guesses]
    assert [guess.superclass for guess in guesses] == [FACTS.superclass(guess.index) for guess in guesses]
    assert [guess.probability for guess in guesses] == [float(shares[guess.index]) for guess in guesses]
    assert len(predictor(images[0], top=99)) == 5
    assert sum(guess.probability for guess in predictor(images[0], top=5)) == pytest.approx(1)


def test_several_at_once(folder):
    _, images = pictures(3)
    predictor = Predictor(folder, batch_size=3)
    assert predictor(images, top=2) == predictor(tuple(images), top=2) == list(predictor.stream(images, top=2))
    assert [guesses[0].index for guesses in predictor(images)] == [predictor(image)[0].index for image in images]
    assert predictor([]) == []


def test_every_kind_of_picture_gives_the_same_answer(folder, tmp_path):
    pixels, images = pictures(1)
    [path] = files(tmp_path, images)
    tensor = torch.from_numpy(pixels[0]).permute(2, 0, 1)
    kinds = [path, str(path), path.read_bytes(), images[0], pixels[0], tensor, tensor.float() / 255]
    answers = {tuple(guess.probability for guess in Predictor(folder)(kind)) for kind in kinds}
    assert len(answers) == 1


def test_a_stream_keeps_order_and_holds_one_batch(folder):
    _, images = pictures(10)
    predictor = Predictor(folder, batch_size=4)
    asked = []

    def source():
        for number, image in enumerate(images):
            asked.append(number)
            yield image

    stream = predictor.stream(source(), top=1)
    first = next(stream)
    assert asked == [0, 1, 2, 3]
    answers = [first, *stream]
    assert [one[0].index for one in answers] == [predictor(image, top=1)[0].index for image in images]
    assert list(predictor.stream([])) == [] and predictor.logits([]).shape == (0, 5)


@pytest.mark.slow
def test_memory_is_bounded_whatever_the_number(folder):
    code = (
        "import resource, sys, numpy as np; from cifar_lit.predict import Predictor;"
        "p = Predictor(sys.argv[1]); one = np.zeros((16, 16, 3), np.uint8);"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "[0 for _ in p.stream(one for _ in range(500))]; before = peak();"
        "[0 for _ in p.stream(one for _ in range(20_000))]; print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # kilobytes


def test_what_is_refused(folder, tmp_path):
    for options, said in (
        ({"runtime": "tf"}, "runtime=tf: allowed is torch, onnx"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"device": "cuda:99"}, "device=cuda:99: not to be had here"),
        ({"device": "toaster"}, "device=toaster: not to be had here"),
    ):
        with pytest.raises(ValueError, match=said):
            Predictor(folder, **options)
    with pytest.raises(CheckpointError, match=r"python -m cifar_lit.export .* --to onnx"):
        Predictor(folder, runtime="onnx")
    predictor = Predictor(folder)
    with pytest.raises(TypeError, match="put it into a list"):
        predictor.logits("photo.png")
    with pytest.raises(ValueError, match="top=0"):
        predictor(pictures(1)[1][0], top=0)
    (tmp_path / "bad.png").write_text("text")
    with pytest.raises(PictureError, match=r"bad.png"):
        predictor(tmp_path / "bad.png")
    with pytest.raises(PictureError, match="image 2"):
        predictor.logits([pictures(1)[1][0], np.zeros((2, 2, 9), np.uint8)])


def run(capsys, *arguments):
    code = predict.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_the_command(folder, tmp_path, capsys):
    _, images = pictures(3)
    names = files(tmp_path, images)
    code, out, err = run(capsys, folder, *names, "--top", 2)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == str(names[0]) and len(lines) == 9
    best = Predictor(folder)(names[0])[0]
    assert lines[1] == f"  {100 * best.probability:6.2f}%  {best.label}  ({best.superclass})"
    code, out, err = run(capsys, folder, tmp_path / "images", "--json", "--batch-size", 2)
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["image"] for row in rows] == [str(name) for name in names]
    assert rows[0]["guesses"][0]["label"] == best.label and len(rows[0]["guesses"]) == 5


def test_a_bad_image_among_good_ones(folder, tmp_path, capsys):
    good = files(tmp_path, pictures(2)[1])
    (tmp_path / "bad.png").write_text("text")
    code, out, err = run(capsys, folder, good[0], tmp_path / "bad.png", good[1], tmp_path / "none.png", "--top", 1)
    assert code == 1 and len(out.splitlines()) == 4
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "error"] and "bad.png" in err and "none.png" in err


def test_standard_input(folder, tmp_path, capsys, monkeypatch):
    [name] = files(tmp_path, pictures(1)[1])

    class Stdin:
        buffer = io.BytesIO(name.read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin)
    code, out, _ = run(capsys, folder, "-", "--json")
    assert code == 0 and json.loads(out)["guesses"][0]["index"] == Predictor(folder)(name)[0].index


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "a.png"], "nowhere: there is no such file or folder"),
        (["{folder}", "{empty}"], "no images in this folder"),
        (["{folder}", "a.png", "--runtime", "onnx"], "it has no model.onnx yet"),
        (["{folder}", "a.png", "--device", "cuda:99"], "not to be had here"),
        (["hub:nothing", "a.png"], "nothing: neither a folder nor a name on the Hub"),
    ],
)
def test_errors_are_one_line(folder, tmp_path, capsys, arguments, said):
    (tmp_path / "empty").mkdir()
    code, out, err = run(capsys, *(item.format(folder=folder, empty=tmp_path / "empty") for item in arguments))
    assert code == 1 and out == "" and err.count("\n") == 1 and said in err


def test_usage(folder, capsys):
    for arguments in ([folder], [folder, "a.png", "--top", 0], [folder, "a.png", "--what"]):
        with pytest.raises(SystemExit) as stop:
            run(capsys, *arguments)
        assert stop.value.code == 2


def test_a_name_that_is_no_text_or_commands_a_terminal_is_shown_as_text(folder, tmp_path, capsys):
    _, images = pictures(2)
    place = tmp_path / "images"
    place.mkdir()
    for name, image in zip((b"a\xff.png", b"b\x1b[31m.png"), images, strict=True):
        with open(bytes(place) + b"/" + name, "wb") as file:
            image.save(file, "PNG")
    assert predict.main([str(folder), str(place), "--top", "1"]) == 0
    said = capsys.readouterr().out
    assert said.count("%") == 2, "both are answered"
    assert "\x1b" not in said
    said.encode()


def test_onnx_has_no_say_in_the_device(folder):
    with pytest.raises(ValueError, match="runtime=onnx computes on the CPU"):
        Predictor(folder, runtime="onnx", device="cuda")


def test_a_resealed_onnx_file_of_anything_gets_one_line(folder, capsys):
    (folder / "model.onnx").write_bytes(b"anything")
    bundle.add_export(folder, folder / "model.onnx")
    assert predict.main([str(folder), "nothing.png", "--runtime", "onnx"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "model.onnx: cannot be run" in said


def test_a_diverged_network_has_no_answer(tmp_path, capsys):
    weights = network().state_dict()
    weights["fc.bias"][0] = float("nan")
    bundle.save(tmp_path / "model", weights, FACTS, "")
    _, images = pictures(1)
    [name] = files(tmp_path, images)
    assert predict.main([str(tmp_path / "model"), str(name), "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "NaN" in err and err.count("\n") == 1


def test_ctrl_c_says_nothing(folder, monkeypatch, capsys):
    monkeypatch.setattr(Predictor, "prepare", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert predict.main([str(folder), "photo.png"]) == 130
    assert capsys.readouterr().err == ""


def test_an_empty_folder_costs_no_other_answer(folder, tmp_path, capsys):
    good = files(tmp_path, pictures(2)[1])
    (tmp_path / "empty").mkdir()
    code, out, err = run(capsys, folder, good[0], tmp_path / "empty", good[1], "--top", 1)
    assert code == 1 and [line for line in out.splitlines() if "%" not in line] == [str(name) for name in good]
    assert err.count("\n") == 1 and "empty: no images in this folder; allowed are .jpg" in err


@pytest.mark.parametrize(("temperature", "said"), [(None, True), (1.5, False)])
def test_probabilities_that_are_not_calibrated_are_said_to_be_so(tmp_path, capsys, temperature, said):
    _, images = pictures(1)
    bundle.save(tmp_path / "model", network().state_dict(), replace(FACTS, temperature=temperature), "")
    images[0].save(tmp_path / "a.png")
    assert predict.main([str(tmp_path / "model"), str(tmp_path / "a.png"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["calibrated"] is not said and ("not calibrated" in err) is said
