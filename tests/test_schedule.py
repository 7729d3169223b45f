import math
from functools import partial

import pytest
import torch
from torch.optim import lr_scheduler as theirs

from cifar_lit import schedule
from cifar_lit.optim.muon import MuonSGD
from cifar_lit.trainer import AtomicCheckpointIO

PEAK, STEPS_PER_EPOCH = 0.1, 5
ONECYCLE = {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1000.0, "anneal_strategy": "cos"}
ONECYCLE |= {"cycle_momentum": True, "base_momentum": 0.85, "max_momentum": 0.95}
SCHEDULES = {
    "onecycle": partial(schedule.onecycle, **ONECYCLE),
    "cosine": partial(schedule.cosine, final_fraction=0.01),
    "warm_restarts": partial(schedule.warm_restarts, first_epochs=2, growth=2, final_fraction=0.01),
    "multistep": partial(schedule.multistep, milestones_fraction=[0.5, 0.75], gamma=0.1),
    "step": partial(schedule.step, every_epochs=3, gamma=0.5),
    "constant": schedule.constant,
}
# The first lr of each schedule, as a share of the peak.
FIRST = dict.fromkeys(SCHEDULES, 1.0) | {"onecycle": 1 / 25}
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


def sgd(momentum=0.9, lr=PEAK):
    return torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=lr, momentum=momentum)


def made(name, optimizer, total_steps, **options):
    return SCHEDULES[name](optimizer, total_steps=total_steps, steps_per_epoch=STEPS_PER_EPOCH, **options)


def rates(optimizer, scheduler, steps):
    """The lr that each of the next steps is taken with."""
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def run(name, total_steps, **options):
    optimizer = sgd()
    scheduler = made(name, optimizer, total_steps, **options)
    first = rates(optimizer, scheduler, total_steps - 1)
    return [*first, optimizer.param_groups[0]["lr"]]


def test_onecycle_gives_the_published_learning_rates_of_r5():
    optimizer = sgd()
    scheduler = schedule.onecycle(
        optimizer,
        total_steps=200 * 391,
        steps_per_epoch=391,
        **(ONECYCLE | {"pct_start": 0.2}),
    )
    published = {
        0: 0.004148, 10: 0.020829, 25: 0.073797, 39: 0.100000, 50: 0.098838, 80: 0.084653,
        110: 0.058789, 140: 0.029963, 157: 0.016061, 165: 0.010736,
    }  # fmt: skip
    found = {}
    optimizer.step()
    for step in range(1, 166 * 391 + 1):
        scheduler.step()
        epoch, rest = divmod(step, 391)
        if not rest and epoch - 1 in published:
            found[epoch - 1] = optimizer.param_groups[0]["lr"]
    assert found == pytest.approx(published, abs=1e-6)


def test_each_equals_torch():
    total = 60
    equals = {
        "onecycle": lambda o: theirs.OneCycleLR(o, max_lr=PEAK, total_steps=total, **ONECYCLE),
        "cosine": lambda o: theirs.CosineAnnealingLR(o, T_max=total, eta_min=0.001),
        "warm_restarts": lambda o: theirs.CosineAnnealingWarmRestarts(o, T_0=10, T_mult=2, eta_min=0.001),
        "multistep": lambda o: theirs.MultiStepLR(o, milestones=[30, 45], gamma=0.1),
        "step": lambda o: theirs.StepLR(o, step_size=15, gamma=0.5),
        "constant": lambda o: theirs.LambdaLR(o, lambda step: 1.0),
    }
    assert equals.keys() == SCHEDULES.keys()
    for name, make in equals.items():
        optimizer = sgd()
        assert run(name, total) == pytest.approx(rates(optimizer, make(optimizer), total), abs=1e-12), name


@pytest.mark.parametrize("name", ["cosine", "warm_restarts"])
def test_each_group_ends_at_its_own_share_of_its_peak(name):
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in (0.06, 0.36)]
    optimizer = torch.optim.SGD(groups, lr=PEAK)
    options = {"first_epochs": 4, "growth": 1} if name == "warm_restarts" else {}
    scheduler = getattr(schedule, name)(optimizer, total_steps=20, steps_per_epoch=5, final_fraction=0.5, **options)
    found = []
    for _ in range(20):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert found[0] == [0.06, 0.36] and found[10] == pytest.approx([0.045, 0.27])
    assert all(rest == pytest.approx(6 * muon) for muon, rest in found)
    assert min(muon for muon, _ in found) == pytest.approx(0.03, abs=3e-4)


def test_by_hand():
    cosine = run("cosine", 100)
    assert cosine[0] == PEAK and cosine[50] == pytest.approx(0.0505) and cosine[99] == pytest.approx(0.001, abs=1e-4)
    assert [run("multistep", 40)[i] for i in (19, 20, 29, 30, 39)] == pytest.approx([0.1, 0.01, 0.01, 0.001, 0.001])
    assert [run("step", 40)[i] for i in (14, 15, 29, 30)] == pytest.approx([0.1, 0.05, 0.05, 0.025])
    restarts = run("warm_restarts", 71)
    assert [i for i, lr in enumerate(restarts) if lr == pytest.approx(PEAK)] == [0, 10, 30, 70]
    assert set(run("constant", 20)) == {PEAK}


