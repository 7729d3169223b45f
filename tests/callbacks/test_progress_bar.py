"""The progress bar, as a terminal gets it: what stands on it, how often it is drawn, and that nothing of it is left."""

import io
import re
import sys
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import nn

from cifar_lit.callbacks import progress_bar
from cifar_lit.callbacks.progress_bar import ProgressBar
from cifar_lit.metrics import Tally
from cifar_lit.task import Task
from cifar_lit.trainer import Trainer

STEPS, IMAGES = 5, 16  # of an epoch, of a step
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Batches:
    """Not a list, which Lightning would take for several loaders."""

    def __len__(self):
        return STEPS

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for _ in range(STEPS):
            yield torch.randn(IMAGES, 3, 4, 4, generator=generator), torch.randint(4, (IMAGES,), generator=generator)


class Stopped(Exception):
    pass


class Watch(L.Callback):
    """The running means after every step, and the accuracies of the validations."""

    def __init__(self):
        self.means, self.validated = [], []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.means.append(task.training_tally.so_far())

    def on_train_epoch_end(self, trainer, task):
        self.validated.append(float(trainer.callback_metrics["val/acc"]))


def fit(monkeypatch, output, *callbacks, refresh_seconds=0.0, fails=False):
    """Two epochs, where a step takes 100 s by the clock of the time left, and 0.01 s by that of the speed."""
    torch.manual_seed(0)
    task = Task(
        net=nn.Sequential(nn.Flatten(), nn.Linear(48, 4)),
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda net: torch.optim.SGD(net.parameters(), lr=0.1),
        scheduler=lambda optimizer, **_: torch.optim.lr_scheduler.ConstantLR(optimizer),
        mix=None,
        num_classes=4,
        total_steps=2 * STEPS,
        steps_per_epoch=STEPS,
    )
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[ProgressBar(refresh_seconds), *callbacks],
        logger=False,
        enable_checkpointing=False,
        limit_val_batches=1,
    )
    clock = SimpleNamespace(
        monotonic=lambda: 100.0 * trainer.global_step,
        perf_counter=lambda: task.epoch_started + 0.01 * (task.epoch_images / IMAGES),
    )
    monkeypatch.setattr(progress_bar, "time", clock)
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    if fails:
        monkeypatch.setattr(Task, "on_validation_epoch_start", lambda task: (_ for _ in ()).throw(Stopped))
    trainer.fit(task, Batches(), Batches())
    return trainer, task


def frames(terminal):
    """The lines that were drawn over each other, without what moves and colours them."""
    return [line.strip() for line in re.split(r"[\r\n]+", CONTROL.sub("", terminal.getvalue())) if line.strip()]


def test_what_stands_on_it(monkeypatch):
    terminal, watch = Terminal(), Watch()
    fit(monkeypatch, terminal, watch)
    lines = [line for line in frames(terminal) if "loss" in line]
    left = ["15:00", "13:20", "11:40", "10:00", "8:20", "6:40", "5:00", "3:20", "1:40", "0:00"]
    assert len(lines) == len(left) == 2 * STEPS
    for step, (line, means, time) in enumerate(zip(lines, watch.means, left, strict=True)):
        epoch, batch = divmod(step, STEPS)
        validated = f"  val {100 * watch.validated[0]:5.2f}%" if epoch else ""
        assert line.startswith(f"epoch {epoch + 1}/2 ") and f" {batch + 1}/{STEPS} " in line
        assert line.endswith(f" loss {means['loss']:.3f}  acc {100 * means['acc']:5.2f}%{validated}  1,600 images/s  {time} left")
    assert sum("validating" in line for line in frames(terminal)) >= 2


def test_what_comes_after_training_is_shown_too(monkeypatch):
    """On a CPU it can take minutes."""
    terminal = Terminal()
    trainer, task = fit(monkeypatch, terminal)
    monkeypatch.setattr(ProgressBar, "_is_due", lambda bar: bar.bar is not None)
    before = len(terminal.getvalue())
    trainer.limit_predict_batches = trainer.limit_test_batches = STEPS
    trainer.predict(task, Batches(), return_predictions=False)
    trainer.test(task, Batches(), verbose=False)
    after = terminal.getvalue()[before:]
    shown = [line for line in frames(SimpleNamespace(getvalue=lambda: after)) if "/" in line]
    for words in ("temperature", "test"):
        own = [re.search(r" (\d)/5", line)[1] for line in shown if line.startswith(words)]
        assert sorted(set(own)) == ["0", "1", "2", "3", "4", "5"], words
    assert after.count("\x1b[?25l") == after.count("\x1b[?25h") == 2


@pytest.mark.parametrize("fails", [False, True], ids=["after each epoch", "after an error"])
def test_it_is_erased(monkeypatch, fails):
    terminal = Terminal()
    if fails:
        with pytest.raises(Stopped):
            fit(monkeypatch, terminal, fails=True)
    else:
        fit(monkeypatch, terminal)
    shown = terminal.getvalue()
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == (1 if fails else 2), "the cursor is hidden and comes back"
    assert shown.rstrip().endswith("\x1b[2K"), "the last that happens is that the line is erased"


@pytest.mark.parametrize(
    ("terminal", "refresh_seconds", "drawn"), [(True, 250.0, ["1", "4", "1", "4"]), (True, 1e9, ["1", "1"]), (False, 0.0, [])]
)
def test_it_reads_the_running_metrics_only_to_draw(monkeypatch, terminal, refresh_seconds, drawn):
    """Each read waits for the device. A step is 100 s, so that every 250 s is at the first step, and at the fourth."""
    reads = []
    original = Tally.so_far
    monkeypatch.setattr(Tally, "so_far", lambda tally: reads.append(tally) or original(tally))
    output = Terminal() if terminal else io.StringIO()
    fit(monkeypatch, output, refresh_seconds=refresh_seconds)
    assert [re.search(r" (\d)/5 ", line)[1] for line in frames(output) if "loss" in line] == drawn
    assert len(reads) == len(drawn) + 4, "after each epoch's training and validation"
    assert terminal or output.getvalue() == "", "a file gets no bar"


def test_hours_are_said_as_hours(monkeypatch):
    monkeypatch.setattr(progress_bar, "time", SimpleNamespace(monotonic=lambda: 3600.0))
    bar = ProgressBar()
    bar.first_step = 10  # of a resumed run
    assert bar._left(20, 40) == "2:00:00"
    assert bar._left(10, 40) == "?", "nothing is known yet"
