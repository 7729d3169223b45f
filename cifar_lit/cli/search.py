"""A search space, typed in Hydra's grammar: what is fixed, and what a sampler chooses from."""

from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

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


def lowest(dimension: Dimension) -> Any:
    """One value of a dimension, to try whether it can be typed at all."""
    return dimension.values[0] if isinstance(dimension, Choice) else dimension.low
