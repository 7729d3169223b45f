"""What a bundle says reaches the terminal as text: no command prints a control sequence of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_bundle import FACTS, network

from cifar_lit import bundle, export, hub, predict
from cifar_lit.app import __main__ as app
from cifar_lit.explain import __main__ as explain
from cifar_lit.robustness import __main__ as robustness
from cifar_lit.terminal import complaint, one_line

EVIL = "\x1b]0;owned\x07\x1b[2J\u202e\udcff"
COMMANDS = {
    "app": (app, "{folder}"),
    "explain": (explain, "{folder} --what filters -o {folder}/out"),
    "export": (export, "{folder} --to onnx"),
    "hub": (hub, "{folder} someone/something"),
    "predict": (predict, "{folder} a.png"),
    "robustness": (robustness, "{folder} -o {folder}/out"),
}


def test_text_stays_text():
    assert one_line(f"a{EVIL}  b", 100) == "a?]0;owned??[2J??  b"
    assert one_line("x" * 100, 21) == "x" * 8 + "..." + "x" * 10
    assert complaint(ValueError(f"a\n  b{EVIL}")) == "a b?]0;owned??[2J??"


def test_names_of_classes(tmp_path, capsys):
    facts = replace(FACTS, classes=tuple(f"{EVIL}{index}" for index in range(5)), superclasses=(f"up{EVIL}", EVIL))
    bundle.save(tmp_path / "model", network().state_dict(), facts, "")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    assert predict.main([str(tmp_path / "model"), str(tmp_path / "a.png")]) == 0
    shown = capsys.readouterr().out
    assert shown.count("%") == 5 and shown.replace("\n", "").isprintable()
    assert predict.main([str(tmp_path / "model"), str(tmp_path / "a.png"), "--json"]) == 0
    guess = json.loads(capsys.readouterr().out)["guesses"][0]
    assert guess["label"] == facts.classes[guess["index"]], "JSON has it as it is, escaped"


@pytest.mark.parametrize("name", COMMANDS)
def test_errors_that_quote_a_bundle(name, tmp_path, capsys):
    command, typed = COMMANDS[name]
    (tmp_path / "config.json").write_text(json.dumps({"schema": EVIL}))
    assert command.main(typed.format(folder=tmp_path).split()) == 1
    shown = capsys.readouterr().err
    assert "owned" in shown and shown.replace("\n", "").isprintable()
