import copy

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cifar_lit import checkpoint
from cifar_lit.callbacks.ema import EMA
from cifar_lit.trainer import Trainer


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)
        self.register_buffer("scratch", torch.zeros(2), persistent=False)  # in no state_dict, as some of timm's

    def forward(self, rows):
        return self.norm(self.layer(rows))


class Toy(L.LightningModule):
    def __init__(self, fail_in_validation=False):
        super().__init__()
        torch.manual_seed(0)
        self.net = Net()
        self.fail_in_validation = fail_in_validation
        self.validated = []

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.validated.append(weights(self))
        if self.fail_in_validation:
            raise RuntimeError("validation failed")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


class Batches:
    """Not a list, which Lightning would take for several loaders."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


class Recorder(L.Callback):
    """The trained weights after every batch, and at the end of every epoch, after validation."""

    def __init__(self):
        self.batches, self.epochs, self.steps = [], [], []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.batches.append(weights(task))
        self.steps.append(trainer.global_step)

    def on_train_epoch_end(self, trainer, task):
        self.epochs.append(weights(task))


def weights(task):
    return copy.deepcopy(task.net.state_dict())


def same(one, other, **tolerance):
    return one.keys() == other.keys() and all(torch.allclose(one[key], other[key], **tolerance) for key in one)


def batches():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 4, generator=generator), torch.randint(3, (8,), generator=generator)) for _ in range(4)]


def fit(task, callbacks, epochs=3, ckpt_path=None, **options):
    trainer = Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=callbacks, logger=False, enable_checkpointing=False, **options
    )
    trainer.fit(task, Batches(batches()), Batches(batches()[:1]), ckpt_path=ckpt_path)
    return trainer


def recursion(start, trained, decay):
    average = {key: value.double() for key, value in start.items()}
    for step, now in enumerate(trained, start=1):
        keep = min(decay, (1 + step) / (10 + step))
        for key, value in now.items():
            averaged = key in ("layer.weight", "layer.bias", "norm.weight", "norm.bias")
            average[key] = keep * average[key] + (1 - keep) * value.double() if averaged else value.double()
    return average


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_average_is_the_recursion_with_its_early_ramp(decay):
    task, ema, recorder = Toy(), EMA(decay), Recorder()
    start = weights(task)
    fit(task, [ema, recorder])
    assert ema.steps == 12 == len(recorder.batches)
    expected = recursion(start, recorder.batches, decay)
    found = {key: value.double() for key, value in ema.average.items()}
    assert same(found, expected, atol=1e-6)
    assert not same(ema.average, weights(task), atol=1e-3)
    assert torch.equal(ema.average["norm.running_mean"], task.net.norm.running_mean)


def test_validation_sees_the_average_and_training_goes_on_with_its_own():
    task, ema, recorder = Toy(), EMA(0.9), Recorder()
    start = weights(task)
    fit(task, [ema, recorder])
    assert len(task.validated) == 3
    for epoch, seen in enumerate(task.validated):
        expected = recursion(start, recorder.batches[: 4 * (epoch + 1)], 0.9)
        assert same({key: value.double() for key, value in seen.items()}, expected, atol=1e-6)
        assert same(recorder.epochs[epoch], recorder.batches[4 * epoch + 3], atol=0)
    alone, other = Toy(), Recorder()
    fit(alone, [other])
    assert same(weights(alone), weights(task), atol=0)  # the average changes nothing about training


def test_training_weights_come_back_after_an_error_in_validation():
    task, recorder = Toy(fail_in_validation=True), Recorder()
    with pytest.raises(RuntimeError, match="validation failed"):
        fit(task, [EMA(0.9), recorder])
    assert not same(task.validated[0], recorder.batches[-1], atol=1e-3)
    assert same(weights(task), recorder.batches[-1], atol=0)


def test_validation_outside_of_training_sees_the_networks_own_weights():
    task, ema = Toy(), EMA(0.9)
    trainer = fit(task, [ema])
    trained = weights(task)
    trainer.validate(task, Batches(batches()[:1]), verbose=False)
    assert same(task.validated[-1], trained, atol=0) and same(weights(task), trained, atol=0)


def test_accumulated_gradients_count_optimizer_steps():
    task, ema, recorder = Toy(), EMA(0.999), Recorder()
    start = weights(task)
    fit(task, [ema, recorder], accumulate_grad_batches=2)
    stepped = [
        now for now, step, before in zip(recorder.batches, recorder.steps, [0, *recorder.steps], strict=False) if step > before
    ]
    assert ema.steps == 6 == len(stepped)
    expected = recursion(start, stepped, 0.999)
    parameters = [name for name, _ in task.net.named_parameters()]
    found = {key: ema.average[key].double() for key in parameters}
    assert same(found, {key: expected[key] for key in parameters}, atol=1e-6)


def test_state_goes_through_a_checkpoint_and_on_alike(tmp_path):
    whole, ema = Toy(), EMA(0.9)
    fit(whole, [ema], epochs=4)
    half, first = Toy(), EMA(0.9)
    trainer = fit(half, [first], epochs=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    contents = checkpoint.read(tmp_path / "last.ckpt")
    assert same(checkpoint.network_weights(contents), first.average, atol=0)
    trained = {key.removeprefix("net."): value for key, value in contents["state_dict"].items()}
    assert same(trained, weights(half), atol=0)
    resumed, second = Toy(), EMA(0.9)
    fit(resumed, [second], epochs=4, ckpt_path=tmp_path / "last.ckpt")
    assert second.steps == ema.steps == 16
    assert same(second.average, ema.average, atol=0) and same(weights(resumed), weights(whole), atol=0)


def test_resuming_without_the_average_goes_on_from_the_trained_weights(tmp_path):
    whole = Toy()
    fit(whole, [], epochs=4)
    trainer = fit(Toy(), [EMA(0.9)], epochs=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed = Toy()
    with pytest.warns(UserWarning, match="callbacks"):
        fit(resumed, [], epochs=4, ckpt_path=tmp_path / "last.ckpt")
    assert same(weights(resumed), weights(whole), atol=0)


def test_an_average_begun_in_a_resumed_run_starts_from_the_weights_there(tmp_path):
    trainer = fit(Toy(), [], epochs=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    task, ema = Toy(), EMA(0.5)
    fit(task, [ema], epochs=3, ckpt_path=tmp_path / "last.ckpt")
    assert ema.steps == 12
    assert not same(ema.average, Toy().net.state_dict(), atol=0.1)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_bad_decay_is_refused(decay):
    with pytest.raises(ValueError, match=f"callbacks.ema.decay={decay}: allowed is between 0 and 1"):
        EMA(decay)
