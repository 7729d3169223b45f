"""Every figure of a ranking, in the order of the page. Each file draws one idea."""

from collections.abc import Callable

from cifar_lit.report import draw
from cifar_lit.report.draw import Drawn
from cifar_lit.report.figures import (
    calibration,
    classes,
    confusions,
    curves,
    gap,
    grids,
    importance,
    overview,
    parallel,
    scores,
    seconds,
)
from cifar_lit.report.subject import Subject

Draw = Callable[[Subject], list[Drawn | str]]
# The sections of a ranking and what is in them.
SECTIONS: dict[str, tuple[Draw, ...]] = {
    "At a glance": (scores.draw_all, seconds.draw_all, overview.draw_all, gap.draw_all),
    "Learning curves": (curves.draw_all,),
    "Settings": (importance.draw_all, parallel.draw_all, grids.draw_all),
    "Classes and mistakes": (classes.draw_all, confusions.draw_all, calibration.draw_all),
}


def draw_all(subject: Subject) -> dict[str, list[Drawn | str]]:
    """Figures by section; a sentence stands for a figure that could not be drawn."""
    with draw.style():
        return {section: [drawn for one in draws for drawn in one(subject)] for section, draws in SECTIONS.items()}
