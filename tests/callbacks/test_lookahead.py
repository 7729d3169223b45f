"""Lookahead: by hand, and resumed."""

import pytest
import torch
from running import TINY

from cifar_lit import checkpoint
from cifar_lit.callbacks.lookahead import Lookahead
from cifar_lit.task import Task


class Trainer:
    global_step = 0


def task_of(value: float) -> Task:
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(net.weight, value)
    rest = {"optimizer": None, "scheduler": None, "mix": None, "num_classes": 1, "total_steps": 1, "steps_per_epoch": 1}
    return Task(net=net, loss=torch.nn.MSELoss(), **rest)


def test_every_few_steps_the_weights_go_back():
    lookahead, trainer, task = Lookahead(every_steps=3, alpha=0.25), Trainer(), task_of(0.0)
    lookahead.on_train_start(trainer, task)
    seen = []
    for step in range(1, 7):
        trainer.global_step = step
        with torch.no_grad():
            task.net.weight += 1.0
        lookahead.on_train_batch_end(trainer, task, None, None, 0)
        lookahead.on_train_batch_end(trainer, task, None, None, 0)  # a batch that only adds to the gradient
        seen.append(task.net.weight.item())
    assert seen == [1.0, 2.0, 0.75, 1.75, 2.75, 0.75 + 0.25 * 3.0]


@pytest.mark.parametrize(
    ("options", "message"), [({"every_steps": 0}, "every_steps=0"), ({"alpha": 0.0}, "alpha=0.0"), ({"alpha": 1.5}, "alpha=1.5")]
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Lookahead(**options)


@pytest.mark.slow
def test_a_resumed_run_ends_alike(train, monkeypatch):
    options = [*TINY, "callbacks=lookahead", "trainer.max_epochs=2"]
    whole = train(*options, folder="whole")
    original = Task.on_train_epoch_start

    def stopped(self):
        if self.current_epoch == 1:
            raise RuntimeError("the power went out")
        original(self)

    with monkeypatch.context() as patched:
        patched.setattr(Task, "on_train_epoch_start", stopped)
        assert train(*options, folder="cut").code == 1
    assert train(*options, "resume=cut", folder="cut").code == 0
    ends = [whole.folder.parent / name / "checkpoints" / "last.ckpt" for name in ("whole", "cut")]
    one, other = (checkpoint.read(path)["state_dict"] for path in ends)
    assert all(torch.equal(one[name], other[name]) for name in one)
