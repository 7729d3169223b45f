import copy
import math
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn
from torch.nn import functional as F

import cifar_lit.cli  # noqa: F401 - registers the resolvers that conf/train.yaml uses
from cifar_lit.optim import build, fit_for_graphs, parameter_groups

CONF = Path(__file__).parents[1] / "conf"
NAMES = sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml"))
every_conf = pytest.mark.parametrize("name", NAMES)
# muon_sgd has groups of its own.
one_algorithm = pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("muon_sgd")])


def optimizer_of(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[f"optimizer={name}", *overrides])
    return instantiate(cfg.optimizer, _convert_="all")


def small_net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip


def problem():
    images = torch.randn(32, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    return images, torch.arange(32) % 4


def closure_of(net, optimizer):
    images, labels = problem()

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        return loss

    return closure


def test_every_algorithm_has_a_file():
    assert {"adam", "adamw", "lion", "muon", "rmsprop", "sam", "sgd"} <= set(NAMES)


@every_conf
@pytest.mark.slow
def test_lowers_the_loss_of_a_small_net(name):
    net = small_net()
    optimizer = optimizer_of(name)(net)
    closure = closure_of(net, optimizer)
    first = closure().item()
    for _ in range(40):
        last = optimizer.step(closure).item()
    assert last < 0.97 * first and math.isfinite(last)


@every_conf
@pytest.mark.slow
def test_state_round_trip_goes_on_alike(name, tmp_path):
    net = small_net()
    optimizer = optimizer_of(name)(net)
    for _ in range(3):
        optimizer.step(closure_of(net, optimizer))
    torch.save(optimizer.state_dict(), tmp_path / "state")
    twin = copy.deepcopy(net)
    resumed = optimizer_of(name)(twin)
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    for _ in range(3):
        optimizer.step(closure_of(net, optimizer))
        resumed.step(closure_of(twin, resumed))
    for one, other in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


@one_algorithm
def test_lr_and_weight_decay_reach_the_algorithm(name):
    optimizer = optimizer_of(name, "optimizer.lr=0.25", "optimizer.weight_decay=0.125")(small_net())
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.25, 0.125)]


@one_algorithm
def test_decay_can_be_kept_off_norms_and_biases(name):
    net = small_net()
    optimizer = optimizer_of(name, "optimizer.decay_norms_and_biases=false", "optimizer.weight_decay=0.125")(net)
    decayed, free = optimizer.param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.125, 0.0)
    assert [id(p) for p in decayed["params"]] == [id(net[0].weight), id(net[5].weight)]
    assert [id(p) for p in free["params"]] == [id(net[1].weight), id(net[1].bias), id(net[5].bias)]


@every_conf
def test_decay_acts_where_it_should_and_nowhere_else(name):
    net = small_net()
    before = copy.deepcopy(net.state_dict())
    optimizer = optimizer_of(name, "optimizer.decay_norms_and_biases=false", "optimizer.weight_decay=0.5", "optimizer.lr=0.1")(
        net
    )

    def closure():
        loss = sum((0.0 * p).sum() for p in net.parameters())
        optimizer.zero_grad()
        loss.backward()
        return loss

    optimizer.step(closure)
    for key, p in net.named_parameters():
        assert torch.equal(p, before[key]) == (p.ndim < 2), key


