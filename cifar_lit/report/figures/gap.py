"""The train-test gap: how much better a recipe knows the images that it learned from."""

from typing import Any

from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.figures import rows
from cifar_lit.report.ranking import TEST
from cifar_lit.report.subject import Subject
from cifar_lit.report.words import points

COLUMNS = ("rank", "recipe", "train/acc", "test/acc", "gap", "gap low", "gap high")


def draw_all(subject: Subject) -> list[Drawn | str]:
    """Training and test accuracy of the first recipes, joined by a bar as long as the gap."""
    entries = [entry for entry in subject.first if entry.mean("gap") is not None and entry.mean("train/acc") is not None]
    if not entries:
        return ["Train-test gap: no run recorded its training accuracy."]
    title = "Train-test gap"
    figure, axes = rows.sheet(title, subject.names(entries, 44), legend=1)
    table: list[list[Any]] = []
    handles: list[Any] = []
    for place, entry in enumerate(entries):
        train, test, gap = entry.columns["train/acc"].mean, entry.columns[TEST].mean, entry.columns["gap"]
        y = place + 0.14
        axes.plot([100 * train, 100 * test], [y, y], color=draw.QUIET, linewidth=4, alpha=0.45, solid_capstyle="butt")
        marks = axes.plot(100 * train, y, "D", color=draw.PALETTE[1], markerfacecolor=draw.GROUND, label="train")
        marks += axes.plot(100 * test, y, "o", color=draw.PALETTE[0], label="test")
        handles = handles or marks
        where: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center", "fontsize": 8}
        axes.text(0.997, place - 0.26, f"{points(gap.mean)} points", **where)
        bounds = ["" if bound is None else bound for bound in (gap.low, gap.high)]
        table.append([entry.rank, entry.label, train, test, gap.mean, *bounds])
    axes.margins(x=0.06)
    axes.set_xlabel("accuracy (%)")
    draw.keys(figure, handles, ["train (running mean of the epoch, augmented images)", "test"], 2)
    caption = (
        "Training less test accuracy, means over seeds. Strong augmentation and mixed labels lower training accuracy, so that"
    )
    caption += " the gap may be below zero; then the recipe is not short of images but of capacity or epochs."
    return [draw.finish(subject.name("gap"), figure, title, caption, COLUMNS, table)]
