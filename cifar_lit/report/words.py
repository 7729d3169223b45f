"""Numbers and names as people read them. Accuracies are fractions in files and percent here."""

import math
import re
from typing import Any

from cifar_lit.compare import Estimate

MISSING = "\N{EN DASH}"


def plain(text: Any, most: int = 60) -> str:
    """A name from outside as one line of at most `most` letters, shortened in its middle, where labels differ least."""
    line = "".join(letter if letter.isprintable() else "?" for letter in str(text))
    if len(line) <= most:
        return line
    tail = most // 3
    return f"{line[: most - tail - 1]}…{line[-tail:]}"


def brief(label: str) -> str:
    """A recipe's label without the groups of its settings, `lr=0.1` for `optimizer.lr=0.1`, where that leaves all names apart."""
    names = re.findall(r"(?:^|(?<= ))[\w.]+(?==)", label)
    last = [name.rpartition(".")[2] for name in names]
    return re.sub(r"(?:^|(?<= ))(?:\w+\.)+(?=\w+=)", "", label) if len(set(last)) == len(names) else label


def apart(labels: list[str], most: int = 54) -> list[str]:
    """Recipes' labels, to stand side by side: without the settings that all of them share, each of at most `most` letters."""
    parts = [re.split(r" (?=[\w.]+=)", brief(label)) for label in labels]
    shared = set(parts[0]).intersection(*parts[1:]) if len(parts) > 1 else set()
    return [_within([part for part in own if part not in shared] or own, most) for own in parts]


def _within(parts: list[str], most: int) -> str:
    """Settings in at most so many letters: their names are cut before their values, which tell recipes apart."""
    for length in range(24, 3, -1):
        line = " ".join(re.sub(rf"^([\w.]{{{length - 1}}})[\w.]+=", r"\1…=", part) for part in parts)
        if len(line) <= most:
            return plain(line, most)
    return plain(" ".join(parts), most)


def percent(share: float | None, digits: int = 2) -> str:
    """59.48, for 0.5948."""
    return MISSING if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f}"


def points(difference: float | None, digits: int = 2) -> str:
    """+1.20, for 0.012: a difference between percentages."""
    return MISSING if difference is None or not math.isfinite(difference) else f"{100 * difference:+.{digits}f}"


def half_width(estimate: Estimate) -> float | None:
    """The ± of an estimate; None for a single value."""
    return None if estimate.high is None else estimate.high - estimate.mean


def percent_interval(estimate: Estimate | None) -> str:
    """59.48 ± 0.41; without the ± where there is one value."""
    if estimate is None:
        return MISSING
    half = half_width(estimate)
    return percent(estimate.mean) + (f" ± {percent(half)}" if half is not None else "")


def seconds(value: float | None) -> str:
    """61.9 s, 12.4 min or 3.1 h."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def count(value: float | None) -> str:
    """1,234,567."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:,.0f}"


def millions(value: float | None) -> str:
    """0.27, for 270,000."""
    return MISSING if value is None or not math.isfinite(value) else f"{value / 1e6:.2f}"


def p_value(p: float | None) -> str:
    """0.021, <0.001, and >0.99 for what is only nearly certain."""
    if p is None:
        return MISSING
    return "<0.001" if p < 0.001 else ">0.99" if p > 0.99 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def equals(p: float | None) -> str:
    """p=0.021, p<0.001."""
    words = p_value(p)
    return f"p{words}" if words[0] in "<>" else f"p={words}"


def several(n: int, one: str, many: str | None = None) -> str:
    """1 seed, 3 seeds."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def listed(items: list[str], most: int = 5) -> str:
    """a, b and 3 more."""
    if len(items) > most:
        return ", ".join(items[:most]) + f" and {len(items) - most:,} more"
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)