def test_frozen_parameters_and_empty_groups_are_left_out():
    net = small_net()
    net[0].requires_grad_(False)
    assert [len(group["params"]) for group in parameter_groups(net, decay_norms_and_biases=True)] == [4]
    assert [len(group["params"]) for group in parameter_groups(net, decay_norms_and_biases=False)] == [1, 3]
    optimizer = build(nn.BatchNorm1d(3), algorithm="torch.optim.SGD", lr=0.1, weight_decay=0.1, decay_norms_and_biases=False)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr": 0}, ValueError, "optimizer.lr=0: allowed is above 0"),
        ({"lr": 0.0}, ValueError, "optimizer.lr=0.0"),
        ({"lr": -0.1}, ValueError, "optimizer.lr=-0.1"),
        ({"lr": math.nan}, ValueError, "optimizer.lr=nan"),
        ({"lr": math.inf}, ValueError, "optimizer.lr=inf"),
        ({"lr": "fast"}, TypeError, "optimizer.lr='fast' is not a number"),
        ({"lr": None}, TypeError, "optimizer.lr=None is not a number"),
        ({"lr": True}, TypeError, "optimizer.lr=True is not a number"),
        ({"weight_decay": -1e-4}, ValueError, "optimizer.weight_decay=-0.0001: allowed is 0 or more"),
        ({"weight_decay": "none"}, TypeError, "optimizer.weight_decay='none'"),
        ({"weight_decay": math.nan}, ValueError, "optimizer.weight_decay=nan"),
        ({"momentum": math.nan}, ValueError, "optimizer.momentum=nan: allowed is 0 up to, not with, 1"),
        ({"momentum": 2}, ValueError, "optimizer.momentum=2: allowed is 0 up to, not with, 1"),
    ],
)
def test_bad_values_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        build(small_net(), **({"algorithm": "torch.optim.SGD", "lr": 0.1} | options))


@every_conf
def test_an_option_that_the_algorithm_does_not_have_is_refused(name):
    with pytest.raises(Exception, match="speed") as caught:
        optimizer_of(name, "+optimizer.speed=11")(small_net())
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("algorithm", ["torch.optim.Nothing", "nowhere.SGD", "os.system"])
def test_an_unknown_algorithm_is_refused(algorithm):
    with pytest.raises((ImportError, ValueError, TypeError), match=algorithm.split(".")[-1]):
        build(small_net(), algorithm=algorithm, lr=0.1)


@pytest.mark.parametrize("name", ["adam", "lion", "muon", "rmsprop", "sgd"])
def test_the_schedule_scales_the_whole_step(name):
    """A thousandth of the lr moves every parameter about a thousandth as far, whichever part of the algorithm moves it."""

    def moved(lr_scale):
        net = small_net()
        before = copy.deepcopy(net.state_dict())
        optimizer = optimizer_of(name)(net)
        for group in optimizer.param_groups:
            group["lr"] *= lr_scale
        optimizer.step(closure_of(net, optimizer))
        return torch.stack([(p.detach() - before[key]).norm() for key, p in net.named_parameters()])

    assert torch.allclose(moved(1e-2), 1e-2 * moved(1.0), rtol=0.05)


def test_fused_where_the_algorithm_has_it():
    options = {"lr": 0.1, "fused": True}
    assert build(small_net(), algorithm="torch.optim.SGD", **options).param_groups[0]["fused"] is True
    assert "fused" not in build(small_net(), algorithm="cifar_lit.optim.muon.MuonSGD", **options).param_groups[0]


def test_a_checkpoint_of_graphs_is_for_steps_without_them_too():
    """Learning rates as tensors, and steps that claim to be captured, stop torch's steps anywhere but in a graph."""
    nets = [small_net(), small_net()]
    graphs, plain = (torch.optim.AdamW(net.parameters(), lr=0.1, foreach=True) for net in nets)
    for net, optimizer in zip(nets, (graphs, plain), strict=True):
        closure_of(net, optimizer)()
        optimizer.step()
    saved = copy.deepcopy(graphs.state_dict())
    for group in saved["param_groups"]:
        group |= {"lr": torch.tensor(group["lr"], dtype=torch.float64), "capturable": True}
    graphs.load_state_dict(saved)
    closure_of(nets[0], graphs)()
    with pytest.raises((AssertionError, ValueError)):
        graphs.step()
    fit_for_graphs(graphs, False)
    graphs.step()
    closure_of(nets[1], plain)()
    plain.step()
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(one, other)
    fit_for_graphs(graphs, True)
    [group] = graphs.param_groups
    assert group["capturable"] and torch.is_tensor(group["lr"]) and group["lr"].dtype == torch.float32
