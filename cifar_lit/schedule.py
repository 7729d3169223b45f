"""Learning-rate schedules, all stepped once an optimizer step.

Each is called as `schedule(optimizer, total_steps=..., steps_per_epoch=...)` with an optimizer whose `lr` is the peak,
and returns a torch scheduler. All take a linear warm-up, from `warmup_from` times the schedule's first lr, of one of
`warmup_steps`, `warmup_epochs` and `warmup_fraction` (of the whole run).
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_schedulers
from torch.optim.lr_scheduler import LRScheduler


def warmup_length(total_steps: int, steps_per_epoch: int, *, steps: int, epochs: float, fraction: float) -> int:
    """The warm-up in steps. Raises ValueError where more than one unit is given, or it leaves nothing to train."""
    given = {"warmup_steps": steps, "warmup_epochs": epochs, "warmup_fraction": fraction}
    used = {name: value for name, value in given.items() if value}
    if len(used) > 1:
        raise ValueError(f"give one of {', '.join(given)}, not {' and '.join(used)}")
    typed = "".join(f"scheduler.{name}={value}" for name, value in used.items())
    if not all(0 <= value < math.inf for value in given.values()):  # NaN neither
        raise ValueError(f"{typed}: a warm-up is a finite length and cannot be negative")
    length = round(steps + epochs * steps_per_epoch + fraction * total_steps)
    if length >= total_steps:
        raise ValueError(f"{typed} is {length} warm-up steps, of a run of {total_steps}: make it shorter")
    return length


def _check(name: str, value: float | str, fits: bool, allowed: str) -> None:
    if not fits:
        raise ValueError(f"scheduler.{name}={value}: allowed is {allowed}")


def _check_factors(**given: float) -> None:
    """What rates are multiplied with or divided by: a rate stays above zero. Raises ValueError."""
    for name, value in given.items():
        _check(name, value, 0.0 < value < math.inf, "a finite number above 0")


def _in_steps(name: str, epochs: float, steps_per_epoch: int) -> int:
    """A length in epochs as steps. Raises ValueError."""
    _check(name, epochs, math.isfinite(epochs), "a number of epochs")
    length = round(epochs * steps_per_epoch)
    if length < 1:
        raise ValueError(f"scheduler.{name}={epochs} is less than one step")
    return length


def peaks(optimizer: Optimizer) -> list[float]:
    """The lr that each parameter group was given; schedulers made before may have changed the current one."""
    return [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]


def _half_cosines(optimizer: Optimizer, final_fraction: float, share: Callable[[int], float]) -> LRScheduler:
    """Every group from its own lr to final_fraction of it. share: of the half cosine, what is behind after so many steps.

    torch's own cosines end at one lr, the same for all groups.
    """
    if not 0.0 <= final_fraction <= 1.0:
        raise ValueError(f"scheduler.final_fraction={final_fraction} is a share of the peak: allowed is 0 to 1")

    def factor(step: int) -> float:
        return final_fraction + (1.0 - final_fraction) * (1.0 + math.cos(math.pi * share(step))) / 2

    return _HalfCosines(optimizer, factor)


class _HalfCosines(torch_schedulers.LambdaLR):
    """Goes on from the state of torch's own cosines, too, which earlier versions saved: the step says all."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({"lr_lambdas": [None] * len(self.lr_lambdas)} | state_dict)


def warmed(shape: Callable[..., LRScheduler]) -> Callable[..., LRScheduler]:
    """Put a linear warm-up before a schedule, which then covers the steps that remain."""

    @wraps(shape, assigned=("__module__", "__name__", "__qualname__", "__doc__"))  # its own annotations are of use
    def schedule(
        optimizer: Optimizer,
        *,
        total_steps: int,
        steps_per_epoch: int,
        warmup_steps: int = 0,
        warmup_epochs: float = 0.0,
        warmup_fraction: float = 0.0,
        warmup_from: float = 0.01,
        **options: Any,
    ) -> LRScheduler:
        if total_steps < 1:
            raise ValueError(f"a schedule of {total_steps} steps: raise trainer.max_epochs or trainer.max_steps")
        if not 0.0 < warmup_from <= 1.0:
            raise ValueError(f"scheduler.warmup_from={warmup_from} is a share of the peak: allowed is above 0, up to 1")
        warmup = warmup_length(total_steps, steps_per_epoch, steps=warmup_steps, epochs=warmup_epochs, fraction=warmup_fraction)
        if not warmup:
            return shape(optimizer, total_steps, steps_per_epoch, **options)
        rising = torch_schedulers.LinearLR(optimizer, start_factor=warmup_from, total_iters=warmup)
        main = shape(optimizer, total_steps - warmup, steps_per_epoch, **options)
        return torch_schedulers.SequentialLR(optimizer, [rising, main], milestones=[warmup])

    return schedule


