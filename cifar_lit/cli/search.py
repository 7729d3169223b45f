"""A search space, typed in Hydra's grammar: what is fixed, and what a sampler chooses from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig

from cifar_lit import runs
from cifar_lit.cli.errors import UsageError


@dataclass(frozen=True)
class Choice:
    """One of some values, each as it would be typed."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Steps:
    """Numbers in equal steps, both ends included."""

    low: float | int
    high: float | int
    step: float | int


@dataclass(frozen=True)
class Interval:
    """Any number from low to high, both included; whole ones where both ends are. log: uniform in the logarithm."""

    low: float | int
    high: float | int
    log: bool = False


Dimension = Choice | Steps | Interval

_VALIDATION = "data.validation"
PROCESSES = ("trainer.strategy", "trainer.devices")  # how many a job has: no sweep carries out one of several


def space(typed: list[Override]) -> tuple[list[str], dict[str, Dimension]]:
    """What is fixed, as typed; and the dimensions by key. Of a key given twice, the last counts."""
    fixed: dict[str, str] = {}
    free: dict[str, Dimension] = {}
    for override in typed:
        key = override.get_key_element()
        fixed.pop(key, None)
        free.pop(key, None)
        if override.is_sweep_override():
            free[key] = _dimension(override)
        else:
            fixed[key] = f"{key}={override.get_value_element_as_str()}"
    return list(fixed.values()), free


def _dimension(override: Override) -> Dimension:
    value: Any = override.value()
    line = override.input_line
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        if low is None or high is None or not low <= high:
            raise UsageError(f"{line}: an interval goes from a number to a greater one")
        log = "log" in value.tags
        if log and low <= 0:
            raise UsageError(f"{line}: on a logarithmic scale an interval starts above 0")
        return Interval(low, high, log)
    if isinstance(value, RangeSweep) and not value.shuffle:
        numbers: list[Any] = list(value.range())
        if not numbers:
            raise UsageError(f"{line}: no number lies in this range")
        assert value.step is not None
        return Steps(min(numbers), max(numbers), abs(value.step))
    if isinstance(value, ChoiceSweep | RangeSweep):
        return Choice(tuple(override.sweep_string_iterator()))
    raise UsageError(f"{line}: hydra/sweeper=optuna takes choice, range and interval, as in 'tag(log, interval(1e-4, 1e-1))'")


def probes(fixed: list[str], free: Mapping[str, Dimension]) -> Iterator[list[str]]:
    """Overrides to try whether a space can be searched: one job, and one for each other choice that may decide about that."""
    first = {key: dimension.values[0] if isinstance(dimension, Choice) else dimension.low for key, dimension in free.items()}
    yield [*fixed, *(f"{key}={value}" for key, value in first.items())]
    for key, dimension in free.items():
        if "." not in key or key.lstrip("+") in (_VALIDATION, *PROCESSES):
            for value in dimension.values[1:] if isinstance(dimension, Choice) else (dimension.high,):
                yield [*fixed, *(f"{name}={own}" for name, own in (first | {key: value}).items())]


def check(cfg: DictConfig) -> None:
    """Raise UsageError where a search among such jobs would not be for a number to maximise, or look at the test images."""
    if cfg.objective not in runs.OBJECTIVES:
        raise UsageError(f"objective={cfg.objective}: allowed is {', '.join(runs.OBJECTIVES)}; a sweep maximises it")
    if cfg.data.get("validation") == "test":
        raise UsageError(f"{_VALIDATION}=test: a search would choose by the test images; add {_VALIDATION}=holdout")


def refuse_seeds(free: Mapping[str, Dimension]) -> None:
    """Raise UsageError where the seed would be searched for."""
    if "seed" in {key.lstrip("+") for key in free}:
        raise UsageError("seed: a search would pick the luckiest one; type seed=0, and afterwards repeat=3 with the best values")
