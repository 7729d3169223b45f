"""The learning curves of one run as a picture."""

from pathlib import Path

from cifar_lit.atomic import writing


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Write a 2x2 overview as PNG (R5's): accuracy, loss, learning rate and train-validation gap against the epoch.

    rows: of metrics.csv, as `runs.read_metrics` gives them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow, and wanted once, at the end
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 7))  # with margins of its own: a layout engine draws everything twice
    places = {"left": 0.07, "right": 0.985, "bottom": 0.07, "top": 0.955, "wspace": 0.17, "hspace": 0.27}
    accuracy, loss, rate, gap = figure.subplots(2, 2, gridspec_kw=places).flat

    def line(axes, name: str, label: str, style: str, scale: float = 1.0) -> None:  # type: ignore[no-untyped-def]
        points = [(row["epoch"] + 1, scale * row[name]) for row in rows if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label, markersize=4)

    line(accuracy, "train/acc", "train (running)", "o--", 100)
    line(accuracy, "val/acc", "validation", "s-", 100)
    line(accuracy, "val/acc5", "validation, top 5", "^:", 100)
    line(loss, "train/loss", "train", "o--")
    line(loss, "val/loss", "validation (plain cross-entropy)", "s-")
    line(rate, "lr", "learning rate", "o-")
    gaps = [{**row, "gap": row["train/acc"] - row["val/acc"]} for row in rows if {"train/acc", "val/acc"} <= row.keys()]
    if gaps:
        gap.plot([row["epoch"] + 1 for row in gaps], [100 * row["gap"] for row in gaps], "o-", markersize=4)
    gap.axhline(0, color="grey", linewidth=0.8)
    for axes, title, unit in (
        (accuracy, "Accuracy", "%"),
        (loss, "Loss", "nats"),
        (rate, "Learning rate at the end of the epoch", ""),
        (gap, "Train less validation accuracy", "points"),
    ):
        axes.set(title=title, xlabel="epoch", ylabel=unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(rows) < 2:
            axes.set_xlim(0.5, 1.5)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0] and axes is not rate:
            axes.legend()
    with writing(path) as part, open(part, "wb") as file:
        FigureCanvasAgg(figure).print_png(file)
