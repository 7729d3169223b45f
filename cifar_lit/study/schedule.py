"""How the learning rate should move: schedules side by side with what accuracy does under them."""

from matplotlib.figure import Figure

from cifar_lit.report import draw, history
from cifar_lit.report.draw import Drawn
from cifar_lit.report.words import percent, plain
from cifar_lit.study import figures, words
from cifar_lit.study.found import Strand


def verdict(strand: Strand) -> list[str]:
    """Sentences."""
    said = [words.best(strand, "schedule"), words.alike(strand, "schedules")]
    if strand.scores.deviation is not None and len(strand.scores.values) > 1:
        said.append(words.behind(strand))
    return [sentence for sentence in [*said, _halfway(strand)] if sentence]


def _halfway(strand: Strand) -> str:
    """Who was ahead when half of the run was done: what a schedule is good for early it may lose in the end."""
    early = {}
    for level in strand.levels:
        epochs, mean, _, _ = history.curves(level.runs).of("val/acc")
        half = [value for epoch, value in zip(epochs, mean, strict=True) if epoch <= epochs[-1] / 2]
        if half:
            early[level.label] = float(half[-1])
    if len(early) < 2:
        return ""
    ahead, last = max(early, key=lambda name: early[name]), strand.scores.order[0]
    listed = ", ".join(f"{name} {percent(value)}%" for name, value in early.items())
    if ahead == last:
        return f"It was ahead at half of the run too ({listed}; means, not tested)."
    return f"At half of the run the order was another: {listed} (means, not tested). What ends well need not begin well."


def drawn(strand: Strand) -> list[Drawn | None]:
    """The learning rate above, accuracy below, over the same epochs."""
    title = "Learning rate, and accuracy beside it"
    with draw.style():
        figure = Figure(figsize=(draw.WIDTH, 4.4))
        draw.title_at(figure, title)
        left, width = 0.72 / draw.WIDTH, (draw.WIDTH - 0.88) / draw.WIDTH  # room for rates of four digits
        upper = figure.add_axes((left, 0.60, width, 0.32))
        lower = figure.add_axes((left, 0.20, width, 0.34), sharex=upper)
        lines = [figures.curve(upper, level, index, "lr", 1.0) for index, level in enumerate(strand.levels)]
        for index, level in enumerate(strand.levels):
            figures.curve(lower, level, index, "val/acc")
        upper.set_ylabel("learning rate")
        upper.tick_params(labelbottom=False)
        lower.set_ylabel(f"{words.measured(strand).split()[0]} acc. (%)")
        draw.whole_epochs(lower)
        draw.keys(figure, lines, [plain(level.label, 26) for level in strand.levels], 3)
        names = ("lr", "val/acc", "train/acc")
        caption = (
            "The learning rate at the end of each epoch. Lines: means over seeds; bands: from the lowest seed to the highest."
        )
        rows = figures.curve_rows(strand.levels, names)
        return [draw.finish("schedules", figure, title, caption, figures.curve_columns(names), rows)]
