"""Exports that cannot be made, or are not the network: one line, and a bundle as it was."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from export_checks import asked, complaint, contents, made, one_registry  # noqa: F401  a fixture for all
from torch import nn

from cifar_lit import bundle, checkpoint, export
from cifar_lit.export import ExportError

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "run" / "model")


@pytest.mark.parametrize("arguments", [["--to", "onnxx"], [], ["--to"]])
def test_usage_errors(arguments, folder, capsys):
    assert asked(folder, *arguments) == 2
    assert "error: " in capsys.readouterr().err
    assert bundle.read(folder).exports == {}


def spoil(monkeypatch: pytest.MonkeyPatch, to: str, spoilt) -> None:
    run = export._run[to]
    monkeypatch.setitem(export._run, to, lambda file: lambda images: spoilt(run(file)(images)))


SPOILT = {
    "export differs by 3.0e-04 at a batch of 1: allowed is 1e-04": lambda logits: logits + 3e-4,
    "at a batch of 7": lambda logits: logits * torch.where(torch.arange(len(logits)) == 6, 1.1, 1.0)[:, None],
    "export differs by nan": lambda logits: logits * torch.nan,
    "export gives logits .1, 4., the network .1, 5.": lambda logits: logits[:, :4],
}


@pytest.mark.parametrize("to", export.FILES)
def test_another_network_is_refused(to, folder, monkeypatch):
    file = export.export(folder, to, folder.parent / "file").path  # of one network it is one file
    monkeypatch.setitem(export._write, to, lambda net, facts, target: shutil.copyfile(file, target))
    run = export._run[to]
    for number, (message, spoilt) in enumerate(SPOILT.items()):
        if number == 2:  # from here on, where an export stands already
            monkeypatch.setitem(export._run, to, run)
            export.export(folder, to)
        before = contents(folder)
        monkeypatch.setitem(export._run, to, run)
        spoil(monkeypatch, to, spoilt)
        with pytest.raises(ExportError, match=message):
            export.export(folder, to)
        assert contents(folder) == before


def test_a_difference_within_the_tolerance_is_said(folder, monkeypatch):
    spoil(monkeypatch, "onnx", lambda logits: logits + 5e-5)
    assert 4e-5 < export.export(folder, "onnx").difference < 6e-5


def full(*_: object) -> None:
    raise OSError(28, "No space left on device", "config.json")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("what", "fails", "code"), [("add_export", full, 1), ("add_export", interrupted, 130)])
def test_a_failure_at_the_end_leaves_no_trace(what, fails, code, folder, monkeypatch, capsys):
    before = contents(folder)
    monkeypatch.setattr(bundle, what, fails)
    assert asked(folder, "--to", "onnx") == code
    assert contents(folder) == before
    assert capsys.readouterr().err == ("error: config.json: No space left on device\n" if code == 1 else "")


class Choosy(nn.Module):
    """Does one thing or another, depending on what it sees."""

    def forward(self, images):
        if images.sum() > 0:
            return images.mean((2, 3))
        return images.amax((2, 3))


class Frozen(nn.Module):
    """Knows one size of batches only."""

    def forward(self, images):
        return images.reshape(2, 3, -1).mean(2)


@pytest.mark.parametrize("net", [Choosy(), Frozen()])
@pytest.mark.parametrize("to", export.FILES)
def test_what_cannot_be_traced_is_one_line(to, net, folder, monkeypatch, capsys):
    before = contents(folder)
    facts = bundle.read(folder)
    monkeypatch.setattr(checkpoint, "load", lambda _: (net.eval(), facts))
    assert asked(folder, "--to", to) == 1
    assert f"{folder}: not exported to {to}: " in complaint(capsys)
    assert contents(folder) == before


def test_weights_that_are_not_finite(folder, capsys):
    net, facts = checkpoint.load(folder)
    net.fc.bias.data[0] = torch.nan
    bundle.save(folder, net.state_dict(), facts, "")
    assert asked(folder, "--to", "onnx") == 1
    assert "not finite" in complaint(capsys)


def test_too_large_for_one_onnx_file(folder, monkeypatch, capsys):
    monkeypatch.setattr(export, "_MOST_BYTES", 100)
    assert asked(folder, "--to", "onnx") == 1
    assert "use --to torch_export" in complaint(capsys)
    assert asked(folder, "--to", "torch_export") == 0


def test_where_it_cannot_be_written(folder, tmp_path, capsys):
    before = contents(folder)
    for output, reason in (
        (folder / "config.json", "without -o the bundle gets model.onnx"),
        (tmp_path / "gone" / "model.onnx", "no such folder"),
        (tmp_path, "not a regular file"),
    ):
        assert asked(folder, "--to", "onnx", "-o", output) == 1
        assert reason in complaint(capsys)
    assert contents(folder) == before
    (folder / "model.onnx").mkdir()
    assert asked(folder, "--to", "onnx") == 1
    assert "not a regular file" in complaint(capsys)


def test_what_is_no_bundle(folder, tmp_path, capsys):
    (tmp_path / "last.ckpt").write_text("a checkpoint")
    for path in (tmp_path, tmp_path / "gone", tmp_path / "last.ckpt"):
        assert asked(path, "--to", "onnx") == 1
        assert "no bundle, and no run directory with one" in complaint(capsys)
    (folder / bundle.WEIGHTS).write_bytes((folder / bundle.WEIGHTS).read_bytes() + b"x")
    assert asked(folder, "--to", "onnx") == 1
    assert "altered since it was written" in complaint(capsys)
    with pytest.raises(ExportError, match="to=tflite: allowed is onnx, torch_export"):
        export.export(folder, "tflite")


def test_without_onnx(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert asked(folder, "--to", "onnx") == 1
    assert "onnx" in complaint(capsys)


def test_traceback_where_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFAR_LIT_TRACEBACK", "1")
    with pytest.raises(ExportError):
        export.main([str(tmp_path), "--to", "onnx"])
