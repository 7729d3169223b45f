"""The task: what a step computes, what it must not do, and that nothing in it warns."""

import subprocess
import sys

import pytest
import torch
from running import REPOSITORY
from torch.utils._python_dispatch import TorchDispatchMode

from cifar_lit.callbacks.ema import EMA
from cifar_lit.callbacks.lookahead import Lookahead
from cifar_lit.fast import FastTask
from cifar_lit.loss import CrossEntropy
from cifar_lit.mix import Mix
from cifar_lit.model.resnet import resnet8
from cifar_lit.task import Task
from cifar_lit.trainer import Trainer

both_tasks = pytest.mark.parametrize("kind", [Task, FastTask])


def made(mix: Mix | None = None, dropout: float = 0.0, kind: type[Task] = Task, stem: str = "cifar") -> Task:
    torch.manual_seed(0)
    task = kind(
        net=resnet8(num_classes=10, dropout=dropout, stem=stem),
        loss=CrossEntropy(),
        optimizer=lambda net: torch.optim.SGD(net.parameters(), lr=0.1),
        scheduler=lambda optimizer, **_: torch.optim.lr_scheduler.ConstantLR(optimizer),
        mix=mix,
        num_classes=10,
        total_steps=10,
        steps_per_epoch=5,
        superclass_of=tuple(index // 2 for index in range(10)),
    )
    task.on_train_epoch_start()
    return task


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(16, 3, 32, 32, generator=generator), torch.randint(10, (16,), generator=generator)


class Batches:
    """Not a list, which Lightning would take for several loaders."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self):
        return (batch(seed) for seed in range(self.steps))


def fit(task: Task, steps: int, *callbacks) -> Trainer:
    by_hand = isinstance(task, FastTask)
    options = {"accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False, "by_hand": by_hand}
    trainer = Trainer(**options, gradient_clip_val=1.0, callbacks=list(callbacks))
    if by_hand:
        task.clip = trainer.clip
    trainer.fit(task, Batches(steps), Batches(1))
    return trainer


class Reads(TorchDispatchMode):
    """Counts the operations that wait for the device: a tensor's value brought to Python."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, kinds, arguments=(), options=None):
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default):
            self.found.append(str(function))
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("mix", [None, Mix(cutmix=1.0), Mix(mixup=1.0), Mix(cutmix=1.0, per_sample=True)], ids=str)
def test_no_step_waits_for_the_device(mix, monkeypatch):
    task = made(mix)
    for name in ("tolist", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, lambda *_, name=name: pytest.fail(f"{name} in a step"))
    with Reads() as reads:  # not the backward pass: on a CPU, autograd reads scalars of its own there
        task.training_step(batch(), 0)
    assert reads.found == []
    with Reads() as reads:
        task.training_tally.sums[0].item()
    assert reads.found, "the watch works"


@both_tasks
def test_no_step_of_a_fit_waits_for_the_device(kind, monkeypatch):
    """What Lightning and the callbacks do around a step neither: three times the steps read as often as one."""
    reads = Reads()
    for name in ("tolist", "cpu", "numpy"):  # which torch does not dispatch on a CPU
        original = getattr(torch.Tensor, name)
        counted = lambda *given, original=original, name=name: (reads.found.append(name), original(*given))[1]
        monkeypatch.setattr(torch.Tensor, name, counted)

    def read(steps: int) -> list[str]:
        reads.found.clear()
        with reads:  # the optimizer is SGD: Adam reads its count of steps, which lies on the host
            fit(made(Mix(cutmix=1.0), kind=kind, stem="imagenet"), steps, EMA(), Lookahead(every_steps=2))
        return sorted(reads.found)

    few, many = read(2), read(6)
    assert many == few
    assert "tolist" in few, "the watch works: the metrics of the epoch are read"


def test_a_step_is_a_function_of_its_place():
    task = made(Mix(cutmix=1.0, p=0.5), dropout=0.5)
    losses = [task.training_step(batch(), step).item() for step in (0, 1, 0)]
    assert losses[0] != losses[1]
    task = made(Mix(cutmix=1.0, p=0.5), dropout=0.5)
    assert task.training_step(batch(), 0).item() == losses[0]


def test_the_running_mean_is_of_every_image():
    task = made()
    losses = [task.training_step(batch(step), step).item() for step in range(3)]
    assert task.training_tally.compute()["loss"] == pytest.approx(sum(losses) / 3, rel=1e-6)
    assert task.epoch_images == 48


@both_tasks
def test_accuracy_under_mixing_is_scored_against_the_dominant_label(kind):
    """A network that answers with the target is right: wherever the other image has the larger share, by that one's label."""
    task = made(Mix(mixup=1.0, alpha=1.0), kind=kind)
    original, shares = task.mix, []

    class Oracle(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, pictures):
            return self.scale * self.targets

    def watched(images, labels, *rest):
        mixed, task.net.targets = original(images, labels, *rest)
        shares.append(float(task.net.targets.gather(1, labels[:, None]).min()))
        return mixed, task.net.targets

    task.mix, task.net = watched, Oracle()
    trainer = fit(task, 4)
    assert min(shares) < 0.4 and max(shares) > 0.6
    assert trainer.callback_metrics["train/acc"] == 1.0


@pytest.mark.slow
def test_importing_and_stepping_warn_of_nothing(tmp_path):
    """In a process of its own, where every warning is an error from the first import on."""
    step = (
        "import torch; from cifar_lit.task import Task; from cifar_lit.model.resnet import resnet8;"
        "from cifar_lit.loss import CrossEntropy;"
        "task = Task(net=resnet8(num_classes=5), loss=CrossEntropy(), optimizer=None, scheduler=None, mix=None,"
        " num_classes=5, total_steps=1, steps_per_epoch=1);"
        "task.on_train_epoch_start(); task.training_step((torch.randn(4, 3, 32, 32), torch.arange(4)), 0).backward()"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", step], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_test_may_average_each_image_and_its_mirror_image():
    task = made().eval()
    images, labels = batch()
    found = []
    for flip in (False, True):
        task.test_time_flip = flip
        task.on_test_epoch_start()
        with torch.no_grad():
            task.test_step((images, labels), 0)
        found.append(task.evaluation.logits[0])
    with torch.no_grad():
        mirrored = task(images.flip(3))
    torch.testing.assert_close(found[1], (found[0] + mirrored) / 2)
    assert not torch.equal(found[0], found[1])
