"""The figures of a study: each as PNG, and as SVG whose text takes the colour of the page around it."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from cifar_lit.robustness.corruptions import FAMILIES, SEVERITIES

DPI = 160
_INK = "#010203"  # of text and axes: almost black, and told from anything else in an SVG
# Okabe and Ito's colours that stand out from white and from black alike; markers and dashes say the same without them.
_LINES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", "-."), ("#CC79A7", "D", ":"))
_BLUE, _ORANGE = _LINES[0][0], _LINES[1][0]
_LOOK: dict[str, Any] = {
    "font.size": 11,
    "axes.titlesize": 12,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.framealpha": 0,
    "legend.fontsize": 10,
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_ID = re.compile(r'(\bid="|url\(#|href="#)')


@dataclass(frozen=True)
class Drawn:
    """name: of the file. section: of the page. words: what it shows, in a sentence."""

    name: str
    section: str
    words: str
    svg: str
    png: bytes


def draw(record: dict[str, Any]) -> list[Drawn]:
    """All figures, in the order of the page."""
    made = [
        _drawn(
            f"accuracy_{family}",
            "corruptions",
            f"Accuracy under {family} at each severity.",
            lambda figure, family=family: _accuracy(figure, record, family),
        )
        for family in FAMILIES
    ]
    for which in ("clean", "corrupted"):
        for when, table in record["reliability"][which].items():
            if table:
                words = f"Reliability of {which} images {when} temperature scaling, and how many images are in each bin."
                made.append(
                    _drawn(
                        f"reliability_{which}_{when}",
                        "calibration",
                        words,
                        lambda figure, table=table, which=which, when=when: _reliability(figure, table, which, when),
                    )
                )
    made.append(
        _drawn("ece_by_severity", "calibration", "Calibration error by severity.", lambda figure: _by_severity(figure, record))
    )
    for name, measure in (record["ood"] or {"measures": {}})["measures"].items():
        words = f"{MEASURES[name].capitalize()} of test images and of the other images."
        words += " It is the log of the sum of exp(logits)." if name == "energy" else ""
        made.append(_drawn(f"ood_{name}", "ood", words, lambda figure, name=name, m=measure: _histogram(figure, name, m)))
    return made


MEASURES = {"max_softmax": "largest probability", "energy": "negative energy"}


def _drawn(name: str, section: str, words: str, paint: Callable[..., None]) -> Drawn:
    look: Any = _LOOK | {"svg.hashsalt": name}  # Any: matplotlib lists the names of all its settings
    with mpl.rc_context(look):
        figure = Figure(figsize=(5, 4), dpi=DPI, layout="constrained")
        paint(figure)
        figure.set_facecolor("white")
        pixels = io.BytesIO()
        FigureCanvasAgg(figure).print_png(pixels)
        figure.set_facecolor("none")
        text = io.StringIO()
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})  # last: it changes the figure's resolution
    return Drawn(name, section, words, _inline(text.getvalue(), name, words), pixels.getvalue())


def _inline(svg: str, name: str, words: str) -> str:
    """An SVG document as part of a page: ids of its own, the page's colour for ink, any width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box, "matplotlib writes one"
    rest = _ID.sub(rf"\g<1>{name}-", rest).replace(_INK, "currentColor")
    start = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box[0]}'
    return f'{start} role="img" aria-label="{words}">{rest}'


def _accuracy(figure: Figure, record: dict[str, Any], family: str) -> None:
    axes = figure.subplots()
    clean = 100 * record["clean"]["acc"]
    axes.axhline(clean, color=_INK, linestyle=(0, (1, 2)), linewidth=1.2, label="clean")
    for name, (colour, marker, dashes) in zip(FAMILIES[family], _LINES, strict=False):
        cells = [100 * cell["acc"] for cell in record["corruptions"][name]]
        axes.plot(SEVERITIES, cells, color=colour, marker=marker, linestyle=dashes, label=name)
    axes.set(title=f"Accuracy under {family}", xlabel="severity", ylabel="accuracy (%)", xticks=SEVERITIES)
    axes.set_ylim(0, min(100, max(20, 1.12 * clean)))
    _finish(axes, ncols=2)


def _reliability(figure: Figure, table: dict[str, Any], which: str, when: str) -> None:
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    bins = [row for row in table["bins"] if row["images"]]
    left, width = [100 * row["low"] for row in bins], 100 / len(table["bins"])
    accuracy = [100 * row["accuracy"] for row in bins]
    bars: dict[str, Any] = {"align": "edge", "facecolor": (_BLUE, 0.4), "edgecolor": _BLUE}
    upper.bar(left, accuracy, width, label="accuracy in the bin", **bars)
    upper.plot([0, 100], [0, 100], color=_INK, linestyle="--", linewidth=1, label="as confident as right")
    confidence = [100 * row["confidence"] for row in bins]
    upper.plot(confidence, accuracy, "D", color=_ORANGE, markersize=4, clip_on=False, label="at its mean confidence")
    upper.set(title=f"{which}, {when}: ECE {100 * table['ece']:.1f}%", ylabel="accuracy (%)", xlim=(0, 100), ylim=(0, 100))
    _finish(upper, loc="upper left")
    lower.bar(left, [row["images"] for row in bins], width, **bars)
    lower.set(xlabel="confidence (%)", ylabel="images")
    lower.grid(alpha=0.2, color=_INK)


def _by_severity(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    kinds = [("ece", "before"), ("ece_calibrated", "after")][: 2 if record["temperature"] else 1]
    for (key, when), (colour, marker, dashes) in zip(kinds, _LINES, strict=False):
        cells = [[row[index][key] for row in record["corruptions"].values()] for index in range(len(SEVERITIES))]
        means = [record["clean"][key], *(sum(values) / len(values) for values in cells)]
        axes.plot((0, *SEVERITIES), [100 * value for value in means], color=colour, marker=marker, linestyle=dashes,
                  label=f"{when} temperature scaling")  # fmt: skip
    axes.set(title="Calibration error, mean of all corruptions", xlabel="severity", ylabel="ECE, 15 bins (%)")
    axes.set_xticks((0, *SEVERITIES), ["clean", *map(str, SEVERITIES)])
    axes.set_ylim(bottom=0)
    _finish(axes)


def _histogram(figure: Figure, name: str, measure: dict[str, Any]) -> None:
    axes = figure.subplots()
    edges = measure["edges"]
    for key, label, (colour, _, dashes) in (("own", "test images", _LINES[0]), ("others", "other images", _LINES[1])):
        total = sum(measure[key])
        shares = [100 * count / total for count in measure[key]]
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.25)
        axes.stairs(shares, edges, color=colour, linewidth=1.6, linestyle=dashes, label=f"{label} ({total:,})")
    unit = "" if name == "max_softmax" else " (nats)"
    axes.set(title=f"AUROC {100 * measure['auroc']:.1f}%", xlabel=MEASURES[name] + unit, ylabel="share of the images (%)")
    _finish(axes)


def _finish(axes: Axes, **legend: Any) -> None:
    axes.grid(alpha=0.2, color=_INK)
    axes.legend(**legend)
