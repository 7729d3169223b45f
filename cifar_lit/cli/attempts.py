"""How often a job of a sweep was tried: what it leaves when it starts, and a line for every try that failed or died."""

import json
import os
import platform
from datetime import datetime
from pathlib import Path
from typing import Any

from cifar_lit.atomic import writing
from cifar_lit.runs import SUMMARY

STARTED = ".started"  # by the job: it holds its directory, and does what it was asked
FAILURES = ".failures"
LIMIT = 2  # a job that fails is tried once more


def start(folder: Path, known: dict[str, Any]) -> None:
    """A job begins, and has no result until it ends; what is `known` of it is all that can be said if its process dies."""
    (folder / SUMMARY).unlink(missing_ok=True)
    with writing(folder / STARTED) as part:
        part.write_text(json.dumps({"known": known, "host": platform.node(), "pid": os.getpid()}) + "\n")


def read_start(folder: Path) -> dict[str, Any]:
    """What was known of a job when it began."""
    try:
        return dict(json.loads((folder / STARTED).read_text())["known"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def note(folder: Path, why: str) -> None:
    """A try came to nothing."""
    with open(folder / FAILURES, "a") as file:
        file.write(f"{datetime.now().isoformat(timespec='seconds')} {' '.join(why.split())}\n")


def failures(folder: Path) -> int:
    """How many tries came to nothing, over all runs of the sweep. A sweep that is killed is no fault of its jobs, and no try."""
    try:
        return (folder / FAILURES).read_text().count("\n")
    except OSError:
        return 0
