"""SAM against two steps written out, around any optimizer, and under a schedule."""

import copy
import math

import pytest
import torch
from test_optim import closure_of, optimizer_of, problem, small_net
from torch.nn import functional as F

from cifar_lit import schedule
from cifar_lit.optim.sam import SAM


def reference_sam_step(net, momentum, images, labels, adaptive, lr=0.05, rho=0.2, decay=1e-3):
    """One step of SAM around SGD with momentum (Foret et al. 2021; adaptive: Kwon et al. 2021)."""
    parameters = list(net.parameters())
    weights = [p.detach().clone() for p in parameters]
    slopes = torch.autograd.grad(F.cross_entropy(net(images), labels), parameters)
    scales = [w.abs() if adaptive else torch.ones_like(w) for w in weights]
    norm = math.sqrt(sum(((s * g) ** 2).sum().item() for s, g in zip(scales, slopes, strict=True)))
    with torch.no_grad():
        for p, w, s, g in zip(parameters, weights, scales, slopes, strict=True):
            p.copy_(w + rho * s**2 * g / norm)
    slopes = torch.autograd.grad(F.cross_entropy(net(images), labels), parameters)
    with torch.no_grad():
        for i, (p, w, g) in enumerate(zip(parameters, weights, slopes, strict=True)):
            momentum[i] = 0.9 * momentum[i] + g + decay * w
            p.copy_(w - lr * momentum[i])


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_equals_two_steps_written_out(adaptive):
    net, reference = small_net().double(), small_net().double()
    images, labels = problem()
    images = images.double()
    optimizer = SAM(net.parameters(), lr=0.05, rho=0.2, adaptive=adaptive, momentum=0.9, weight_decay=1e-3)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        return loss

    momentum = [torch.zeros_like(p) for p in reference.parameters()]
    for _ in range(5):
        here = F.cross_entropy(net(images), labels).item()
        assert optimizer.step(closure).item() == pytest.approx(here)  # the loss at the weights, not at those nearby
        reference_sam_step(reference, momentum, images, labels, adaptive)
    for one, other in zip(net.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_sam_puts_the_weights_back_exactly_even_when_the_second_gradient_fails():
    net = small_net()
    before = copy.deepcopy(list(net.parameters()))
    optimizer = SAM(net.parameters(), lr=0.1, rho=10.0)
    closure, calls = closure_of(net, optimizer), []

    def failing():
        calls.append(not torch.equal(net[0].weight, before[0]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return closure()

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(failing)
    assert calls == [False, True]
    assert all(torch.equal(p, w) for p, w in zip(net.parameters(), before, strict=True))


def test_sam_goes_along_with_any_base():
    net = small_net()
    optimizer = SAM(net.parameters(), lr=0.01, base="torch.optim.AdamW", betas=(0.8, 0.9), weight_decay=0.1)
    first = optimizer.step(closure_of(net, optimizer)).item()
    for _ in range(10):
        last = optimizer.step(closure_of(net, optimizer)).item()
    assert last < first
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)


def test_sam_refusals():
    with pytest.raises(ValueError, match=r"optimizer.rho=0.0 is a radius"):
        SAM(small_net().parameters(), lr=0.1, rho=0.0)
    with pytest.raises(ValueError, match="needs a closure"):
        SAM(small_net().parameters(), lr=0.1).step()


def test_schedules_act_on_sam_also_after_its_state_was_loaded():
    def scheduled():
        net = small_net()
        optimizer = optimizer_of("sam")(net)
        options = {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4, "anneal_strategy": "cos"}
        options |= {"cycle_momentum": True, "base_momentum": 0.85, "max_momentum": 0.95}
        return net, optimizer, schedule.onecycle(optimizer, total_steps=10, steps_per_epoch=5, **options)

    def advance(net, optimizer, scheduler, steps):
        for _ in range(steps):
            optimizer.step(closure_of(net, optimizer))
            scheduler.step()

    net, optimizer, scheduler = scheduled()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 25)
    advance(net, optimizer, scheduler, 4)
    twin, resumed, again = scheduled()
    twin.load_state_dict(net.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    again.load_state_dict(scheduler.state_dict())
    advance(net, optimizer, scheduler, 5)
    advance(twin, resumed, again, 5)
    assert resumed.param_groups[0]["lr"] == resumed.base.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 25 / 1e4)
    assert optimizer.param_groups[0]["momentum"] == pytest.approx(0.95)
    assert all(torch.equal(one, other) for one, other in zip(net.parameters(), twin.parameters(), strict=True))
