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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.one_run import REPOSITORY, last_line, measure
from benchmarks.results import save
from benchmarks.throughput import peak
from cifar_lit import runs

BARE = ["trainer.limit_val_batches=0", "callbacks.checkpoints=null", "+trainer.enable_checkpointing=false"]
WIDTHS = [16, 32, 64]  # of resnet8
UNITS = {"epochs": "epoch", "width": "GFLOP", "batch": "image", "workers": "image", "images": "image", "sweep": "job"}


@dataclass(frozen=True)
class Sizes:
    """How much is done for a measurement."""

    steps: int
    batch: int
    images: int  # of the smaller set


FULL, QUICK = Sizes(steps=40, batch=128, images=2048), Sizes(steps=8, batch=32, images=256)


def trained(*overrides: str, units: Callable[[dict[str, Any]], float], **sizes: int) -> dict[str, Any]:
    """One measurement of training, in seconds for so many units."""
    found = measure("model=resnet8", *overrides, **sizes)
    return {"seconds": found["seconds"], "units": units(found), "peak_bytes": peak(found), "set_bytes": found["set_bytes"]}


def epochs(value: int, sizes: Sizes) -> dict[str, Any]:
    images = sizes.steps * sizes.batch
    overrides = [f"trainer.max_epochs={value + 1}", f"trainer.limit_train_batches={sizes.steps}", "data.test_per_class=5"]
    overrides.append(f"data.train_per_class={-(-images // 100)}")
    # From the end of the first epoch's last step: so many epochs, and so many validations between them.
    steps = {"warmup": sizes.steps, "steps": value * sizes.steps}
    return trained(*overrides, units=lambda _: value, batch=sizes.batch, **steps)


def width(value: int, sizes: Sizes) -> dict[str, Any]:
    widths = f"+model.widths={[value * channels for channels in WIDTHS]}".replace(" ", "")
    count: Callable[[dict[str, Any]], float] = lambda found: found["images"] * found["step_flops"] / 1e9  # noqa: E731
    return trained(widths, *BARE, units=count, batch=sizes.batch, warmup=3, steps=sizes.steps)


def batch(value: int, sizes: Sizes) -> dict[str, Any]:
    return trained(*BARE, units=_images, batch=value, warmup=3, steps=sizes.steps)


def workers(value: int, sizes: Sizes) -> dict[str, Any]:
    engine = ["data.engine=workers", f"data.workers={value}"]
    # Two batches a worker lie ready when the first step begins: the warm-up uses them up.
    return trained(*engine, *BARE, units=_images, batch=sizes.batch, warmup=3 + 2 * value, steps=sizes.steps)


def images(value: int, sizes: Sizes) -> dict[str, Any]:
    steps = value * sizes.images // sizes.batch
    overrides = ["trainer.max_epochs=2", f"trainer.limit_train_batches={steps}"]
    overrides.append(f"data.train_per_class={-(-value * sizes.images // 100)}")
    return trained(*overrides, *BARE, units=_images, batch=sizes.batch, warmup=steps, steps=steps)


def _images(found: dict[str, Any]) -> float:
    return float(found["images"])


def sweep(value: int, _: Sizes) -> dict[str, Any]:
    """A sweep over so many seeds; its seconds are those that no job trained in."""
    overrides = ["data=synthetic", "data.train_per_class=6", "data.test_per_class=2", "data.val_size=100"]
    overrides += ["data.batch_size=50", "model=resnet8", "trainer.max_epochs=1", "callbacks.progress_bar=null"]
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, "said"), "w+") as said:
        command = [sys.executable, str(REPOSITORY / "train.py"), "-m", *overrides]
        command += [f"seed=range(0,{value})", f"hydra.sweep.dir={folder}/sweep"]
        start = time.perf_counter()
        child = subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(child.pid, 0)  # Popen.wait does not tell the peak
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        if child.returncode != 0:
            raise RuntimeError(f"sweep: {last_line(said.read())}")
        summaries = [runs.read_summary(path) or {} for path in runs.find(Path(folder, "sweep"))]
    training = sum(summary["train_seconds"] for summary in summaries)
    scale = 1 if sys.platform == "darwin" else 1024
    return {"seconds": wall - training, "units": value, "peak_bytes": used.ru_maxrss * scale, "training_seconds": training}


def factors(quick: bool) -> dict[str, tuple[Callable[[int, Sizes], dict[str, Any]], tuple[int, ...]]]:
    """Each factor's measurement, and the values it takes."""
    sizes = QUICK if quick else FULL
    return {
        "epochs": (epochs, (1, 2) if quick else (1, 2, 4)),
        "width": (width, (1, 2)),
        "batch": (batch, tuple(sizes.batch * times for times in ((1, 4) if quick else (1, 2, 4)))),
        "workers": (workers, (0, 1, 2)),
        "images": (images, (1, 10)),
        "sweep": (sweep, (2, 6)),
    }


def median(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The repetitions of one measurement as one."""
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def grown(name: str, rows: list[dict[str, Any]]) -> dict[str, float]:
    """What a factor's rows, from its smallest value to its largest, come to."""
    first, last = rows[0], rows[-1]
    said = {"unit_cost_ratio": last["seconds"] / last["units"] * first["units"] / first["seconds"]}
    if name == "images":
        said |= {f"{what}_growth_bytes": last[f"{what}_bytes"] - first[f"{what}_bytes"] for what in ("set", "peak")}
    if name == "sweep":
        said["seconds_per_job"] = (last["seconds"] - first["seconds"]) / (last["value"] - first["value"])
    return said


def main() -> None:
    known = factors(False)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factors", nargs="+", default=list(known), choices=list(known), metavar="NAME")
    parser.add_argument("--repetitions", type=int, help="of which the median counts (default 3, with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="small and noisy: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    repetitions = arguments.repetitions if arguments.repetitions is not None else 1 if arguments.quick else 3
    if repetitions < 1:
        parser.error(f"--repetitions {repetitions}: allowed is 1 or more")
    sizes, results = QUICK if arguments.quick else FULL, {}
    print(f"{'factor':<10}{'value':>7}{'seconds':>10}{'ms a unit':>12}  {'unit':<8}{'peak MB':>8}")
    for name, (run, values) in factors(arguments.quick).items():
        if name not in arguments.factors:
            continue
        found: dict[int, list[dict[str, Any]]] = {value: [] for value in values}
        try:
            for repetition in range(repetitions):
                for value in values if repetition % 2 == 0 else values[::-1]:
                    found[value].append(run(value, sizes))
        except RuntimeError as error:
            sys.exit(f"growth: {name}={value}: {error}")
        rows = [{"value": value} | median(found[value]) for value in values]
        for row in rows:
            each = f"{1000 * row['seconds'] / row['units']:>12,.3f}  {UNITS[name]:<8}{row['peak_bytes'] / 1e6:>8,.0f}"
            print(f"{name:<10}{row['value']:>7}{row['seconds']:>10.2f}{each}", flush=True)
        came = grown(name, rows)
        print(f"{name}: {', '.join(f'{what} {number:,.3f}'.removesuffix('.000') for what, number in came.items())}", flush=True)
        results[name] = {"unit": UNITS[name], "rows": rows, **came, "repetitions": found}
    if arguments.json:
        save(arguments.json, {"benchmark": "growth", "quick": arguments.quick, "model": "resnet8", "factors": results})


if __name__ == "__main__":
    main()
