"""The steps that a graph takes where the schedule changes the momentum, beside torch's own."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import OneCycleLR

from cifar_lit.optim.cycled import Cycled, cycles, refusal

STEPS = 12
OPTIMIZERS = {
    "nesterov": (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-2}),
    "heavy ball": (SGD, {"momentum": 0.9}),
    "adam": (Adam, {"weight_decay": 5e-2}),
    "adamw": (AdamW, {"weight_decay": 5e-2}),
}


def trained(net, make, options, cycled, pause=None):
    """A network after a cycle, and its optimizer. pause: the step after which all goes through a checkpoint."""
    net = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(1)

    def begin():
        matrices = [parameter for parameter in net.parameters() if parameter.ndim > 1]
        optimizer = make([{"params": matrices}, {"params": [net[0].bias], "weight_decay": 0.0}], lr=0.05, **options)
        return optimizer, OneCycleLR(optimizer, max_lr=0.05, total_steps=STEPS, cycle_momentum=True)

    optimizer, schedule = begin()
    ours = Cycled(optimizer) if cycled else None
    for step in range(STEPS):
        if step == pause:
            saved, place = copy.deepcopy(optimizer.state_dict()), schedule.state_dict()
            optimizer, schedule = begin()
            optimizer.load_state_dict(saved)
            schedule.load_state_dict(place)
            ours = None  # from here on torch's own steps
        net(torch.randn(8, 4, generator=generator, dtype=torch.float64)).square().mean().backward()
        if ours is not None:
            ours.follow()
            ours.step()
        else:
            optimizer.step()
        optimizer.zero_grad()
        if step < STEPS - 1:
            schedule.step()
    return net, optimizer


@pytest.mark.parametrize("pause", [None, 5], ids=["throughout", "torch goes on"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_steps_are_torchs(name, pause):
    make, options = OPTIMIZERS[name]
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3, bias=False)).double()
    expected, optimizer = trained(net, make, options, cycled=False)
    found, ours = trained(net, make, options, cycled=True, pause=pause)
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(ours.state.values(), optimizer.state.values(), strict=True):
        assert one.keys() == other.keys()
        for key in one:
            torch.testing.assert_close(one[key], other[key], rtol=1e-4, atol=1e-7)


def test_a_step_reads_no_number_of_the_schedule():
    """What a graph holds is what the tensors said when it was made, or say now: never a group's own momentum."""
    ours = Cycled(SGD([parameter := nn.Parameter(torch.zeros(3))], lr=1.0, momentum=0.5))
    parameter.grad = torch.ones(3)
    ours.step()
    ours.optimizer.param_groups[0]["momentum"] = 0.0
    ours.step()  # not told of it
    assert parameter.tolist() == [-2.5] * 3
    ours.follow()
    ours.step()
    assert parameter.tolist() == [-3.5] * 3


def test_what_it_takes_and_refuses():
    parameters = [nn.Parameter(torch.zeros(3))]
    plain, cycled = SGD(parameters, lr=0.1, momentum=0.9), SGD(parameters, lr=0.1, momentum=0.9)
    OneCycleLR(cycled, max_lr=0.1, total_steps=5)
    assert not cycles(plain) and cycles(cycled)
    assert refusal(cycled) is None
    assert "RMSprop" in (refusal(RMSprop(parameters, momentum=0.9)) or "")
    assert "amsgrad" in (refusal(Adam(parameters, amsgrad=True)) or "")
    assert "dampening" in (refusal(SGD(parameters, momentum=0.9, dampening=0.1)) or "")
