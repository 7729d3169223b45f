"""The files of a report and of its runs, as its tests read them back."""

import csv
import json
from pathlib import Path

from cifar_lit.report.draw import Drawn


def table(out: Path, name: str) -> list[dict[str, str]]:
    with open(out / "figures" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def held_out(root: Path) -> dict[str, list[tuple[Path, dict]]]:
    """Finished held-out runs by the label that the sweep's settings give."""
    found: dict[str, list[tuple[Path, dict]]] = {}
    for path in sorted((root / "sweep").iterdir()):
        summary = json.loads((path / "summary.json").read_text())
        config = summary["config"]
        label = " ".join(f"{name}={config[name]}" for name in ("optimizer", "optimizer.lr", "augment"))
        found.setdefault(label, []).append((path, summary))
    return found


def metrics(path: Path) -> list[dict[str, float]]:
    with open(path / "metrics.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def drawn(contents) -> list[Drawn]:
    return [one for part in contents.parts for section in part.sections.values() for one in section if isinstance(one, Drawn)]
