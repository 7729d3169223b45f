"""The one page of a study: words, table and figures, whole in itself: it asks for nothing from anywhere."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from cifar_lit.robustness.corruptions import FAMILIES, SEVERITIES
from cifar_lit.robustness.figures import MEASURES, Drawn

_STYLE = Path(__file__).with_name("style.css")
_MOST_FAILED = 20  # files that the page names; the JSON names all

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>Robustness of {title}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<h1>Robustness of {title}</h1>
<p class="soft">{subtitle}</p>
<p class="notice">{source}</p>
{tiles}
<h2 id="corruptions">Corruptions</h2>
<p>Accuracy in percent at severity 1 to 5 and their mean; then means over the five severities of the loss in nats and of the
expected calibration error (ECE, 15 bins) in percent{after}. Rows are marked off by family: noise, blur, weather, digital.</p>
{table}
{corruptions}
<h2 id="calibration">Calibration</h2>
<p>{calibration}</p>
{reliability}
<h2 id="ood">Out of distribution</h2>
{ood}
<h2 id="facts">How it was measured</h2>
{facts}
</body>
</html>
"""


def render(record: dict[str, Any], drawn: Sequence[Drawn]) -> str:
    """The page as HTML."""
    warm = record["temperature"] is not None
    images = f"all {record['images']:,} test images"
    if record["limit"] is not None:
        images = f"a sample of {record['images']:,} test images, by class"
    return _PAGE.format(
        title=escape(record["title"]),
        style=_STYLE.read_text(),
        subtitle=escape(f"{record['data']}, {record['classes']} classes, {images}, {record['made'][:10]}"),
        source=escape(record["source"]["words"]),
        tiles=_tiles(record),
        after=", before and after temperature scaling" if warm else "",
        table=_table(record),
        corruptions=_figures(drawn, "corruptions"),
        calibration=_calibration(record),
        reliability=_figures(drawn, "calibration"),
        ood=_outside(record) + _figures(drawn, "ood"),
        facts=_facts(record),
    )


def percent(share: float | None) -> str:
    """A share with one digit after the point."""
    return "" if share is None else f"{100 * share:.1f}"


def _tiles(record: dict[str, Any]) -> str:
    clean, mean = record["clean"], record["mean"]
    tiles = [
        ("accuracy, clean", f"{percent(clean['acc'])}%"),
        ("accuracy, corrupted", f"{percent(mean['acc'])}%"),
        ("mean corruption error", f"{percent(mean['error'])}%"),
        ("the same over the clean error", f"{100 * mean['error_over_clean']:+.1f} points"),
        ("ECE, clean", _before_after(clean)),
        ("ECE, corrupted", _before_after(mean)),
    ]
    if record["ood"]:
        tiles.append(("AUROC, other images", f"{percent(record['ood']['measures']['max_softmax']['auroc'])}%"))
    return '<dl class="tiles">' + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles) + "</dl>"


def _before_after(values: dict[str, Any]) -> str:
    after = "" if values["ece_calibrated"] is None else f" → {percent(values['ece_calibrated'])}%"
    return f"{percent(values['ece'])}%{after}"


def _table(record: dict[str, Any]) -> str:
    warm = record["temperature"] is not None
    head = ["corruption", *(f"sev. {severity}" for severity in SEVERITIES), "mean", "loss", "ECE"]
    head += ["loss, after", "ECE, after"] if warm else []
    keys = ["nll", "ece", *(["nll_calibrated", "ece_calibrated"] if warm else [])]

    def rest(values: dict[str, Any]) -> list[str]:
        return [f"{values[key]:.3f}" if key.startswith("nll") else percent(values[key]) for key in keys]

    clean, mean = record["clean"], record["mean"]
    rows = [_row(["clean", *[""] * len(SEVERITIES), percent(clean["acc"]), *rest(clean)], "whole")]
    for names in FAMILIES.values():
        for name in names:
            cells = record["corruptions"][name]
            means = {key: sum(cell[key] for cell in cells) / len(cells) for key in ("acc", *keys)}
            row = [name, *(percent(cell["acc"]) for cell in cells), percent(means["acc"]), *rest(means)]
            rows.append(_row(row, "family" if name == names[0] else ""))
    by_severity = [
        percent(sum(cells[index]["acc"] for cells in record["corruptions"].values()) / len(record["corruptions"]))
        for index in range(len(SEVERITIES))
    ]
    foot = _row(["mean", *by_severity, percent(mean["acc"]), *rest(mean)], "family whole")
    columns = "".join(f'<th scope="col">{name}</th>' for name in head)
    frame = '<div class="wide" tabindex="0" role="region" aria-label="Accuracy by corruption and severity">'
    return f"{frame}<table><thead><tr>{columns}</tr></thead><tbody>{''.join(rows)}</tbody><tfoot>{foot}</tfoot></table></div>"


