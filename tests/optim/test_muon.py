"""Muon for filters, SGD for the rest: tests of cifar_lit/optim/muon.py."""

import copy
import inspect

import pytest
import torch
from test_optim import closure_of, optimizer_of, problem, small_net
from torch import nn
from torch._inductor.exc import InductorError
from torch.nn import functional as F

from cifar_lit.optim import build, muon
from cifar_lit.optim.muon import MuonSGD, orthogonalize


def test_orthogonalize_brings_singular_values_near_1():
    matrices = torch.randn(2, 6, 20, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 100.0])[:, None, None]
    for given in (matrices, matrices.mT.contiguous()):
        found = orthogonalize(given, steps=5)
        assert found.shape == given.shape
        values = torch.linalg.svdvals(found)
        assert values.min() > 0.6 and values.max() < 1.3
        left, _, right = torch.linalg.svd(given, full_matrices=False)
        assert torch.corrcoef(torch.stack([found.flatten(), (left @ right).flatten()]))[0, 1] > 0.97


@pytest.mark.parametrize("shape", [(2, 24, 200), (1, 16, 16), (2, 200, 24)], ids=str)
def test_iterations_on_small_products_are_the_iterations(shape):
    """As exact as the plain ones in 32-bit, measured in 64-bit, where singular values lie six orders of magnitude apart."""
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    matrices *= torch.logspace(0, -6, shape[1], dtype=torch.double)[:, None]

    def plain(x):
        x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        for _ in range(5):
            gram = x @ x.mT
            x = 3.4445 * x - 4.7750 * gram @ x + 2.0315 * gram @ gram @ x
        return x

    wide = matrices if shape[1] <= shape[2] else matrices.mT
    exact = plain(wide)
    found = orthogonalize(matrices.float(), steps=5).double()
    rounding = (plain(wide.float()) - exact).abs().max()
    assert ((found if wide is matrices else found.mT) - exact).abs().max() < 3 * rounding


def test_muon_sgd_by_hand():
    """Filters: Nesterov, orthogonalised, at one norm; the rest: SGD of torch's own."""
    net, reference = small_net(), small_net()
    optimizer = MuonSGD(net.parameters(), lr=0.1, weight_decay=0.01, momentum=0.6, rest_lr_scale=2.0, rest_momentum=0.8)
    rest = [parameter for parameter in reference.parameters() if parameter.ndim != 4]
    theirs = torch.optim.SGD(rest, lr=0.2, weight_decay=0.01, momentum=0.8, nesterov=True)
    filters, buffer = reference[0].weight, torch.zeros_like(reference[0].weight)
    for _ in range(3):
        closure_of(net, optimizer)()
        optimizer.step()
        closure_of(reference, theirs)()
        filters.grad = torch.autograd.grad(F.cross_entropy(reference(problem()[0]), problem()[1]), filters)[0]
        with torch.no_grad():
            buffer.mul_(0.6).add_(filters.grad)
            update = orthogonalize((filters.grad + 0.6 * buffer).flatten(1)[None], 5).reshape(filters.shape)
            filters.mul_(8**0.5 / filters.norm()).sub_(0.1 * update)
        theirs.step()
    for mine, other in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_muon_sgd_in_either_order_of_memory_and_after_a_reload():
    """Momenta lie in memory as their filters do, and the columns of matrices in that order, which does not matter."""
    nets = [small_net(), small_net().to(memory_format=torch.channels_last)]
    for net in nets:
        optimizer = MuonSGD(net.parameters(), lr=0.1, weight_decay=0.01)
        for step in range(4):
            if step == 2:
                saved = copy.deepcopy(optimizer.state_dict())
                optimizer = MuonSGD(net.parameters(), lr=0.1, weight_decay=0.01)
                optimizer.load_state_dict(saved)
            closure_of(net, optimizer)()
            optimizer.step()
        momentum = optimizer.state[net[0].weight]["momentum_buffer"]
        assert momentum.shape == net[0].weight.shape and momentum.stride() == net[0].weight.stride()
    for mine, other in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


def test_muon_sgd_without_normalisation_decays_filters():
    net = small_net()
    before = net[0].weight.detach().clone()
    optimizer = MuonSGD(net.parameters(), lr=0.1, weight_decay=0.5, normalize=False)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(net[0].weight.detach(), before * (1 - 0.05))


@pytest.mark.parametrize("options", [{"momentum": 1.0}, {"rest_lr_scale": 0.0}, {"steps": 0}, {"rest_momentum": -0.1}], ids=str)
def test_muon_sgd_refuses(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        MuonSGD(small_net().parameters(), lr=0.1, **options)


def test_groups_of_muon_sgd():
    net = small_net()
    options = [
        "optimizer.lr=0.25",
        "optimizer.rest_lr_scale=10",
        "optimizer.weight_decay=0.125",
        "optimizer.decay_norms_and_biases=false",
    ]
    groups = optimizer_of("muon_sgd", *options)(net).param_groups
    found = [(group["muon"], group["lr"], group["weight_decay"], [id(p) for p in group["params"]]) for group in groups]
    norms_and_biases = [id(net[1].weight), id(net[1].bias), id(net[5].bias)]
    assert found == [
        (True, 0.25, 0.125, [id(net[0].weight)]),
        (False, 2.5, 0.125, [id(net[5].weight)]),
        (False, 2.5, 0.0, norms_and_biases),
    ]


def test_steps_that_cannot_be_compiled_are_taken_as_they_are(monkeypatch, caplog):
    def fails(*arguments, **options):
        raise InductorError(AssertionError(), inspect.currentframe())

    monkeypatch.setattr(muon, "compiled_advance", lambda: fails)
    nets = [small_net(), small_net()]
    optimizers = [MuonSGD(net.parameters(), lr=0.1) for net in nets]
    optimizers[1].compile()
    assert "stay uncompiled" in caplog.text and "InductorError" in caplog.text
    for net, optimizer in zip(nets, optimizers, strict=True):
        closure_of(net, optimizer)()
        optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(*(net.parameters() for net in nets), strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # torch's compiler warns of what it does itself
def test_compiled_steps_are_the_steps_and_compiling_takes_none():
    torch.manual_seed(0)
    convs = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(32, 4))
    nets = [copy.deepcopy(convs).to(memory_format=torch.channels_last) for _ in range(3)]
    optimizers = [build(net, algorithm="cifar_lit.optim.muon.MuonSGD", lr=0.1) for net in nets]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"])
    for optimizer in optimizers[1:]:
        optimizer.compile()
        assert not optimizer.state
    assert all(torch.equal(one, other) for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for step in range(3):
        for net, optimizer in zip(nets, optimizers, strict=True):
            for group in optimizer.param_groups:
                group["lr"].fill_(0.1 / (step + 1))
            images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            F.cross_entropy(net(images), torch.arange(16) % 4).backward()
            optimizer.step()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled, "every step, and the second network's too"
    for one, other, second in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        assert torch.equal(other, second)
