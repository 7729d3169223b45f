"""Whole conversions: R1's pickled configuration, what the report says, and the command line."""

import dataclasses
import json
import os
import pickle
import sys
import types

import pytest
import torch
from convert.foreign_networks import PreActBlock, hand_written, known_weights, preact

from cifar_lit import checkpoint, convert
from cifar_lit.convert.__main__ import main
from cifar_lit.data import cifar100
from cifar_lit.model.resnet import resnet8


def training_module(monkeypatch):
    """The module that R1's checkpoints want; it notices being used."""
    module = types.ModuleType("cifar100_training")

    @dataclasses.dataclass
    class TrainingConfig:
        epochs: int = 30
        lr: float = 0.001
        dropout: float = 0.25
        optimizer: str = "adam"

    TrainingConfig.__module__, TrainingConfig.__qualname__ = module.__name__, "TrainingConfig"
    module.TrainingConfig = TrainingConfig
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.fixture
def r1(tmp_path, monkeypatch):
    """R1's checkpoint: weights, metrics and a TrainingConfig of a module that is gone."""
    config = training_module(monkeypatch).TrainingConfig()
    net = known_weights(hand_written((3, 4, 6, 3), classes=100))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    contents = {"epoch": 29, "model_state_dict": net.state_dict(), "optimizer_state_dict": optimizer.state_dict(),
                "best_acc": 73.57, "config": config, "history": {"train_loss": [1.0, 0.5]}}  # fmt: skip
    torch.save(contents, tmp_path / "best_model.pth")
    monkeypatch.delitem(sys.modules, "cifar100_training")
    return net, tmp_path / "best_model.pth"


def test_r1_whose_training_config_is_of_a_missing_module(r1, tmp_path):
    net, path = r1
    with pytest.raises(ModuleNotFoundError):
        torch.load(path, weights_only=False)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)

    converted = convert.read(path)
    convert.write(converted, tmp_path / "bundle")
    assert "cifar100_training" not in sys.modules
    loaded, facts = checkpoint.load(tmp_path / "bundle")
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(images), net(images))

    assert converted.place == "model_state_dict" and converted.format == "torch, zip"
    assert converted.fields["config"] == ("cifar100_training.TrainingConfig(epochs=30, lr=0.001, dropout=0.25, optimizer=adam)")
    assert converted.fields["epoch"] == "29" and converted.fields["best_acc"] == "73.57"
    assert facts.network["dropout"] == 0.25
    assert "dropout is not visible in weights; the file says config.dropout = 0.25" in facts.notes
    assert "objects of classes that were not loaded, kept as plain records: cifar100_training.TrainingConfig (1)" in facts.notes
    assert facts.metrics == {}  # what a file says is not measured


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_dropout_that_nobody_says(new, tmp_path):
    torch.save(known_weights(hand_written()).state_dict(), tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    facts = convert.read(tmp_path / "a.pth").facts
    assert facts.network["dropout"] == 0.0 and "dropout is not visible in weights, and set to 0" in facts.notes


def test_dropout_said_twice_is_reported_and_not_chosen(tmp_path):
    contents = {"model": known_weights(hand_written()).state_dict(), "args": {"dropout": 0.1, "block": {"dropout_rate": 0.2}}}
    torch.save(contents, tmp_path / "a.pth")
    facts = convert.read(tmp_path / "a.pth").facts
    assert facts.network["dropout"] == 0.0
    (note,) = [note for note in facts.notes if note.startswith("dropout")]
    assert "args.dropout = 0.1, args.block.dropout_rate = 0.2" in note


class Settings(dict):
    """As Lightning's AttributeDict."""


def test_settings_in_a_table_of_ones_own(tmp_path):
    settings = Settings(lr=0.1, drop_rate=0.15)
    torch.save({"state_dict": known_weights(hand_written()).state_dict(), "hyper_parameters": settings}, tmp_path / "a.ckpt")
    converted = convert.read(tmp_path / "a.ckpt")
    assert converted.facts.network["dropout"] == 0.15
    assert converted.fields["hyper_parameters"].endswith(".Settings(lr=0.1, drop_rate=0.15)")


def test_which_of_several_networks(tmp_path):
    path, weights = tmp_path / "a.pth", known_weights(hand_written()).state_dict()
    torch.save({"model": weights, "ema": known_weights(hand_written(), 1).state_dict()}, path)
    converted = convert.read(path)
    assert converted.place == "model" and torch.equal(converted.weights["conv1.weight"], weights["conv1.weight"])
    assert "more weights in the file, not converted: ema" in converted.facts.notes
    torch.save({"teacher": weights, "student": weights}, path)
    with pytest.raises(convert.ConvertError, match="several networks: teacher, student; .*--weights"):
        convert.read(path)
    assert convert.read(path, convert.Options(weights="student")).place == "student"
    with pytest.raises(convert.ConvertError, match="no weights at pupil; it holds some at: teacher, student"):
        convert.read(path, convert.Options(weights="pupil"))
    torch.save({"epoch": 3, "loss": [1.0]}, path)
    with pytest.raises(convert.ConvertError, match="holds no weights"):
        convert.read(path)


def test_plain_pickle_of_numpy_arrays(tmp_path):
    net = known_weights(preact(PreActBlock))
    arrays = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"params": arrays, "acc": arrays["fc.bias"][0]}))
    converted = convert.read(tmp_path / "a.pkl")
    convert.write(converted, tmp_path / "bundle")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(checkpoint.load(tmp_path / "bundle")[0](images), net(images))
    assert converted.format == "plain pickle"


