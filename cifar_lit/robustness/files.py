"""The files that a study leaves: its page, its pictures, its numbers as JSON and as tables."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cifar_lit.atomic import sync
from cifar_lit.robustness import figures, page
from cifar_lit.robustness.study import VALUES

NUMBERS, PAGE = "robustness.json", "index.html"
Table = Iterable[Iterable[Any]]


def write(record: dict[str, Any], folder: Path) -> Path:
    """Write all files beside their place, then move them there, the page last. Returns the page."""
    part = prepare(folder)
    try:
        for name, table in tables(record).items():
            (part / name).write_text(_csv(table), newline="")
        drawn = figures.draw(record)
        for figure in drawn:
            (part / f"{figure.name}.png").write_bytes(figure.png)
        (part / NUMBERS).write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")
        (part / PAGE).write_text(page.render(record, drawn))
        for file in sorted(part.iterdir(), key=lambda file: file.name == PAGE):
            sync(file)
            os.replace(file, folder / file.name)
        sync(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder / PAGE


def prepare(folder: Path) -> Path:
    """Make the folder, and an empty one in it to write to first. Raises OSError where that cannot be."""
    part = folder / f".{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    return part


def tables(record: dict[str, Any]) -> dict[str, Table]:
    """The numbers as tables, by file name: a row a corruption and severity, a row a bin."""
    scores = [["corruption", "severity", *VALUES], ["clean", 0, *(record["clean"][name] for name in VALUES)]]
    for name, cells in record["corruptions"].items():
        scores += [[name, cell["severity"], *(cell[value] for value in VALUES)] for cell in cells]
    columns = ("low", "high", "images", "confidence", "accuracy")
    bins: list[list[Any]] = [["of", "temperature", *columns]]
    for which, pair in record["reliability"].items():
        for when, table in pair.items():
            bins += [[which, when, *(row[column] for column in columns)] for row in (table["bins"] if table else ())]
    made: dict[str, Table] = {"corruptions.csv": scores, "reliability.csv": bins}
    if record["ood"]:
        rows: list[list[Any]] = [["confidence", "low", "high", "test_images", "other_images"]]
        for name, measure in record["ood"]["measures"].items():
            edges = measure["edges"]
            rows += [[name, *row] for row in zip(edges[:-1], edges[1:], measure["own"], measure["others"], strict=True)]
        made["ood.csv"] = rows
    return made


def _csv(rows: Table) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