def test_onecycle_cycles_momentum_where_there_is_one():
    optimizer = sgd()
    scheduler = made("onecycle", optimizer, 10)
    assert optimizer.param_groups[0]["momentum"] == 0.95
    rates(optimizer, scheduler, 2)
    assert optimizer.param_groups[0]["momentum"] == pytest.approx(0.85)
    adam = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=PEAK)
    made("onecycle", adam, 10)
    assert adam.param_groups[0]["betas"] == (0.95, 0.999)
    kept = sgd()
    SCHEDULES["onecycle"](kept, total_steps=10, steps_per_epoch=5, cycle_momentum=False)
    assert kept.param_groups[0]["momentum"] == 0.9
    made("onecycle", torch.optim.Adagrad([torch.nn.Parameter(torch.ones(1))], lr=PEAK), 10)
    narrow = sgd()
    SCHEDULES["onecycle"](narrow, total_steps=10, steps_per_epoch=5, max_momentum=0.8)
    assert narrow.param_groups[0]["momentum"] == 0.8
    with pytest.raises(ValueError, match=r"momentum of MuonSGD .*scheduler.cycle_momentum=false"):
        made("onecycle", MuonSGD(torch.nn.Linear(2, 2).parameters(), lr=PEAK), 10)


@pytest.mark.parametrize("algorithm", [torch.optim.SGD, torch.optim.RMSprop])
def test_onecycle_leaves_an_optimizer_without_momentum_without(algorithm):
    optimizer = algorithm([torch.nn.Parameter(torch.ones(1))], lr=PEAK, momentum=0.0)
    made("onecycle", optimizer, 10)
    assert optimizer.param_groups[0]["momentum"] == 0.0


@every_schedule
@pytest.mark.parametrize(
    "unit",
    [{"warmup_steps": 10}, {"warmup_epochs": 2}, {"warmup_epochs": 2.0}, {"warmup_fraction": 0.2}],
    ids=["steps", "epochs", "float epochs", "fraction"],
)
def test_warm_up_is_linear_and_then_the_schedule_of_what_remains(name, unit):
    lrs = run(name, 50, **unit, warmup_from=0.1)
    first = FIRST[name] * PEAK
    assert lrs[:10] == pytest.approx([first * (0.1 + 0.9 * step / 10) for step in range(10)], abs=1e-12)
    assert lrs[10:] == pytest.approx(run(name, 40), abs=1e-12)


@every_schedule
def test_warm_up_of_part_of_an_epoch(name):
    assert run(name, 50, warmup_epochs=0.4)[2:] == pytest.approx(run(name, 48), abs=1e-12)


