"""What training costs as the work grows, one factor at a time.

    python -m benchmarks.growth [--factors epochs width batch workers images sweep] [--repetitions 3] [--quick] [--json FILE]

resnet8 on drawn images, through our Experiment, each measurement in a process of its own, the values of a factor in turn.

epochs   after a first one; seconds an epoch, with its validation and checkpoints
width    channels of every stage; seconds a GFLOP of convolutions and matrix products
batch    images a batch; seconds an image
workers  processes of engine=workers (0: the training process makes the batches itself); seconds an image
images   of the training set, over one epoch after a first one; seconds an image. Also: bytes of the set, growth of the peak
sweep    jobs of one `python train.py -m`, of one short epoch each; whole seconds without the summaries' training seconds. The
         difference of the two lengths is what a job costs beyond training (wanted: under 1.5 s)

Each factor ends with the cost of a unit at its largest value over that at its smallest: 1 is linear. Peak: of the device
on CUDA, elsewhere the resident set of the process and what its workers hold alone.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.one_run import REPOSITORY, last_line, measure
from benchmarks.results import save
from benchmarks.throughput import peak
from cifar_lit import runs

UNITS = {"epochs": "epoch", "width": "GFLOP", "batch": "image", "workers": "image", "images": "image", "sweep": "job"}
BARE = ["trainer.limit_val_batches=0", "callbacks.checkpoints=null", "+trainer.enable_checkpointing=false"]
WIDTHS = (16, 32, 64)  # of resnet8


@dataclass(frozen=True)
class Sizes:
    """How much is done for a measurement."""

    steps: int
    batch: int
    images: int  # of the smaller set
    values: dict[str, tuple[int, ...]]


_COMMON: dict[str, tuple[int, ...]] = {"width": (1, 2), "workers": (0, 1, 2), "images": (1, 10), "sweep": (2, 6)}
FULL = Sizes(40, 128, 2048, {"epochs": (1, 2, 4), "batch": (128, 256, 512)} | _COMMON)
QUICK = Sizes(8, 32, 256, {"epochs": (1, 2), "batch": (32, 128)} | _COMMON)


def steps(factor: str, value: int, sizes: Sizes) -> tuple[list[str], int, int, int]:
    """Overrides, images a batch, steps before the clock starts, and steps."""
    if factor == "epochs":
        overrides = [f"trainer.max_epochs={value + 1}", f"trainer.limit_train_batches={sizes.steps}", "data.test_per_class=5"]
        overrides.append(f"data.train_per_class={-(-sizes.steps * sizes.batch // 100)}")
        # From the end of the first epoch's last step: so many epochs, and so many validations between them.
        return overrides, sizes.batch, sizes.steps, value * sizes.steps
    if factor == "images":
        epoch = value * sizes.images // sizes.batch
        overrides = ["trainer.max_epochs=2", f"trainer.limit_train_batches={epoch}"]
        overrides.append(f"data.train_per_class={-(-value * sizes.images // 100)}")
        return [*overrides, *BARE], sizes.batch, epoch, epoch
    if factor == "batch":
        return BARE, value, 3, sizes.steps
    if factor == "width":
        widths = ",".join(str(value * channels) for channels in WIDTHS)
        return [f"+model.widths=[{widths}]", *BARE], sizes.batch, 3, sizes.steps
    # Two batches a worker lie ready when the first step begins: the warm-up uses them up.
    return ["data.engine=workers", f"data.workers={value}", *BARE], sizes.batch, 3 + 2 * value, sizes.steps


def training(factor: str, value: int, sizes: Sizes) -> dict[str, float]:
    """One measurement of training: seconds, and of how many units."""
    overrides, batch, warmup, count = steps(factor, value, sizes)
    found = measure("model=resnet8", *overrides, batch=batch, warmup=warmup, steps=count)
    units = {"epoch": value, "GFLOP": found["images"] * found["step_flops"] / 1e9, "image": found["images"]}[UNITS[factor]]
    return {"seconds": found["seconds"], "units": units, "peak_bytes": peak(found), "set_bytes": found["set_bytes"]}


def sweep(jobs: int) -> dict[str, float]:
    """A sweep over so many seeds; its seconds are those in which no job trained."""
    overrides = ["data=synthetic", "data.train_per_class=6", "data.test_per_class=2", "data.val_size=100"]
    overrides += ["data.batch_size=50", "model=resnet8", "trainer.max_epochs=1", "callbacks.progress_bar=null"]
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, "said"), "w+") as said:
        command = [sys.executable, str(REPOSITORY / "train.py"), "-m", *overrides]
        command += [f"seed=range(0,{jobs})", f"hydra.sweep.dir={folder}/sweep"]
        start = time.perf_counter()
        child = subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(child.pid, 0)  # the peak: never below ours, which imports nearly all that it does
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            said.seek(0)
            raise RuntimeError(last_line(said.read()))
        trained = sum((runs.read_summary(path) or {})["train_seconds"] for path in runs.find(Path(folder, "sweep")))
    peak_bytes = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": wall - trained, "units": jobs, "peak_bytes": peak_bytes, "training_seconds": trained}


def median(found: list[dict[str, float]]) -> dict[str, float]:
    """The repetitions of one measurement as one."""
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def grown(name: str, rows: list[dict[str, float]]) -> dict[str, float]:
    """What a factor's rows, from its smallest value to its largest, come to."""
    first, last = rows[0], rows[-1]
    said = {"unit_cost_ratio": last["seconds"] / last["units"] * first["units"] / first["seconds"]}
    if name == "images":
        said |= {f"{what}_growth_bytes": last[f"{what}_bytes"] - first[f"{what}_bytes"] for what in ("set", "peak")}
    if name == "sweep":
        said["seconds_per_job"] = (last["seconds"] - first["seconds"]) / (last["value"] - first["value"])
    return said


