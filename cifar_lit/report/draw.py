"""How figures are drawn: one palette with markers and dashes, and one figure as SVG for the page and as PNG for elsewhere.

On the page the colours of a figure are CSS variables, so that it follows the reader's light or dark ground.
"""

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

# Okabe and Ito's colours, which the colour-blind tell apart; for white paper the light ones are darkened to a contrast of 3:1.
PALETTE = ("#0072b2", "#d55e00", "#008f68", "#b5548c", "#2b8cc4", "#b07400", "#5b5b5b", "#857c00")
ON_DARK = ("#3f9bd8", "#ee7733", "#1fb58a", "#d98cb8", "#7cc8f2", "#e8a92e", "#b9b9b9", "#d8cc3c")
MARKERS = "os^DvPX*"
DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), "-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
INK, GROUND, QUIET = "#17191c", "#fffffe", "#6e7377"
WIDTH = 5.0  # inches: text keeps its size on a phone
_DPI = 160
_STYLE = {
    "svg.fonttype": "none", "text.parse_math": False, "font.family": "DejaVu Sans", "font.size": 8.5, "axes.titlesize": 10,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.labelsize": 8.5, "legend.fontsize": 8, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "axes.titlecolor": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.facecolor": "none", "figure.facecolor": "none", "axes.linewidth": 0.7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": INK, "grid.alpha": 0.14,
    "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False, "lines.linewidth": 1.5, "lines.markersize": 5,
    "xtick.major.width": 0.7, "ytick.major.width": 0.7, "axes.unicode_minus": True,
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A figure and the numbers in it. table: the name of the CSV, where figures share one."""

    name: str
    title: str
    caption: str
    svg: str
    png: bytes
    columns: tuple[str, ...]
    rows: list[Sequence[Any]]
    table: str = ""


def style() -> Any:
    """The context in which figures are made."""
    return rc_context(_STYLE)  # type: ignore[arg-type]


def look(index: int, *, fill: bool = True) -> dict[str, Any]:
    """Colour, marker and dash of the recipe in place `index`, from 0: no two of the first eight share a marker."""
    colour = PALETTE[index % len(PALETTE)]
    hollow = not fill or index >= len(PALETTE)
    return {
        "color": colour, "marker": MARKERS[index % len(MARKERS)], "linestyle": DASHES[(index + index // 8) % len(DASHES)],
        "markerfacecolor": GROUND if hollow else colour, "markeredgecolor": colour,
    }  # fmt: skip


def sheet(title: str, height: float = 2.5, *, below: float = 0.46, left: float = 0.62, legend: int = 0) -> tuple[Figure, Axes]:
    """A figure with one pair of axes `height` inches high, its title above, and room for lines of a legend below."""
    bottom = below + 0.175 * legend
    total = height + bottom + 0.34
    figure = Figure(figsize=(WIDTH, total))
    axes = figure.add_axes((left / WIDTH, bottom / total, (WIDTH - left - 0.16) / WIDTH, height / total))
    title_at(figure, title)
    return figure, axes


def title_at(figure: Figure, title: str) -> None:
    """The title, at the left edge of the figure."""
    figure.text(0.08 / WIDTH, 1 - 0.07 / figure.get_figheight(), title, fontsize=10, fontweight="bold", va="top")


def keys(figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int = 1) -> None:
    """A legend below the axes; `sheet` left the room for it."""
    figure.legend(handles, labels, loc="lower left", bbox_to_anchor=(0.0, 0.0), ncol=columns, handlelength=3.2,
                  borderaxespad=0.3, labelspacing=0.35, columnspacing=1.2)  # fmt: skip


def whole_epochs(axes: Axes) -> None:
    """Epochs are whole numbers."""
    axes.set_xlabel("epoch")
    right = axes.get_xlim()[1]
    axes.set_xlim((1 - 0.02 * (right - 1), right) if right > 1.5 else (0.5, 1.5))  # one epoch alone
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis with numbers as people write them: matplotlib's own are powers in TeX, which nothing here reads."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def finish(name: str, figure: Figure, title: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]],
           table: str = "") -> Drawn:  # fmt: skip
    """The figure in both forms."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of a name: a box is drawn
        svg = io.StringIO()
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None})  # type: ignore[no-untyped-call]
        figure.set_facecolor("white")
        figure.set_dpi(_DPI)
        canvas = FigureCanvasAgg(figure)
        png = io.BytesIO()
        canvas.print_png(png, pil_kwargs={"compress_level": 3})
    return Drawn(
        name, title, caption, _inline(svg.getvalue(), name, title), png.getvalue(), tuple(columns), list(rows), table or name
    )


_VARIABLES = {
    **{colour: f"var(--c{index})" for index, colour in enumerate(PALETTE)},
    INK: "currentColor",
    GROUND: "var(--ground)",
    QUIET: "var(--quiet)",
}
_COLOUR = re.compile("|".join(_VARIABLES), re.IGNORECASE)
_STYLED = re.compile(r'style="[^"]*"')
_PATH = re.compile(r' d="[^"]*"')


def _inline(svg: str, name: str, title: str) -> str:
    """matplotlib's SVG as a part of a page: ids of its own, the page's colours and font, no metadata."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<style type="text/css">.*?</style>', "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\sid="|xlink:href="#|\surl\(#|: url\(#|="url\(#)', rf"\1{name}-", svg)
    svg = _STYLED.sub(lambda found: _font(_COLOUR.sub(lambda colour: _VARIABLES[colour[0].lower()], found[0])), svg)
    svg = _PATH.sub(lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]).replace("\n", ""), svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box
    safe = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    head = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {box[0]} role="img" aria-label="{safe}">'
    return head + svg[svg.index(">") + 1 :]


def _font(styled: str) -> str:
    return re.sub(r"(font: [^;\"]*?px )[^;\"]*", r"\1var(--font)", styled)


def flat(values: np.ndarray, digits: int = 6) -> list[float | str]:
    """Numbers for a CSV: empty where there is none."""
    return ["" if np.isnan(value) else float(f"{value:.{digits}g}") for value in values.tolist()]