@every_schedule
@pytest.mark.parametrize("warmup", [0, 7])
def test_state_survives_the_disk_and_goes_on_alike(name, warmup, tmp_path):
    whole = run(name, 40, warmup_steps=warmup)
    for stop in (3, 7, 25):
        optimizer = sgd()
        scheduler = made(name, optimizer, 40, warmup_steps=warmup)
        rates(optimizer, scheduler, stop)
        state = {"state_dict": {}, "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        AtomicCheckpointIO().save_checkpoint(state, tmp_path / "a.ckpt")
        state = AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")

        optimizer = sgd()
        scheduler = made(name, optimizer, 40, warmup_steps=warmup)
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        rest = [*rates(optimizer, scheduler, 39 - stop), optimizer.param_groups[0]["lr"]]
        assert rest == whole[stop:], stop


def test_a_cosine_goes_on_from_the_state_of_torchs_own():
    for name, make in (
        ("cosine", lambda o: theirs.CosineAnnealingLR(o, T_max=40, eta_min=0.001)),
        ("warm_restarts", lambda o: theirs.CosineAnnealingWarmRestarts(o, T_0=10, T_mult=2, eta_min=0.001)),
    ):
        before = sgd()
        earlier = make(before)
        rates(before, earlier, 17)
        optimizer = sgd()
        scheduler = made(name, optimizer, 40)
        optimizer.load_state_dict(before.state_dict())
        scheduler.load_state_dict(earlier.state_dict())
        assert rates(optimizer, scheduler, 20) == pytest.approx(rates(before, earlier, 20), abs=1e-12), name


@every_schedule
@pytest.mark.parametrize("total_steps", [1, 2, 3, 4, 5, 10])
@pytest.mark.parametrize("warmup", [0, 1])
def test_runs_of_a_few_steps(name, total_steps, warmup):
    if warmup < total_steps:
        assert all(0.0 < lr <= PEAK for lr in run(name, total_steps, warmup_steps=warmup))


@pytest.mark.parametrize(("pct_start", "total_steps"), [(0.2, 5), (0.5, 2), (0.1, 10), (1.0, 1)])
def test_onecycle_with_a_rise_of_one_step(pct_start, total_steps):
    optimizer = sgd()
    options = ONECYCLE | {"pct_start": pct_start}
    scheduler = schedule.onecycle(optimizer, total_steps=total_steps, steps_per_epoch=5, **options)
    lrs = rates(optimizer, scheduler, total_steps - 1)
    if lrs:
        assert lrs[0] == pytest.approx(PEAK)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(PEAK / 25 / 1000)


@every_schedule
def test_all_parameter_groups_follow(name):
    groups = [
        {"params": [torch.nn.Parameter(torch.ones(2, 2))]},
        {"params": [torch.nn.Parameter(torch.ones(2))], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=PEAK, momentum=0.9, weight_decay=0.1)
    scheduler = made(name, optimizer, 30, warmup_steps=5)
    for _ in range(29):
        optimizer.step()
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] == optimizer.param_groups[1]["lr"]


@every_schedule
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total_steps": 0}, "a schedule of 0 steps: raise trainer.max_epochs"),
        ({"warmup_steps": 5, "warmup_epochs": 1}, "give one of .* not warmup_steps and warmup_epochs"),
        ({"warmup_epochs": 1, "warmup_fraction": 0.1}, "give one of"),
        ({"warmup_steps": 30}, "30 warm-up steps, of a run of 30: make it shorter"),
        ({"warmup_epochs": 7}, "35 warm-up steps, of a run of 30"),
        ({"warmup_fraction": 1.0}, "30 warm-up steps"),
        ({"warmup_steps": -1}, "cannot be negative"),
        ({"warmup_from": 0.0, "warmup_steps": 1}, "scheduler.warmup_from=0.0 .*allowed is above 0, up to 1"),
        ({"warmup_from": 1.5, "warmup_steps": 1}, "scheduler.warmup_from=1.5"),
        ({"warmup_epochs": math.nan}, "scheduler.warmup_epochs=nan: a warm-up is a finite length and cannot be negative"),
        ({"warmup_fraction": math.inf}, "scheduler.warmup_fraction=inf: a warm-up is a finite length"),
    ],
)
def test_bad_lengths_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        SCHEDULES[name](sgd(), **({"total_steps": 30, "steps_per_epoch": 5} | options))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(SCHEDULES["warm_restarts"], first_epochs=0), "first_epochs=0 is less than one step"),
        (partial(SCHEDULES["step"], every_epochs=0.1), "every_epochs=0.1 is less than one step"),
        (partial(SCHEDULES["multistep"], milestones_fraction=[0.5, 30]), "each is a fraction of the run"),
        (partial(SCHEDULES["multistep"], milestones_fraction=[0.0]), "each is a fraction of the run"),
        (partial(SCHEDULES["step"], every_epochs=-1), "scheduler.every_epochs=-1 is less than one step"),
        *(
            (partial(SCHEDULES[shape], **{name: value}), f"scheduler.{name}={value}: allowed is {allowed}")
            for shape, name, values, allowed in (
                ("warm_restarts", "first_epochs", (math.nan,), "a number of epochs"),
                ("step", "every_epochs", (math.inf,), "a number of epochs"),
                ("step", "gamma", (-1, 0, math.nan), "a finite number above 0"),
                ("multistep", "gamma", (-1,), "a finite number above 0"),
                ("onecycle", "anneal_strategy", ("square",), "cos, linear"),
                ("onecycle", "pct_start", (2.0, -0.1, math.nan), "0 to 1"),
                ("onecycle", "div_factor", (-25, 0, math.inf, math.nan), "a finite number above 0"),
                ("onecycle", "final_div_factor", (-3, 0), "a finite number above 0"),
                ("onecycle", "max_momentum", (2, 1.0), "0 up to, not with, 1"),
                ("onecycle", "base_momentum", (-1, math.nan), "0 up to, not with, 1"),
            )
            for value in values
        ),
    ],
)
def test_bad_shapes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(sgd(), total_steps=30, steps_per_epoch=5)


@pytest.mark.parametrize("pct_start", [0, 1])
def test_a_cycle_that_only_falls_or_only_rises(pct_start):
    optimizer = sgd()
    cycle = schedule.onecycle(optimizer, total_steps=10, steps_per_epoch=5, **(ONECYCLE | {"pct_start": pct_start}))
    lrs = rates(optimizer, cycle, 9)
    assert lrs == sorted(lrs, reverse=pct_start == 0)


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="gamma"):
        schedule.cosine(sgd(), total_steps=30, steps_per_epoch=5, final_fraction=0.0, gamma=1.0)


def test_nothing_ever_leaves_the_range_of_the_schedule():
    for name in SCHEDULES:
        lrs = run(name, 100, warmup_fraction=0.1)
        assert all(0.0 < lr <= PEAK * (1 + 1e-12) for lr in lrs), name
        assert not any(math.isnan(lr) for lr in lrs)
