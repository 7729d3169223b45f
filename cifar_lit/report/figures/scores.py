"""The ranking as a figure: every seed, the mean and its 95% interval."""

from typing import Any

from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.figures import rows
from cifar_lit.report.ranking import TEST, VALIDATION, by_seed
from cifar_lit.report.subject import Subject

COLUMNS = ("rank", "recipe", "measure", "seed", "value", "mean", "low", "high")


def draw_all(subject: Subject) -> list[Drawn | str]:
    """Validation and test accuracy of the first recipes; of runs that watched the test, test accuracy alone."""
    watched = subject.board.kind.watched
    measures = (
        ((TEST, "test", "o", True, 0.14),)
        if watched
        else ((VALIDATION, "validation", "s", False, 0.0), (TEST, "test", "o", True, 0.24))
    )
    title = "Test accuracy, watched" if watched else "Validation and test accuracy"
    figure, axes = rows.sheet(title, subject.names(subject.first), legend=1, row=0.45)
    table: list[list[Any]] = []
    handles: list[Any] = []
    for place, entry in enumerate(subject.first):
        for name, words, marker, fill, down in measures:
            if name not in entry.columns:
                continue
            colour = draw.PALETTE[0] if fill else draw.PALETTE[1]
            found, y = entry.columns[name], place + down
            values = by_seed(entry.recipe.runs, name)
            for seed, value in values.items():
                known = seed if isinstance(seed, int) else ""
                table.append([entry.rank, entry.label, words, known, value, found.mean, *(
                    "" if bound is None else bound for bound in (found.low, found.high))])  # fmt: skip
            axes.plot([100 * value for value in values.values()], [y] * len(values), "|", color=colour, markersize=7, alpha=0.7)
            if found.low is not None and found.high is not None:
                axes.plot([100 * found.low, 100 * found.high], [y, y], color=colour, linewidth=1.4)
            face = colour if fill else draw.GROUND
            dots = axes.plot(100 * found.mean, y, marker, color=colour, markerfacecolor=face, label=words, markersize=5.5)
            if place == 0:
                handles += dots
    lows = [100 * row[4] for row in table]
    room = max(1.0, 1.2 * (max(lows) - min(lows)))  # two or three seeds can have intervals far wider than the figure
    axes.set_xlim(max(axes.get_xlim()[0], min(lows) - room), min(axes.get_xlim()[1], max(lows) + room))
    axes.set_xlabel("accuracy (%)")
    draw.keys(figure, handles, [handle.get_label() for handle in handles], 2)
    caption = "Dots: means; thin bars: 95% intervals over seeds (Student's t), which end at the frame where they are wider;"
    caption += " upright ticks: single seeds. Recipes with one seed have no interval."
    return [draw.finish(subject.name("scores"), figure, title, caption, COLUMNS, table)]
