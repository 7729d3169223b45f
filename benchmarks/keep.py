"""Keeps the result of a run: its summary, what it printed, and its learning curves.

    python -m benchmarks.keep runs/quickstart/<time> quickstart

Writes benchmarks/results/<name>.json and <name>.txt, and docs/<name>.png. Run it on the machine that trained.
"""

import argparse
import re
import shutil
from pathlib import Path

from benchmarks.readme import REPOSITORY, RESULTS
from benchmarks.results import save
from cifar_lit import runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    arguments = parser.parse_args()
    summary = runs.read_summary(arguments.run)
    if summary is None or summary["status"] != "finished":
        parser.error(f"{arguments.run}: no finished run")
    save(RESULTS / f"{arguments.name}.json", summary)
    log = (arguments.run / "train.log").read_text()
    said = re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ [A-Z]+ ", "", log, flags=re.MULTILINE)
    absolute = str(arguments.run.resolve())
    said = said.replace(absolute, str(Path("runs", *arguments.run.resolve().parts[-2:])))
    (RESULTS / f"{arguments.name}.txt").write_text(said)
    (REPOSITORY / "docs").mkdir(exist_ok=True)
    shutil.copy(arguments.run / "curves.png", REPOSITORY / "docs" / f"{arguments.name}.png")


if __name__ == "__main__":
    main()
