"""Which device a run takes, in which precision, and how torch and the network are set up for it."""

import pytest
import torch
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from running import TINY

from cifar_lit.task import Task
from cifar_lit.trainer import Trainer, resolve_accelerator, resolve_precision


@pytest.fixture
def devices(monkeypatch):
    """Makes a machine with these devices, beside its CPU."""

    def there_are(*names):
        for accelerator, name in ((CUDAAccelerator, "cuda"), (MPSAccelerator, "mps")):
            monkeypatch.setattr(accelerator, "is_available", staticmethod(lambda name=name: name in names))

    return there_are


@pytest.fixture
def flags():
    """torch's own, which are put back after."""
    before = torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    yield lambda: (torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled())
    torch.backends.cudnn.benchmark = before[0]
    torch.use_deterministic_algorithms(before[1])


@pytest.mark.parametrize(
    ("there", "taken"), [(("cuda", "mps"), "cuda"), (("cuda",), "cuda"), (("mps",), "mps"), ((), "cpu")], ids=str
)
def test_auto_is_the_first_that_is_there(devices, there, taken):
    devices(*there)
    assert resolve_accelerator("auto") == taken
    if there:
        assert resolve_accelerator("gpu") == taken
    else:
        with pytest.raises(ValueError, match="no CUDA or MPS device"):
            resolve_accelerator("gpu")
    assert [resolve_accelerator(name) for name in ("cpu", "cuda", "mps")] == ["cpu", "cuda", "mps"], "as asked for"


@pytest.mark.parametrize(("accelerator", "taken"), [("cuda", "16-mixed"), ("mps", "32-true"), ("cpu", "32-true")])
def test_auto_is_mixed_on_cuda_alone(accelerator, taken):
    assert resolve_precision("auto", accelerator) == taken


def test_a_trainer_takes_what_is_there(devices):
    devices()
    trainer = Trainer(logger=False, enable_checkpointing=False)
    assert (trainer.strategy.root_device.type, trainer.precision) == ("cpu", "32-true")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (True, False)),
        ({"benchmark": False}, (False, False)),
        ({"deterministic": True}, (False, True)),  # the fastest algorithm is not always the same one
    ],
    ids=str,
)
def test_benchmark_and_deterministic_reach_torch(flags, options, expected):
    torch.backends.cudnn.benchmark = not expected[0]
    torch.use_deterministic_algorithms(not expected[1])
    Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **options)
    assert flags() == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "channels_last", "expected"),
    [
        ([], True, (True, False)),
        (["trainer=fast", "trainer.channels_last=false", "trainer.deterministic=true"], False, (False, True)),
    ],
    ids=["as it comes", "typed"],
)
def test_the_layout_of_weights_and_batches(train, monkeypatch, flags, options, channels_last, expected):
    """In steps and in evaluations, and torch's flags then."""
    found = {"weights": set(), "batches": set(), "flags": set()}

    def last(tensor):
        return tensor.is_contiguous(memory_format=torch.channels_last)

    def watched(task):
        def look(net, given):
            # A filter of one pixel, or of one channel, is contiguous either way.
            filters = [weights for weights in net.parameters() if weights.ndim == 4 and min(weights.shape[1:]) > 1]
            found["weights"].update(last(weights) for weights in filters)
            found["batches"].add((last(given[0]), given[0].is_contiguous()))
            found["flags"].add(flags())

        task.net.register_forward_pre_hook(look)

    monkeypatch.setattr(Task, "on_fit_start", watched)
    ran = train(*TINY, "trainer.max_epochs=1", "trainer.max_steps=2", *options)
    assert ran.code == 0, ran.err
    assert found == {"weights": {channels_last}, "batches": {(channels_last, not channels_last)}, "flags": {expected}}
