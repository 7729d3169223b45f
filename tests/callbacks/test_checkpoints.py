import os
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import nn

from cifar_lit import checkpoint
from cifar_lit.callbacks import checkpoints
from cifar_lit.callbacks.checkpoints import Checkpoints
from cifar_lit.trainer import Trainer


class Toy(L.LightningModule):
    """Its validation accuracies are given; epochs whose accuracy is None are not scored."""

    def __init__(self, accuracies):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.accuracies = nn.Linear(2, 2), accuracies

    def training_step(self, batch, batch_idx):
        return self.net(batch).square().mean()

    def validation_step(self, batch, batch_idx):
        score = self.accuracies[self.current_epoch]
        if score is not None:
            self.log("val/acc", torch.tensor(score))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Batches:
    """Not a list, which Lightning would take for several loaders."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


def fit(folder, accuracies, callback=None, ckpt_path=None, **options):
    options = {"max_epochs": len(accuracies), **options}
    trainer = Trainer(accelerator="cpu", callbacks=[callback or Checkpoints()], logger=False, default_root_dir=folder, **options)
    trainer.fit(Toy(accuracies), Batches([torch.ones(4, 2)] * 3), Batches([torch.ones(4, 2)]), ckpt_path=ckpt_path)
    return trainer


def epoch_of(folder, name):
    return checkpoint.read(folder / "checkpoints" / name)["epoch"]


def test_keeps_the_best_the_last_and_the_one_before(tmp_path):
    fit(tmp_path, [0.1, 0.4, 0.3, 0.4, 0.2])
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["best.ckpt", "last.ckpt", "previous.ckpt"]
    assert epoch_of(tmp_path, "best.ckpt") == 1  # the first of equals
    assert epoch_of(tmp_path, "last.ckpt") == 4 and epoch_of(tmp_path, "previous.ckpt") == 3


def test_every_so_many_epochs(tmp_path):
    fit(tmp_path, [0.1] * 5, Checkpoints(every_epochs=2))
    kept = {name for name in os.listdir(tmp_path / "checkpoints") if name.startswith("epoch=")}
    assert kept == {"epoch=001.ckpt", "epoch=003.ckpt"}
    assert epoch_of(tmp_path, "epoch=003.ckpt") == 3


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_those_of_one_epoch_are_written_once(tmp_path, monkeypatch, links):
    def refuses(*paths):
        raise PermissionError

    if not links:
        monkeypatch.setattr(os, "link", refuses)
    fit(tmp_path, [0.1, 0.2, 0.4, 0.3], Checkpoints(every_epochs=3))
    folder = tmp_path / "checkpoints"
    names = {"best.ckpt": 2, "epoch=002.ckpt": 2, "previous.ckpt": 2, "last.ckpt": 3}
    assert sorted(os.listdir(folder)) == sorted(names)
    assert {name: epoch_of(tmp_path, name) for name in names} == names
    for name in ("epoch=002.ckpt", "previous.ckpt"):
        assert os.path.samefile(folder / "best.ckpt", folder / name) == links
    assert not os.path.samefile(folder / "best.ckpt", folder / "last.ckpt")


def test_no_more_often_than_so_many_seconds_but_at_the_end(tmp_path, monkeypatch):
    clock = iter([0.0, *range(4, 100, 4)])  # at the start, then at each epoch's end and when it was saved
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    saved = []
    save = Trainer.save_checkpoint
    monkeypatch.setattr(
        Trainer, "save_checkpoint", lambda self, path: saved.append((self.current_epoch, path.name)) or save(self, path)
    )
    fit(tmp_path, [0.5, 0.1, 0.1, 0.1, 0.1, 0.1], Checkpoints(seconds_apart=10.0))
    assert saved == [(0, "best.ckpt"), (2, "last.ckpt"), (5, "last.ckpt")]
    assert epoch_of(tmp_path, "last.ckpt") == 5 and epoch_of(tmp_path, "previous.ckpt") == 2


def test_a_run_that_is_stopped_is_saved(tmp_path):
    class Stop(L.Callback):
        def on_train_epoch_end(self, trainer, task):
            trainer.should_stop = trainer.current_epoch == 1

    trainer = Trainer(
        accelerator="cpu",
        callbacks=[Checkpoints(seconds_apart=1000.0), Stop()],
        logger=False,
        default_root_dir=tmp_path,
        max_epochs=9,
    )
    trainer.fit(Toy([0.1] * 9), Batches([torch.ones(4, 2)] * 3), Batches([torch.ones(4, 2)]))
    assert epoch_of(tmp_path, "last.ckpt") == 1
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["best.ckpt", "last.ckpt"]


def test_the_best_score_is_remembered_over_a_resume(tmp_path):
    fit(tmp_path, [0.1, 0.5])
    resumed = Checkpoints()
    fit(tmp_path, [0.1, 0.5, 0.3, 0.4], resumed, ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert (resumed.best, resumed.best_epoch) == (0.5, 1)
    assert epoch_of(tmp_path, "best.ckpt") == 1 and epoch_of(tmp_path, "last.ckpt") == 3


def test_an_epoch_cut_short_can_be_the_best_and_is_not_the_last(tmp_path):
    class CutShort(L.Callback):
        def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
            trainer.should_stop = trainer.global_step == 5

    trainer = Trainer(
        accelerator="cpu",
        callbacks=[CutShort(), Checkpoints()],
        logger=False,
        default_root_dir=tmp_path,
        max_epochs=3,
        min_epochs=0,
    )
    trainer.fit(Toy([0.1, 0.9, 0.1]), Batches([torch.ones(4, 2)] * 3), Batches([torch.ones(4, 2)]))
    assert trainer.global_step == 5
    assert epoch_of(tmp_path, "last.ckpt") == 0
    assert epoch_of(tmp_path, "best.ckpt") == 1


def test_runs_that_are_never_scored_have_a_last_checkpoint_only(tmp_path):
    fit(tmp_path, [None, None])
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["last.ckpt", "previous.ckpt"]


def test_state_round_trip():
    one, other = Checkpoints(), Checkpoints()
    one.best, one.best_epoch = 0.5, 3
    other.load_state_dict(one.state_dict())
    assert (other.best, other.best_epoch) == (0.5, 3)


@pytest.mark.parametrize("every", [0, -1])
def test_bad_intervals_are_refused(every):
    with pytest.raises(ValueError, match=f"callbacks.checkpoints.every_epochs={every}: allowed is 1 or more, or null"):
        Checkpoints(every_epochs=every)


@pytest.mark.parametrize("apart", [-1.0, float("nan")])
def test_refuses_seconds_below_zero(apart):
    with pytest.raises(ValueError, match=f"callbacks.checkpoints.seconds_apart={apart}: allowed is 0 or more"):
        Checkpoints(seconds_apart=apart)