def test_this_projects_own_checkpoint_gives_the_averaged_weights(tmp_path):
    trained, averaged = known_weights(hand_written()), known_weights(hand_written(), seed=1)
    contents = {"state_dict": {f"net.{name}": tensor for name, tensor in trained.state_dict().items()}, "epoch": 1,
                "callbacks": {"EMA": {"net": averaged.state_dict(), "steps": 3}}}  # fmt: skip
    checkpoint.save(contents, tmp_path / "last.ckpt")
    converted = convert.read(tmp_path / "last.ckpt")
    assert converted.place == "callbacks.EMA.net"
    assert torch.equal(converted.weights["conv1.weight"], averaged.state_dict()["conv1.weight"])


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_command_line(r1, tmp_path, capsys):
    code, out, err = run(capsys, r1[1], "-o", tmp_path / "bundle")
    assert (code, err) == (0, "")
    for part in ("model_state_dict", "torch, zip", "ResNet (block basic, layers [3, 4, 6, 3]", "apple, aquarium_fish"):
        assert part in out
    for part in (
        "stride 1,",
        "dropout=0.25",
        "best_acc = 73.57",
        "class names are assumed",
        "normalisation of images is assumed",
    ):
        assert part in out
    assert sorted(os.listdir(tmp_path / "bundle")) == ["README.md", "config.json", "model.safetensors"]
    assert "best_model.pth" in (tmp_path / "bundle" / "README.md").read_text()
    facts = checkpoint.load(tmp_path / "bundle")[1]
    assert facts.classes == cifar100.CLASSES and facts.superclass_of == cifar100.SUPERCLASS_OF
    assert facts.title == "best_model" and facts.mean == (0.5071, 0.4865, 0.4409) and facts.image_size == (32, 32)


def test_dry_run_writes_nothing(r1, tmp_path, capsys):
    before = sorted(os.listdir(tmp_path))
    code, out, _ = run(capsys, r1[1], "--dry-run")
    assert code == 0 and "nothing was written" in out and sorted(os.listdir(tmp_path)) == before


def test_an_output_that_is_there(r1, tmp_path, capsys):
    folder = tmp_path / "bundle"
    assert run(capsys, r1[1], "-o", folder)[0] == 0
    old = (folder / "config.json").read_text()
    code, out, err = run(capsys, r1[1], "-o", folder, "--title", "New")
    assert (code, out) == (1, "") and "--force" in err and err.count("\n") == 1
    assert (folder / "config.json").read_text() == old
    assert run(capsys, r1[1], "-o", folder, "--title", "New", "--force")[0] == 0
    assert json.loads((folder / "config.json").read_text())["title"] == "New"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear")
    code, _, err = run(capsys, r1[1], "-o", tmp_path / "mine", "--force")
    assert code == 1 and "no bundle" in err and (tmp_path / "mine" / "diary.txt").exists()


