"""What a report of many runs costs: seconds and the peak of memory of `python -m cifar_lit.report`, in a process of its own.

    python -m benchmarks.report_speed [--recipes 334] [--seeds 3] [--repetitions 3] [--json FILE]

One run is trained (resnet8 on drawn images, 100 classes, many epochs), and copied: each copy is a seed of a recipe of its own,
with other scores and settings, a tenth of the recipes having watched the test images.
"""

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.results import save
from cifar_lit import runs

REPOSITORY = Path(__file__).resolve().parent.parent
TRAINED = (
    "data=synthetic", "data.train_per_class=4", "data.test_per_class=5", "data.val_size=100", "data.batch_size=100",
    "model=resnet8", "model.stem=imagenet", "trainer=cpu", "callbacks.progress_bar=null",
)  # fmt: skip


def train(folder: Path, epochs: int) -> None:
    """One run, of which all others are copies."""
    command = [sys.executable, "train.py", *TRAINED, f"trainer.max_epochs={epochs}", f"hydra.run.dir={folder}"]
    subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)


def copies(trained: Path, root: Path, recipes: int, seeds: int) -> None:
    """So many recipes of so many seeds, in run directories."""
    chance, told = random.Random(0), runs.read_summary(trained)
    assert told is not None
    for recipe in range(recipes):
        settings = {"optimizer.lr": 10 ** chance.uniform(-4, 0), "model": chance.choice(("resnet8", "resnet20", "resnet34"))}
        watched = {"validation": "test", "evaluated": "last"} if recipe % 10 == 0 else {}
        for seed in range(seeds):
            folder = root / f"{recipe}-{seed}"
            shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("checkpoints", "model", ".hydra"))
            scores = {name: told[name] + chance.gauss(0, 0.01) for name in ("val/acc", "test/acc")}
            runs.write_summary(folder, told | watched | scores | {"seed": seed, "config": told["config"] | settings})


# Told by the process itself: ru_maxrss would count the process that it was forked from.
PROGRAM = """
import sys
from cifar_lit.report.__main__ import main
code = main(sys.argv[1:])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1], file=sys.stderr)
sys.exit(code)
"""


def measure(root: Path, out: Path) -> dict[str, float]:
    """Seconds, with the start of the process, and bytes at the peak, of one report. Linux alone tells the peak."""
    began = time.perf_counter()
    command = [sys.executable, "-c", PROGRAM, str(root), "-o", str(out)]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return {"seconds": time.perf_counter() - began, "peak_bytes": 1024 * int(done.stderr.split()[-1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", type=int, default=334)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100, help="rows of each learning curve (default 100)")
    parser.add_argument("--repetitions", type=int, default=3, help="of which the median counts (default 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers, with hardware and versions")
    args = parser.parse_args()
    for name in ("recipes", "seeds", "epochs", "repetitions"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} {getattr(args, name)}: allowed is 1 or more")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(folder / "one", args.epochs)
        copies(folder / "one", folder / "runs", args.recipes, args.seeds)
        found = [measure(folder / "runs", folder / "report") for _ in range(args.repetitions)]
        seconds = statistics.median(one["seconds"] for one in found)
        peak = max(one["peak_bytes"] for one in found)
    print(f"{args.recipes * args.seeds:,} runs: {seconds:.1f} s, {peak / 2**20:.0f} MiB")
    if args.json:
        settings: dict[str, Any] = {key: getattr(args, key) for key in ("recipes", "seeds", "epochs")}
        save(args.json, {"benchmark": "report_speed", **settings, "seconds": seconds, "peak_bytes": peak, "repetitions": found})


if __name__ == "__main__":
    main()
