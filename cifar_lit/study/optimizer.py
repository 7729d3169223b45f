"""How fast an optimizer gets somewhere, and how far it gets: epochs and seconds to a common accuracy, and the final accuracy."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from cifar_lit import compare, runs
from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.words import listed, percent, seconds, several
from cifar_lit.runs import Run
from cifar_lit.study import figures, words
from cifar_lit.study.block import Block
from cifar_lit.study.found import Level, Strand

SHARE = 0.9  # of the best final accuracy: the common goal


def goal(strand: Strand) -> float:
    """The accuracy that all are timed to."""
    return SHARE * max(strand.scores.means.values())


def reached(run: Run, target: float) -> tuple[float, float] | None:
    """Epochs and seconds of training until validation accuracy first was at the target; None where it never was.

    Between two validations by a straight line.
    """
    spent = 0.0
    before = (0.0, 0.0, 0.0)  # epochs, seconds, accuracy
    for row in runs.read_metrics(run.path):
        spent += row.get("seconds", 0.0)
        if "val/acc" not in row:
            continue
        here = (row["epoch"] + 1, spent, row["val/acc"])
        if here[2] >= target:
            part = (target - before[2]) / (here[2] - before[2]) if here[2] > before[2] else 1.0
            return before[0] + part * (here[0] - before[0]), before[1] + part * (here[1] - before[1])
        before = here
    return None


def times(strand: Strand) -> dict[str, list[tuple[float, float] | None]]:
    """Epochs and seconds to the goal, of every run of every level."""
    target = goal(strand)
    return {level.label: [reached(run, target) for run in level.runs] for level in strand.levels}


def epochs(strand: Strand) -> Block:
    """Epochs to the goal by seed, of the levels that reached it in every run."""
    target = goal(strand)
    found: dict[str, dict[Any, float]] = {}
    for level in strand.levels:
        own = {run.seed if run.seed is not None else run.path: reached(run, target) for run in level.runs}
        if all(time is not None for time in own.values()):
            found[level.label] = {seed: time[0] for seed, time in own.items() if time is not None}
    return Block(found)


def verdict(strand: Strand) -> list[str]:
    """Sentences."""
    said = [words.best(strand, "optimizer in the end"), words.alike(strand, "optimizers")]
    rates = [(level.label, level.runs[0].settings.get("optimizer.lr")) for level in strand.levels]
    if all(rate is not None for _, rate in rates):
        each = listed([f"{name} {rate:g}" for name, rate in rates], 6)
        said.append(f"Each ran at one learning rate ({each}): a better one for any of them may turn the order.")
    if strand.scores.deviation is not None and len(strand.scores.values) > 1:
        said.append(words.behind(strand))
    return [sentence for sentence in [*said, *_speed(strand)] if sentence]


def _speed(strand: Strand) -> list[str]:
    target, known, block = goal(strand), times(strand), epochs(strand)
    about = f"To {percent(target)}%, {100 * SHARE:.0f}% of the best final accuracy"
    parts = [f"{label} took {_took([time for time in found if time])}" for label, found in known.items() if all(found) and found]
    lines = [f"{about}: {listed(parts, 6)}."] if parts else [f"{about}, none got in every seed."]
    for label, found in known.items():
        lacking = sum(time is None for time in found)
        if lacking:
            lines.append(f"{label} did not get there in {lacking} of {several(len(found), 'run')}.")
    if len(block.values) > 1 and block.deviation is not None:
        fast, *others = reversed(block.order)
        slower = [name for name in others if block.gap(name, fast).told]
        if len(slower) == len(others):
            nearest = others[0]
            gap = block.gap(nearest, fast)
            lines.append(
                f"Fastest in epochs: {fast}, by {gap.mean:.2f} epochs before {nearest} ({gap.low:.2f} to {gap.high:.2f})."
            )
        else:
            unsure = [name for name in others if name not in slower]
            lines.append(f"In epochs, {fast} and {listed(unsure)} cannot be told apart.")
    return lines


def _took(found: Sequence[tuple[float, float]]) -> str:
    done, spent = (compare.estimate([time[place] for time in found]) for place in (0, 1))
    spread = f" (deviation {done.deviation:.2f})" if done.deviation is not None else ""
    return f"{done.mean:.2f} epochs{spread}, {seconds(spent.mean)} of training"


def drawn(strand: Strand) -> list[Drawn | None]:
    """Accuracy against epochs and against seconds, with the goal; and a table of the times."""
    return [figures.learning(strand, "optimizer"), _clock(strand)]


def _clock(strand: Strand) -> Drawn | None:
    title = f"{words.measured(strand).capitalize()} against training time"
    target = goal(strand)
    rows: list[list[Any]] = []
    with draw.style():
        figure, axes = draw.sheet(title, legend=-(-(len(strand.levels) + 1) // 2))
        lines = []
        for index, level in enumerate(strand.levels):
            looks = draw.look(index)
            for number, run in enumerate(level.runs):
                spent, accuracy = _timed(run)
                (line,) = axes.plot(spent, 100 * np.array(accuracy), alpha=0.85, label=level.label, **looks)
                lines += [line] if number == 0 else []
                rows += [[level.label, run.seed, s, a] for s, a in zip(spent, accuracy, strict=True)]
        if not rows:
            return None
        lines.append(axes.axhline(100 * target, color=draw.QUIET, linewidth=1, label=f"{percent(target)}%, timed to"))
        axes.set(xlabel="training time (s)", ylabel="accuracy (%)")
        axes.set_xlim(left=0)
        draw.keys(figure, lines, [str(line.get_label()) for line in lines], 2)
        caption = "A line a seed. Seconds are of this machine, and of whatever else it did."
        return draw.finish("seconds", figure, title, caption, ("optimizer", "seed", "seconds", "val/acc"), rows)


def _timed(run: Run) -> tuple[list[float], list[float]]:
    """Seconds of training until each validation, and its accuracy."""
    rows = runs.read_metrics(run.path)
    spent = list(accumulate(row.get("seconds", 0.0) for row in rows))
    validated = [(done, row["val/acc"]) for done, row in zip(spent, rows, strict=True) if "val/acc" in row]
    return [done for done, _ in validated], [accuracy for _, accuracy in validated]


def columns(level: Level, strand: Strand) -> list[str]:
    """Cells of the verdict's table: epochs and seconds to the goal."""
    found = [time for time in times(strand)[level.label] if time is not None]
    if not found:
        return ["never", "never"]
    part = "" if len(found) == len(level.runs) else f" ({len(found)} of {len(level.runs)} runs)"
    done, spent = (sum(time[place] for time in found) / len(found) for place in (0, 1))
    return [f"{done:.2f}{part}", seconds(spent)]