def test_options_for_what_a_file_does_not_say(tmp_path, capsys):
    torch.save(known_weights(hand_written()).state_dict(), tmp_path / "a.pth")
    (tmp_path / "names.txt").write_text("a\nb\nc d\n\ne\nf\ng\nh\n")
    options = ["--classes", tmp_path / "names.txt", "--mean", 0.5, 0.4, 0.3, "--std", 0.2, 0.2, 0.1, "--image-size", 64]
    code, out, _ = run(capsys, tmp_path / "a.pth", "-o", tmp_path / "b", *options, "--title", "Seven things")
    facts = checkpoint.load(tmp_path / "b")[1]
    assert code == 0 and "assumed: CIFAR" not in out
    assert (
        facts.classes == ("a", "b", "c d", "e", "f", "g", "h") and facts.mean == (0.5, 0.4, 0.3) and facts.std == (0.2, 0.2, 0.1)
    )
    assert facts.image_size == (64, 64) and facts.title == "Seven things" and facts.superclasses == ()
    assert convert.read(tmp_path / "a.pth").facts.classes[:2] == ("class 0", "class 1")


def test_wrong_options_get_one_line(tmp_path, capsys):
    path = tmp_path / "a.pth"
    torch.save(known_weights(hand_written()).state_dict(), path)
    (tmp_path / "names.txt").write_text("a\nb\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for words, part in [
        (["--classes", tmp_path / "names.txt"], "has 7 classes, but 2 names"),
        (["--classes", tmp_path / "no.txt"], "No such file"),
        (["--classes", tmp_path / "binary.txt"], "UTF-8"),
        (["--std", 0, 0.1, 0.1], "std"),
        (["--image-size", 0], "image_size"),
    ]:
        code, out, err = run(capsys, path, "-o", tmp_path / "b", *words)
        assert (code, out) == (1, "") and part in err and err.count("\n") == 1 and not (tmp_path / "b").exists()
    for words in ([path], [], [path, "-o", tmp_path / "b", "--mean", 1], [path, "--dry-run", "--image-size", "x"]):
        with pytest.raises(SystemExit) as stop:
            run(capsys, *words)
        assert stop.value.code == 2


def test_traceback_on_request(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CIFAR_LIT_TRACEBACK", "1")
    with pytest.raises(convert.ConvertError):
        run(capsys, tmp_path / "no.pth", "--dry-run")


def test_words_of_a_file_cannot_break_lines_or_the_card(tmp_path, capsys):
    contents = {
        "model": known_weights(hand_written()).state_dict(),
        "comment\n# Fake": "x\x1b[31m\n\n# Heading <script>alert(1)</script>",
    }
    torch.save(contents, tmp_path / "a.pth")
    code, out, _ = run(capsys, tmp_path / "a.pth", "-o", tmp_path / "b")
    card = (tmp_path / "b" / "README.md").read_text()
    assert code == 0 and "\x1b" not in out + card and "<script>" not in card
    assert not any(line.startswith(("# Fake", "# Heading")) for line in card.splitlines())


def test_a_checkpoint_of_this_project_needs_no_converting(tmp_path, capsys):
    """Its classes and its normalisation are in it: CIFAR-100's would be assumed for whatever it was trained on."""
    net = {f"net.{name}": tensor for name, tensor in resnet8(num_classes=100).state_dict().items()}
    checkpoint.save({"state_dict": net, "facts": {"network": {"network": "ResNet"}, "classes": ["a"]}}, tmp_path / "own.ckpt")
    assert main([str(tmp_path / "own.ckpt"), "-o", str(tmp_path / "out")]) == 1
    assert "a checkpoint of this project, which needs no converting" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