@warmed
def onecycle(
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    *,
    pct_start: float,
    div_factor: float,
    final_div_factor: float,
    anneal_strategy: str,
    cycle_momentum: bool,
    base_momentum: float,
    max_momentum: float,
) -> LRScheduler:
    """One cycle (Smith & Topin 2018): from lr / div_factor up to lr, then down to lr / div_factor / final_div_factor.

    Where the optimizer has a momentum, and unless cycle_momentum is false, it goes from max_momentum down to
    base_momentum and back, whatever the optimizer was given.
    """
    _check("pct_start", pct_start, 0.0 <= pct_start <= 1.0, "0 to 1, the share of the run until the peak")
    _check("anneal_strategy", anneal_strategy, anneal_strategy in ("cos", "linear"), "cos, linear")
    _check_factors(div_factor=div_factor, final_div_factor=final_div_factor)
    for name, value in (("base_momentum", base_momentum), ("max_momentum", max_momentum)):
        _check(name, value, 0.0 <= value < 1.0, "0 up to, not with, 1")
    momentum = any(group.get("momentum") or "betas" in group for group in optimizer.param_groups)  # a momentum of 0 is none
    if cycle_momentum and momentum and not {"momentum", "betas"} & set(optimizer.defaults):
        raise ValueError(f"the momentum of {type(optimizer).__name__} cannot be cycled: use scheduler.cycle_momentum=false")
    if pct_start * total_steps == 1.0:
        pct_start *= 1 - 1e-9  # torch divides by the length of the rise less one step
    return torch_schedulers.OneCycleLR(
        optimizer,
        max_lr=peaks(optimizer),
        total_steps=total_steps,
        pct_start=float(pct_start),  # which torch insists on
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        anneal_strategy=anneal_strategy,  # type: ignore[arg-type]
        cycle_momentum=cycle_momentum and momentum,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
    )


@warmed
def cosine(optimizer: Optimizer, total_steps: int, steps_per_epoch: int, *, final_fraction: float) -> LRScheduler:
    """Half a cosine from lr to final_fraction * lr (Loshchilov & Hutter 2017, without restarts)."""
    return _half_cosines(optimizer, final_fraction, lambda step: step / total_steps)


@warmed
def warm_restarts(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, *, first_epochs: float, growth: int, final_fraction: float
) -> LRScheduler:
    """SGDR (Loshchilov & Hutter 2017): cosine periods, the first of `first_epochs`, each `growth` times the last."""
    period = _in_steps("first_epochs", first_epochs, steps_per_epoch)
    _check("growth", growth, growth >= 1, "1 or more")

    def share(step: int) -> float:
        if growth == 1:
            return step % period / period
        length = period
        while step >= length:
            step, length = step - length, length * growth
        return step / length

    return _half_cosines(optimizer, final_fraction, share)


@warmed
def multistep(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, *, milestones_fraction: list[float], gamma: float
) -> LRScheduler:
    """lr times gamma at each milestone, given as a fraction of the run (He et al. 2016: a half and three quarters)."""
    if any(not 0.0 < milestone < 1.0 for milestone in milestones_fraction):
        raise ValueError(f"scheduler.milestones_fraction={milestones_fraction}: each is a fraction of the run, 0 to 1")
    _check_factors(gamma=gamma)
    steps = [round(milestone * total_steps) for milestone in milestones_fraction]
    return torch_schedulers.MultiStepLR(optimizer, milestones=steps, gamma=gamma)


@warmed
def step(optimizer: Optimizer, total_steps: int, steps_per_epoch: int, *, every_epochs: float, gamma: float) -> LRScheduler:
    """lr times gamma every `every_epochs` epochs."""
    _check_factors(gamma=gamma)
    return torch_schedulers.StepLR(optimizer, _in_steps("every_epochs", every_epochs, steps_per_epoch), gamma=gamma)


@warmed
def constant(optimizer: Optimizer, total_steps: int, steps_per_epoch: int) -> LRScheduler:
    """The same lr throughout, after the warm-up if there is one."""
    return torch_schedulers.ConstantLR(optimizer, factor=1.0)