def _row(cells: list[str], mark: str = "") -> str:
    return f'<tr class="{mark}"><th scope="row">{cells[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in cells[1:]) + "</tr>\n"


def _figures(drawn: Sequence[Drawn], section: str) -> str:
    made = [
        f'<figure id="{figure.name}">{figure.svg}<figcaption>{figure.words} '
        f'<a href="{figure.name}.png">PNG</a></figcaption></figure>'
        for figure in drawn
        if figure.section == section
    ]
    return f'<div class="figures">{"".join(made)}</div>' if made else ""


def _calibration(record: dict[str, Any]) -> str:
    words = "A calibrated network is right in as many of a hundred images as its confidence says in percent. "
    if record["temperature"] is None:
        return words + "This network has no temperature (no images were held out to fit one): there is no after."
    return (
        f"{words}After: logits divided by the bundle's temperature, {record['temperature']:.4g}, fitted on clean held-out images."
        " The figures of corrupted images have all corruptions and severities in one, where too much and too little confidence"
        " cancel out: their ECE is less than the mean of the 75, which is the one in the table."
    )


def _outside(record: dict[str, Any]) -> str:
    found = record["ood"]
    if not found:
        return "<p>Not measured: no folder of other images was given with --ood.</p>"
    words = (
        f"Can confidence tell the {record['images']:,} clean test images from {found['images']:,} other images, of the folder"
        f" {found['folder']}? AUROC is the chance that a test image is the surer one of a pair, 50% if it is mere luck. FPR at"
        " 95% TPR is the share of other images that pass where 95% of the test images do. Both use logits as they are, without"
        " the temperature."
    )
    rows = "".join(
        f'<tr><th scope="row">{MEASURES[name]}</th><td>{percent(one["auroc"])}</td><td>{percent(one["fpr95"])}</td></tr>\n'
        for name, one in found["measures"].items()
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("confidence", "AUROC (%)", "FPR at 95% TPR (%)"))
    table = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f"<p>{escape(words)}</p>{table}{_failed(found)}"


def _failed(found: dict[str, Any]) -> str:
    if not found["failed"]:
        return ""
    named = "".join(f"<li>{escape(line)}</li>" for line in found["failed"][:_MOST_FAILED])
    more = len(found["failed"]) - _MOST_FAILED
    rest = f"<li>and {more:,} more, in robustness.json</li>" if more > 0 else ""
    return (
        f"<p>{len(found['failed']):,} of {found['files']:,} files could not be read and are left out:</p><ul>{named}{rest}</ul>"
    )


def _facts(record: dict[str, Any]) -> str:
    facts = {
        "weights (SHA-256)": record["sha256"],
        "made": record["made"],
        "seed": record["seed"],
        "device": record["device"],
        "took": f"{record['seconds']:,.0f} s",
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        "mean corruption error": "the plain mean of the error over fifteen corruptions and five severities; it is not divided by"
        " AlexNet's, as for ImageNet-C",
    }
    files = ["robustness.json", "corruptions.csv", "reliability.csv", *(["ood.csv"] if record["ood"] else [])]
    links = ", ".join(f'<a href="{name}">{name}</a>' for name in files)
    rows = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    return f'<dl class="facts">{rows}<dt>numbers</dt><dd>{links}</dd></dl>'
