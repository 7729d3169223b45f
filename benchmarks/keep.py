"""Keeps the result of a run, or of a sweep, in benchmarks/results/<name>.json. Run it on the machine that trained.

python -m benchmarks.keep runs/quickstart/<time> quickstart      also what it printed, and its curves in docs/
python -m benchmarks.keep runs/sweep/<time> learning_rate        a row a job; of a repeat, mean and deviation too
"""

import argparse
import re
import shutil
from pathlib import Path
from typing import Any

from benchmarks.readme import REPOSITORY, RESULTS
from benchmarks.results import save
from cifar_lit import runs
from cifar_lit.cli import repeat

_KEPT = (
    "overrides", "status", "seed", "steps", "validation", "train/acc", "val/acc", "val/loss", "train_seconds", "device", "git",
)  # fmt: skip
_KEPT_OF_REPEATS = (
    "epochs", "params", "precision", "images_per_second", "prepare_seconds", "compile_seconds", "trained_seconds", "fit_seconds",
    "evaluated", "test_time_flip", "test/acc", "test/acc5", "test/acc_superclass", "test/ece", "gap",
)  # fmt: skip


def _last_row(run_dir: Path) -> dict[str, float]:
    rows = runs.read_metrics(run_dir)
    return {"val/loss": rows[-1]["val/loss"]} if rows and "val/loss" in rows[-1] else {}


def _sweep(folder: Path) -> dict[str, Any]:
    """A row a job and, of a repeat, what its seeds come to; of a study its verdict, and how long all of it took.

    A sweep that chooses keeps no number of the test images.
    """
    jobs = [(runs.read_summary(path) or {"status": "killed"}) | _last_row(path) for path in runs.find(folder)]
    seeds = repeat.over_seeds(jobs)
    one_setting = len(seeds) == 1 and seeds[0]["runs"] == len(jobs)
    kept = [{key: job.get(key) for key in (*_KEPT, *(_KEPT_OF_REPEATS if one_setting else ()))} for job in jobs]
    found: dict[str, Any] = {"jobs": kept} | ({"seeds": seeds[0]} if one_setting else {})
    if (folder / "verdict.md").exists():
        found |= {"verdict": (folder / "verdict.md").read_text().splitlines(), "seconds": round(_seconds(folder))}
    return found


def _seconds(folder: Path) -> float:
    """From the beginning of the first job to the end of the last, by the clock of the files."""
    began = min(path.stat().st_mtime for path in folder.glob("*/.hydra/config.yaml"))
    return max(path.stat().st_mtime for path in folder.glob("*/summary.json")) - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    arguments = parser.parse_args()
    if not runs.is_run(arguments.run):
        save(RESULTS / f"{arguments.name}.json", _sweep(arguments.run))
        return
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
