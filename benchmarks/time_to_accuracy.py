"""When runs reached an accuracy: the first epoch, and the seconds of training up to its end.

    python -m benchmarks.time_to_accuracy --target 0.7514 runs/... [--json FILE]

Reads every run directory under the paths. Seconds are those of training alone, as metrics.csv has them: no validation, no
compiling and no start-up. `validation` says which images were scored: `holdout` kept training images, with `test` the test
images were watched, and a best epoch among them is a choice made by looking. Finished runs that differ in the seed alone (same
overrides, validation, device and commit) are summed up by mean and sample standard deviation, epochs and seconds over the
runs that reached the target.
"""

import argparse
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.results import save
from cifar_lit import runs

MEASURED = ("epochs_to_target", "seconds_to_target", "best", "last")


def describe(run_dir: Path, target: float) -> dict[str, Any]:
    """How a run came to the target; what was not measured, or not reached, is None."""
    summary = runs.read_summary(run_dir) or {}
    overrides = summary.get("overrides") or runs.read_overrides(run_dir) or []
    scored = [row for row in runs.read_metrics(run_dir) if "val/acc" in row]
    row = next((row for row in scored if row["val/acc"] >= target), None)
    return {
        "run": str(run_dir),
        "status": summary.get("status", "unfinished"),
        "overrides": runs.identity(overrides),
        "seed": summary.get("seed"),
        "validation": summary.get("validation", "unknown"),
        "device": summary.get("device"),
        "git": summary.get("git"),
        "epochs_to_target": None if row is None else int(row["epoch"]) + 1,
        "seconds_to_target": None if row is None else seconds_until(run_dir, row["epoch"]),
        "best": max((row["val/acc"] for row in scored), default=None),
        "last": scored[-1]["val/acc"] if scored else None,
    }


def seconds_until(run_dir: Path, epoch: float) -> float | None:
    """Training seconds up to the end of an epoch; None where an epoch lacks them, as those before a resume may."""
    total = sum(row.get("seconds", math.nan) for row in runs.read_metrics(run_dir) if row["epoch"] <= epoch)
    return None if math.isnan(total) else total


def over_seeds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each two or more finished runs that differ in nothing but the seed."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in (row for row in rows if row["status"] == "finished"):
        what = tuple(item for item in row["overrides"] if not item.startswith("seed="))
        groups[what, row["validation"], row["device"], row["git"]].append(row)
    found = []
    for (what, validation, device, git), group in groups.items():
        if len(group) < 2:
            continue
        about = {"overrides": list(what), "validation": validation, "device": device, "git": git}
        about |= {"runs": len(group), "seeds": [row["seed"] for row in group]}
        about["reached"] = sum(row["epochs_to_target"] is not None for row in group)
        found.append(about | {name: spread([row[name] for row in group if row[name] is not None]) for name in MEASURED})
    return found


def spread(values: list[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation; None where there are too few."""
    mean = statistics.mean(values) if values else None
    return {"mean": mean, "std": statistics.stdev(values) if len(values) > 1 else None}


def words(measured: dict[str, float | None], scale: float = 1.0, digits: int = 1) -> str:
    mean, std = measured["mean"], measured["std"]
    if mean is None:
        return "-"
    return f"{scale * mean:.{digits}f}" + ("" if std is None else f" ± {scale * std:.{digits}f}")


def show(rows: list[dict[str, Any]], groups: list[dict[str, Any]], target: float) -> None:
    """Print a line a run, and a paragraph for the seeds of each setting."""
    width = max(len(row["run"]) for row in rows) + 2
    print(f"{'run':<{width}}{'validation':<12}{'status':<13}{'epoch':>6}{'seconds':>10}{'best':>8}{'last':>8}")
    for row in rows:
        epoch = row["epochs_to_target"] or "-"
        seconds = "-" if row["seconds_to_target"] is None else f"{row['seconds_to_target']:,.1f}"
        best, last = ("-" if row[name] is None else f"{100 * row[name]:.2f}" for name in ("best", "last"))
        line = f"{row['run']:<{width}}{row['validation']:<12}{row['status']:<13}"
        print(f"{line}{epoch:>6}{seconds:>10}{best:>8}{last:>8}")
    if any(row["validation"] == "test" for row in rows):
        print("validation test: the test images were watched, epoch by epoch (data.validation=test)")
    for group in groups:
        print(f"\n{' '.join(group['overrides']) or 'no overrides'}; validation {group['validation']}, {group['device']}")
        print(f"  {group['reached']} of {group['runs']} runs reached {100 * target:.2f}%", end="")
        print(f": epoch {words(group['epochs_to_target'])}, {words(group['seconds_to_target'])} s", end="")
        print(f"; best {words(group['best'], 100, 2)}, last {words(group['last'], 100, 2)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--target", type=float, required=True, help="an accuracy as a fraction")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if not 0.0 < arguments.target <= 1.0:
        parser.error(f"--target {arguments.target} is an accuracy as a fraction: allowed is above 0, up to 1")
    rows = []
    for root in arguments.runs:
        found = [describe(path, arguments.target) for path in runs.find(root)]
        if not found:
            parser.error(f"{root}: no run directory there")
        rows += found
    groups = over_seeds(rows)
    show(rows, groups, arguments.target)
    if arguments.json:
        save(arguments.json, {"benchmark": "time_to_accuracy", "target": arguments.target, "runs": rows, "over_seeds": groups})


if __name__ == "__main__":
    main()
