"""Settings as axes: the levels of each in order, numbers by size, words by name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cifar_lit import runs
from cifar_lit.report.words import plain

_LOG = 30.0  # positive numbers that differ by more than this factor are spread by their logarithm
_MOST_TICKS = 9
# Of options that count something, where their names do not say what. Rates, shares and factors have no unit.
_UNITS = {
    "batch_size": "images",
    "eval_batch_size": "images",
    "val_size": "images",
    "image_size": "pixels a side",
    "padding": "pixels",
    "patience": "validations",
}


def titled(name: str, most: int = 60) -> list[str]:
    """The name of a setting in lines: its group, itself, and what its numbers count, in brackets, where they count something."""
    group, dot, own = name.partition(".")
    counted = _UNITS.get(name.rpartition(".")[2])
    return [plain(line, most) for line in (group + dot, own, counted and f"({counted})") if line]


def word(value: Any, most: int = 18) -> str:
    """A setting's value as it is typed."""
    return plain(runs.word(value), most)


def is_number(value: Any) -> bool:
    """Whether a value has a size; a switch has none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_numbers(column: Sequence[Any], name: str) -> bool:
    """Whether the values of a setting can be laid out by size: not where 1 is a batch and 1.0 all of them."""
    return all(is_number(value) for value in column) and not name.rpartition(".")[2].startswith("limit_")


def levels(configs: Sequence[Mapping[str, Any]], name: str) -> tuple[list[str], list[int]]:
    """The different values of a setting in order, and which of them each configuration has."""
    column = [config.get(name) for config in configs]
    numbers = _are_numbers(column, name)
    keys = [value if numbers else word(value, 200) for value in column]
    ordered = sorted(dict.fromkeys(keys), key=lambda key: (0, key, "") if numbers else (1, 0, key))  # type: ignore[return-value]
    return [word(key) if numbers else plain(key, 18) for key in ordered], [ordered.index(key) for key in keys]


@dataclass(frozen=True)
class Scale:
    """Where each configuration lies on an upright axis, from 0 to 1, and the axis's ticks."""

    places: list[float]
    ticks: list[tuple[float, str]]


def scale(column: Sequence[Any], name: str = "") -> Scale:
    """A setting's values: numbers by size, or by logarithm where they differ much; words at equal distances."""
    if _are_numbers(column, name):
        numbers = [float(value) for value in column]
        logarithmic = min(numbers) > 0 and max(numbers) > _LOG * min(numbers)
        sizes = [math.log(number) if logarithmic else number for number in numbers]
        low, high = min(sizes), max(sizes)
        places = [(size - low) / (high - low) if high > low else 0.5 for size in sizes]
        found = sorted(dict(zip(places, numbers, strict=True)).items())
        if len(found) > _MOST_TICKS:  # the ends and what lies nearest to the quarters
            found = sorted({min(found, key=lambda pair: abs(pair[0] - at)) for at in (0, 0.25, 0.5, 0.75, 1)})
        return Scale(places, [(place, f"{number:.3g}") for place, number in found])
    names, which = levels([{name: value} for value in column], name)
    steps = max(1, len(names) - 1)
    places = [index / steps if len(names) > 1 else 0.5 for index in which]
    thin = -(-len(names) // (2 * _MOST_TICKS))
    return Scale(places, [(index / steps if len(names) > 1 else 0.5, name) for index, name in enumerate(names)][::thin])
