"""The task: what a step computes, what it must not do, and that nothing in it warns."""

import subprocess
import sys

import pytest
import torch
from running import REPOSITORY
from torch.utils._python_dispatch import TorchDispatchMode

from cifar_lit.loss import CrossEntropy
from cifar_lit.mix import Mix
from cifar_lit.model.resnet import resnet8
from cifar_lit.task import Task


def made(mix: Mix | None = None, dropout: float = 0.0) -> Task:
    torch.manual_seed(0)
    task = Task(
        net=resnet8(num_classes=10, dropout=dropout),
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


def test_accuracy_under_mixing_is_scored_against_the_dominant_label():
    """A network that sees only the first image's class is right wherever that image has the larger share."""
    task = made(Mix(mixup=1.0, alpha=0.2))
    images, labels = batch()

    class Oracle(torch.nn.Module):
        def forward(self, pictures):
            return task_targets[0]

    task_targets = []
    original = task.mix

    def watched(*arguments):
        mixed, targets = original(*arguments)
        task_targets[:] = [targets if targets.ndim == 2 else torch.nn.functional.one_hot(targets, 10).float()]
        return mixed, targets

    task.mix = watched
    task.net = Oracle()
    task.training_step((images, labels), 0)
    assert task.training_tally.compute()["acc"] == 1.0


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