def table(factor: str, sizes: Sizes, repetitions: int) -> dict[str, Any]:
    """Measure and print the rows of a factor."""
    values = sizes.values[factor]
    found: dict[int, list[dict[str, float]]] = {value: [] for value in values}
    for repetition in range(repetitions):
        for value in values[:: -1 if repetition % 2 else 1]:  # each first as often as last: the machine's speed drifts
            found[value].append(sweep(value) if factor == "sweep" else training(factor, value, sizes))
    rows = [{"value": value} | median(found[value]) for value in values]
    for row in rows:
        line = f"{factor:<10}{row['value']:>7}{row['seconds']:>10.2f}{1000 * row['seconds'] / row['units']:>12,.3f}"
        print(f"{line}  {UNITS[factor]:<8}{row['peak_bytes'] / 1e6:>8,.0f}")
    came = grown(factor, rows)
    print(f"{factor}: {', '.join(f'{name} {number:,.3f}'.removesuffix('.000') for name, number in came.items())}", flush=True)
    return {"unit": UNITS[factor], "rows": rows, **came, "repetitions": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factors", nargs="+", default=list(UNITS), choices=list(UNITS), metavar="NAME")
    parser.add_argument("--repetitions", type=int, help="of which the median counts (default 3, with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="small and noisy: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    repetitions = (1 if arguments.quick else 3) if arguments.repetitions is None else arguments.repetitions
    if repetitions < 1:
        parser.error(f"--repetitions {repetitions}: allowed is 1 or more")
    print(f"{'factor':<10}{'value':>7}{'seconds':>10}{'ms a unit':>12}  {'unit':<8}{'peak MB':>8}", flush=True)
    found = {}
    for factor in arguments.factors:
        try:
            found[factor] = table(factor, QUICK if arguments.quick else FULL, repetitions)
        except RuntimeError as error:
            sys.exit(f"{factor}: {error}")
    if arguments.json:
        save(arguments.json, {"benchmark": "growth", "quick": arguments.quick, "model": "resnet8", "factors": found})


if __name__ == "__main__":
    main()
