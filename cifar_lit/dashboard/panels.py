"""The panels, and the names in W&B that they draw: history, summary and configuration as `logger=wandb` writes them."""

from dataclasses import dataclass

import wandb_workspaces.reports.v2 as wr
from wandb_workspaces.reports.v2.interface import PanelTypes

RECIPE = "recipe"  # one name for all seeds of a recipe: cifar_lit.logger.recipe
TABLES = ("per_class", "confused_pairs", "calibration")  # cifar_lit.logger.findings_tables
# What the table of runs shows, beside a run's name and its state.
SUMMARY_COLUMNS = ("val/acc", "test/acc", "gap", "train_seconds", "val/images", "test/images", "data_fingerprint")
CONFIG_COLUMNS = (
    "choices.model", "choices.optimizer", "choices.scheduler", "optimizer.lr", "choices.augment", "choices.mix", "choices.data",
    "data.batch_size", "trainer.max_epochs", "seed",
)  # fmt: skip
# Axes of the parallel coordinates, and whether they are logarithmic.
_SETTINGS = {
    "choices.model": False, "choices.augment": False, "choices.mix": False, "choices.optimizer": False, "optimizer.lr": True,
    "optimizer.weight_decay": False, "data.batch_size": False, "trainer.max_epochs": False,
}  # fmt: skip
_MOST = 50  # lines or bars in a panel; W&B shows 10 unless told
_WIDTH = 24  # of a report's grid


@dataclass(frozen=True)
class Kind:
    """Runs that may be ranked together. validation: the setting `data.validation` that they share.

    evaluated: which weights were tested, where that is a choice by looking at the test images; else empty.
    """

    validation: str
    title: str
    score: str
    score_words: str
    about: str
    evaluated: str = ""


HELD_OUT = Kind(
    "holdout",
    "Runs with held-out validation",
    "val/acc",
    "validation accuracy",
    "Ranked by the accuracy on training images that were held out. The test images were looked at once, at the end.",
)
WATCHED = Kind(
    "test",
    "Runs that watched the test images",
    "test/acc",
    "test accuracy",
    "The test images were watched while training, as many papers do: compare these runs with each other only. What is called val"
    " is the test images too. Tested were the weights of the last epoch.",
    evaluated="last",
)
KINDS = (HELD_OUT, WATCHED)


def columns() -> list[str]:
    """The columns of the table of runs, as W&B addresses them."""
    return ["run:displayName", "run:state", *(f"summary:{name}" for name in SUMMARY_COLUMNS), *map(_config, CONFIG_COLUMNS)]


def _config(name: str) -> str:
    """W&B keeps a nested configuration as {first: {"value": {rest}}}."""
    first, _, rest = name.partition(".")
    return f"config:{first}.value" + (f".{rest}" if rest else "")


@dataclass(frozen=True)
class Part:
    """Some panels under a title. grouped: whether the table of runs beside them, in a report, has a row a recipe."""

    title: str
    words: str
    panels: list[PanelTypes]
    grouped: bool = False


def parts(kind: Kind) -> list[Part]:
    """What is compared, in the order of the HTML page. Bars and lines are recipes, points and parallel lines are runs."""
    bars = {kind.score: f"{kind.score_words.capitalize()}, mean over seeds", "test/acc": "Test accuracy, mean over seeds"}
    axes = [wr.ParallelCoordinatesPlotColumn(wr.Config(name), log=log or None) for name, log in _SETTINGS.items()]
    scores = [wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(kind.score), display_name=kind.score_words)]
    return [
        Part(
            "Ranking",
            "Recipes by their mean over seeds; open one to see its runs.",
            [_bars(title, name) for name, title in bars.items()],
            grouped=True,
        ),
        Part(
            "Learning curves",
            "Means over seeds, in bands from the lowest to the highest.",
            [
                _line("Validation accuracy", "val/acc"),
                _line("Validation loss", "val/loss"),
                _line("Training accuracy", "train/acc"),
                _line("Training loss", "train/loss"),
            ],
        ),
        Part(
            "Learning rate and speed",
            "The learning rate as the schedule set it; images a second while training.",
            [_line("Learning rate", "lr"), _line("Images per second", "images_per_second")],
        ),
        Part(
            "Over-fitting",
            "Training accuracy is the running one, on augmented images, with labels mixed where the recipe mixes them: the gap"
            " may be below zero.",
            [_bars("Gap: training less test accuracy", "gap"), _bars("Training accuracy", "train/acc")],
        ),
        Part(
            "Classes, confusions, calibration",
            "Of the test images, for the runs that are chosen: accuracy by class, the pairs most often confused, and in bins of"
            " confidence how often it was right.",
            [wr.WeavePanelSummaryTable(table_name=f"findings/{name}") for name in TABLES],
        ),
        Part(
            "Accuracy against cost",
            "A point a run. Nothing beats a run that has no other to its upper left.",
            [_scatter(kind, "train_seconds", "training time (s)"), _scatter(kind, "params", "parameters")],
        ),
        Part(
            "Settings",
            "A line a run. The importance is W&B's own, from a random forest.",
            [
                wr.ParallelCoordinatesPlot(title=f"Settings and {kind.score_words}", columns=axes + scores),
                wr.ParameterImportancePlot(with_respect_to=kind.score),
            ],
        ),
    ]


def laid_out(panels: list[PanelTypes], across: int = 2, height: int = 9) -> list[PanelTypes]:
    """The same panels in rows of a report's grid."""
    width = _WIDTH // across
    for place, panel in enumerate(panels):
        panel.layout = wr.Layout(x=place % across * width, y=place // across * height, w=width, h=height)  # type: ignore[union-attr]
    return panels


def _line(title: str, name: str) -> PanelTypes:
    return wr.LinePlot(
        title=title,
        x="epoch",
        y=[name],
        title_x="epoch",
        groupby=wr.Config(RECIPE),
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        smoothing_type="none",
        max_runs_to_show=_MOST,
    )


def _bars(title: str, name: str) -> PanelTypes:
    return wr.BarPlot(
        title=title,
        metrics=[name],
        groupby=wr.Config(RECIPE),
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        max_runs_to_show=_MOST,
        max_bars_to_show=_MOST,
    )


def _scatter(kind: Kind, name: str, words: str) -> PanelTypes:
    return wr.ScatterPlot(
        title=f"{kind.score_words.capitalize()} against {words}",
        x=wr.SummaryMetric(name),
        y=wr.SummaryMetric(kind.score),
        log_x=True,
    )
