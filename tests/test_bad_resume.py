"""What cannot be resumed is refused in one line, is never executed, and stays as it was."""

import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from running import TINY
from test_bad_input import assert_refused

from cifar_lit import runs
from cifar_lit.data import synthetic
from cifar_lit.data.module import ImageData


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("form", ["pickle", "torch", "zip"])
def test_a_checkpoint_with_code_in_it(train, tmp_path, form):
    path, marker = tmp_path / "evil.ckpt", tmp_path / "marker"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Evil(marker)))
    elif form == "torch":
        torch.save({"state_dict": Evil(marker)}, path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("evil/data.pkl", pickle.dumps(Evil(marker)))
    ran = train(*TINY, f"resume={path}")
    assert_refused(ran, "evil.ckpt")
    assert not marker.exists()


@pytest.fixture
def finished_run(train, tmp_path):
    """A run that could go on: all but its result is there."""
    assert train(*TINY, folder="first").code == 0
    (tmp_path / "first" / "summary.json").unlink()
    return tmp_path / "first"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("train.log", ".begun")
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("model=resnet20", ["model._target_", "resnet20"]),
        ("trainer.max_epochs=5", ["trainer.max_epochs=2", "not 5"]),
        ("optimizer.lr=0.01", ["optimizer.lr=0.1", "not 0.01"]),
        ("seed=4", ["seed=0", "not 4"]),
        ("augment=none", ["augment"]),
        ("callbacks=lookahead", ["callbacks.lookahead", "Lookahead"]),
        ("callbacks=ema", ["callbacks.ema", "EMA"]),
    ],
)
def test_a_resume_of_something_else_changes_nothing(train, finished_run, change, words):
    before = contents(finished_run)
    ran = train(*TINY, f"resume={finished_run}", change, folder="")
    assert ran.code == 2
    assert len(ran.err.strip().splitlines()) == 1
    for word in words:
        assert word in ran.err
    assert contents(finished_run) == before
    assert train(f"resume={finished_run}", folder="").code == 0, "it can still be resumed as it was"


@pytest.mark.slow
def test_a_checkpoint_of_another_network_or_length(train, finished_run, tmp_path, monkeypatch):
    away = tmp_path / "away.ckpt"
    away.write_bytes((finished_run / "checkpoints" / "last.ckpt").read_bytes())
    monkeypatch.setattr(ImageData, "setup", lambda *_: pytest.fail("data were read before the refusal"))
    assert_refused(train(*TINY, f"resume={away}", "model=resnet20", folder="second"), "another network")
    assert_refused(train(*TINY, f"resume={away}", "trainer.max_epochs=5", folder="third"), "trainer.max_epochs=2, not 5")
    assert_refused(train(*TINY, f"resume={away}", "optimizer.lr=0.01", folder="fourth"), "optimizer.lr=0.1, not 0.01")


@pytest.mark.slow
def test_a_checkpoint_of_other_images(train, finished_run, tmp_path, monkeypatch):
    """Of the same number and classes, so that the run could go on."""
    monkeypatch.setattr("cifar_lit.data.synthetic.load", replaced(synthetic.load, name="folder"))
    ran = train(f"resume={finished_run}", folder="")
    assert ran.code == 1
    assert "is of other images (synthetic, 100 classes) than these (folder, 100 classes)" in ran.err


def replaced(load, **facts):
    return lambda *given, **options: replace(load(*given, **options), **facts)


@pytest.mark.slow
def test_what_a_resume_changed_is_in_the_record_of_a_run_whatever_version_began_it(train, finished_run):
    config = finished_run / ".hydra" / "config.yaml"
    older = config.read_text().replace("cifar_lit.data.sources.", "cifar_lit.data.module.")
    config.write_text("".join(line for line in older.splitlines(keepends=True) if "_momentum: 0." not in line))
    assert config.read_text().count("\n") == older.count("\n") - 2
    typed = runs.read_overrides(finished_run)
    ran = train(f"resume={finished_run}", "test_time_flip=true", "callbacks=early_stopping", folder="")
    assert ran.code == 0, ran.err
    summary = runs.read_summary(finished_run)
    assert summary["test_time_flip"] is summary["config"]["test_time_flip"] is True
    assert "callbacks.early_stopping.patience" in summary["config"]
    assert runs.read_overrides(finished_run) == typed, "by which its sweep and resume=auto know it again"


@pytest.mark.slow
def test_a_directory_to_go_on_in_and_another_to_write_in(train, finished_run):
    ran = train(f"resume={finished_run}", folder="elsewhere")
    assert_refused(ran, "goes on in that directory", "leave out hydra.run.dir")


@pytest.mark.slow
def test_a_directory_that_holds_a_run(train, finished_run):
    ran = train(*TINY, folder="first")
    assert ran.code == 1
    assert "holds a run already" in ran.err


@pytest.mark.slow
def test_sealed_code_in_a_checkpoint(train, tmp_path):
    from cifar_lit.checkpoint import seal

    path, marker = tmp_path / "evil.ckpt", tmp_path / "marker"
    torch.save({"state_dict": Evil(marker)}, path)
    seal(path)
    assert_refused(train(*TINY, f"resume={path}"), "evil.ckpt")
    assert not marker.exists()
