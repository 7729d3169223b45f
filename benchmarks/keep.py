"""Keeps the result of a run, or of a sweep, in benchmarks/results/<name>.json. Run it on the machine that trained.

python -m benchmarks.keep runs/quickstart/<time> quickstart      also what it printed, and its curves in docs/
python -m benchmarks.keep runs/sweep/<time> learning_rate        a row a job
"""

import argparse
import re
import shutil
from pathlib import Path

from benchmarks.readme import REPOSITORY, RESULTS
from benchmarks.results import save
from cifar_lit import runs


def _last_row(run_dir: Path) -> dict[str, float]:
    rows = runs.read_metrics(run_dir)
    return {"val/loss": rows[-1]["val/loss"]} if rows and "val/loss" in rows[-1] else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    arguments = parser.parse_args()
    if not runs.is_run(arguments.run):
        jobs = [(runs.read_summary(path) or {"status": "killed"}) | _last_row(path) for path in runs.find(arguments.run)]
        wanted = (
            "overrides",
            "status",
            "seed",
            "steps",
            "validation",
            "train/acc",
            "val/acc",
            "val/loss",
            "train_seconds",
            "device",
            "git",
        )
        save(RESULTS / f"{arguments.name}.json", {"jobs": [{key: job.get(key) for key in wanted} for job in jobs]})
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
