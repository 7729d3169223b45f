"""The page's answers, without a browser: guesses, refusals, explanations, facts, and the networks to choose among."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from app.serving import environment, file_object, make_bundle, picture, serving
from PIL import Image
from running import completed

from cifar_lit.app.__main__ import _of_its_data as of_its_data
from cifar_lit.app.answers import about
from cifar_lit.app.shelf import Shelf, find
from cifar_lit.app.uploads import Uploads
from cifar_lit.data import synthetic
from cifar_lit.predict import Predictor

pytestmark = pytest.mark.slow

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page():
    """With it comes gradio: four seconds, spent where these tests run and nowhere else."""
    from cifar_lit.app import page

    return page


@pytest.fixture
def answerer(tmp_path, page):
    uploads = Uploads()
    make_bundle(tmp_path / "run" / "model")
    yield page.Answerer(Shelf(find([tmp_path])[0]), uploads, [])
    uploads.close()


def sent(answerer, data: bytes, name: str = "picture.png") -> dict:
    path = answerer.uploads.folder / "sent"
    path.write_bytes(data)
    return file_object(str(path), name)


def test_guesses_are_the_predictors(answerer, tmp_path):
    answer, button, heat = answerer.guess(sent(answerer, picture()), 0)
    expected = Predictor(tmp_path / "run")(picture())
    rows = re.findall(r"<b>(class \d)</b> <small>(\w+)</small></span><span class=\"percent\">([\d.]+)%", answer)
    assert rows == [(guess.label.replace("_", " "), guess.superclass, f"{100 * guess.probability:.1f}") for guess in expected]
    assert button["visible"] and heat == ""
    assert "these 10 classes and no others" in answer and "not calibrated" in answer


def test_explanation_is_a_picture(answerer):
    answer = answerer.explain(sent(answerer, picture()), 0)
    assert 'src="data:image/png;base64,' in answer and "What speaks for <b>class " in answer
    assert "There is no picture yet" in answerer.explain(None, 0)


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"this is text", "notes.png: "), (b"", "empty"), (b"GIF89a", "notes.png"), (picture()[:200], "notes.png"),
     (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "notes.png")],
)  # fmt: skip
def test_refusals_are_sentences(answerer, data, said):
    answer, button, _ = answerer.guess(sent(answerer, data, "notes.png"), 0)
    assert answer.startswith('<div class="refusal" role="alert"><b>This picture was not used.</b><p>') and said in answer
    assert str(answerer.uploads.folder) not in answer and not button["visible"]


def test_too_many_pixels_are_refused(answerer):
    data = io.BytesIO()
    Image.new("1", (20000, 20000)).save(data, "PNG")
    assert "million pixels" in answerer.guess(sent(answerer, data.getvalue()), 0)[0]


@pytest.mark.parametrize("choice", [None, -1, 7, True, "0", "../..", [0], {"path": "/etc/passwd"}])
def test_networks_that_are_not_there(answerer, choice, capsys):
    assert "This network cannot be used." in answerer.guess(sent(answerer, picture()), choice)[0]
    assert "There is no such network." in answerer.describe(choice)[0]


def test_a_network_that_breaks_while_served(answerer, tmp_path, capsys):
    (tmp_path / "run" / "model" / "model.safetensors").write_bytes(b"torn")
    answer = answerer.guess(sent(answerer, picture()), 0)[0]
    assert "This network cannot be used." in answer and str(tmp_path) not in answer
    assert "altered" in capsys.readouterr().err


def test_everything_foreign_is_escaped(tmp_path, page):
    make_bundle(tmp_path, EVIL, classes=tuple(f"{EVIL}{index}" for index in range(10)), superclasses=(EVIL, EVIL))
    uploads = Uploads()
    does = page.Answerer(Shelf(find([tmp_path])[0]), uploads, [])
    try:
        for answer in (does.guess(sent(does, picture()), 0)[0], does.guess(sent(does, b"x", f"{EVIL}.png"), 0)[0],
                       does.explain(sent(does, picture()), 0), does.describe(0)[0]):  # fmt: skip
            assert "<img src=x" not in answer and EVIL in unescape(answer)
    finally:
        uploads.close()


def test_about_says_what_was_measured(tmp_path):
    make_bundle(tmp_path / "a", metrics={"test/acc": 0.5, "test/acc5": 0.9}, temperature=1.5)
    make_bundle(tmp_path / "b", metrics={})
    measured, unmeasured = (about(each.facts) for each in sorted(find([tmp_path])[0], key=lambda each: each.folder))
    assert "50.0%" in measured and "90.0%" in measured and "are calibrated" in measured and "superclass</dt>" not in measured
    assert "not measured" in unmeasured and "are not calibrated" in unmeasured and "%" not in unmeasured


def test_what_flatters_an_accuracy_is_said(tmp_path):
    plain = make_bundle(tmp_path / "a", origin={"validation": "holdout", "test_time_flip": False})
    watched = make_bundle(tmp_path / "b", origin={"validation": "test", "evaluated": "best", "test_time_flip": True})
    last = make_bundle(tmp_path / "c", origin={"validation": "test", "evaluated": "last"})
    shown = {each.folder: (each.name, about(each.facts)) for each in find([tmp_path])[0]}
    assert shown[plain][0].endswith("(test accuracy 10.0%)") and "looked at while" not in shown[plain][1]
    assert "10.0%, of images watched in training, of two views)" in shown[watched][0]
    assert "chosen by them: that flatters it" in shown[watched][1] and "mirror image" in shown[watched][1]
    assert "watched" in shown[last][0] and "its last epoch was taken" in shown[last][1] and "mirror" not in shown[last][1]


def test_examples_are_test_images_of_its_data(tmp_path):
    drawn = synthetic.load(train_per_class=1, test_per_class=20)
    facts = find([make_bundle(tmp_path)])[0][0].facts
    network = {**facts.network, "num_classes": len(drawn.classes)}
    facts = replace(facts, network=network, classes=drawn.classes, superclasses=(), superclass_of=())
    found = of_its_data(facts)
    assert len(found) == 8
    assert all(np.array_equal(np.asarray(image), drawn.test.images[250 * number]) for number, image in enumerate(found))
    assert of_its_data(replace(facts, data="folder")) == []


def test_card_without_its_table_for_machines(tmp_path, page):
    assert page.card(make_bundle(tmp_path / "a", card="---\nlicense: mit\n---\n\n# Title\n---\nmore")) == "# Title\n---\nmore"
    assert page.card(make_bundle(tmp_path / "b", card="# Title\n---\nmore")) == "# Title\n---\nmore"
    (tmp_path / "b" / "README.md").unlink()
    assert page.card(tmp_path / "b") == "It has no model card."


def test_bundles_are_found_newest_first_and_broken_ones_are_told(tmp_path):
    for number, place in enumerate(("runs/x/2026-01-01/model", "runs/study/time/0/model", "converted")):
        folder = make_bundle(tmp_path / place, f"net{number}", metrics={})
        os.utime(folder / "config.json", (number, number))
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "config.json").write_text("{}")
    (tmp_path / "runs" / "unfinished" / ".hydra").mkdir(parents=True)
    (tmp_path / "runs" / "unfinished" / ".hydra" / "overrides.yaml").write_text("[]")
    found, broken = find([tmp_path, tmp_path / "converted", tmp_path / "runs" / "x"])
    assert [each.facts.title for each in found] == ["net2", "net1", "net0"]
    assert len(broken) == 1 and "schema" in broken[0] and "\n" not in broken[0]


def test_bundles_of_one_title_are_told_apart(tmp_path):
    for run in ("run1", "run2"):
        make_bundle(tmp_path / run / "model")
    assert {each.name for each in find([tmp_path])[0]} == {f"small (test accuracy 10.0%), run{number}" for number in (1, 2)}


def test_shelf_keeps_few_networks(tmp_path):
    for number in range(3):
        make_bundle(tmp_path / str(number), f"net{number}")
    shelf = Shelf(find([tmp_path])[0], loaded=2)
    first = shelf.predictor(0)
    assert shelf.predictor(0) is first
    shelf.predictor(1), shelf.predictor(2)
    assert len(shelf._predictors) == 2 and shelf.predictor(0) is not first


def command(*arguments: str) -> subprocess.CompletedProcess:
    return completed(["-m", "cifar_lit.app", *arguments], env=environment(), timeout=120)


@pytest.mark.slow
def test_no_bundle_is_one_line(tmp_path):
    ran = command(str(tmp_path))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"error: {tmp_path}: no bundle there that can be used; `make train` makes one, in runs/\n"


@pytest.mark.slow
def test_port_in_use_is_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = command(str(make_bundle(tmp_path / "b")), "--port", str(taken.getsockname()[1]))
    assert ran.returncode == 1 and ran.stderr.count("\n") == 1
    assert ran.stderr.startswith("error: cannot serve on 127.0.0.1, port ") and "--port" in ran.stderr


@pytest.mark.slow
def test_ctrl_c_ends_it_cleanly_and_leaves_nothing(tmp_path):
    (tmp_path / "tmp").mkdir()
    make_bundle(tmp_path / "b")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.json").write_text("{")
    with serving(str(tmp_path), TMPDIR=str(tmp_path / "tmp")) as server:
        assert "guesses" in server.guess(picture())
        assert list((tmp_path / "tmp").glob("cifar_lit-app-*/*/picture.png"))
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0
        assert server.process.stdout.read() == ""
    assert len(server.errors) == 1 and server.errors[0].startswith("left out: ")
    assert not list((tmp_path / "tmp").glob("cifar_lit-app-*"))
    assert not [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]


# Reports whatever the server would say to another machine, and stops it.
WATCHED = """
import os, sys
def watch(event, given):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        place = given[0] if event == "socket.getaddrinfo" else given[1]
        host = place[0] if isinstance(place, tuple) else place
        if host not in ("127.0.0.1", "localhost", "::1", None):
            print("SENT", event, place, file=sys.stderr, flush=True)
            raise OSError(f"no network: {place}")
sys.addaudithook(watch)
from cifar_lit.app.__main__ import main
sys.exit(main([*sys.argv[1:], "--port", os.environ["GRADIO_SERVER_PORT"]]))
"""


@pytest.mark.slow
def test_it_starts_without_a_network_and_sends_nothing(tmp_path):
    make_bundle(tmp_path / "b")
    with serving("-c", WATCHED, str(tmp_path), command=(sys.executable,)) as server:
        assert server.client.get("/").status_code == 200
        assert "guesses" in server.guess(picture())
    assert server.errors == []
