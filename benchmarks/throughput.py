"""Images a second of training, and how near that is to what the device's arithmetic allows.

    python -m benchmarks.throughput [--models resnet18 resnet34] [--engines device workers] [--trainers auto fast]
                                    [--batch 256] [--steps 30] [--warmup 5] [--json FILE]

Each model x engine x trainer trains drawn 32x32 images through our Experiment, in a process of its own: crop and flip,
SGD, one cycle, no validation and no checkpoints. The clock starts after the warm-up steps; with engine=workers these are two
more for each worker, since so many batches lie ready by then. Compiling is before it, and so are the epoch's random numbers.

peak: on CUDA the largest memory that tensors took (max_memory_allocated); elsewhere the largest resident set of the process,
with libraries, and what its workers hold alone at the end.
of floor: the time that the arithmetic alone would take, as a share of the time taken. The operations are those of convolutions
and matrix products, forward and backward, a multiply-add being two; nothing else is counted. Their rate is that of large
square matrix products on this device in the precision of the run, measured after it, the fastest side of a few: what the
library reaches, and no ceiling where its convolutions do better.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

from benchmarks.one_run import CONF, measure
from benchmarks.results import save
from cifar_lit.cores import cores


def row(model: str, engine: str, trainer: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One line of the table; `error` instead of numbers where it fails."""
    about = {"model": model, "engine": engine, "trainer": trainer}
    ahead = 2 * cores() if engine == "workers" else 0
    overrides = [f"model={model}", f"trainer={trainer}", f"data.engine={engine}"]
    overrides += ["trainer.limit_val_batches=0", "callbacks.checkpoints=null", "+trainer.enable_checkpointing=false"]
    try:
        found = measure(*overrides, batch=arguments.batch, warmup=arguments.warmup + ahead, steps=arguments.steps)
    except RuntimeError as error:
        return about | {"error": str(error)}
    speed = found["images"] / found["seconds"]
    return about | {
        "images_per_second": speed,
        "step_milliseconds": 1000 * found["seconds"] / arguments.steps,
        "peak_bytes": peak(found),
        "floor_fraction": speed * found["step_flops"] / found["matmul_rate"],
        "measured": found,
    }


def peak(found: dict[str, Any]) -> int:
    """Bytes of the device or, on a CPU, of the process and its workers."""
    own: int | None = found["device_bytes"]
    return own if own is not None else found["host_bytes"] + found["workers_bytes"]


def main() -> None:
    models, trainers = (sorted(path.stem for path in (CONF / group).glob("*.yaml")) for group in ("model", "trainer"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet18", "resnet34"], choices=models, metavar="NAME")
    parser.add_argument("--engines", nargs="+", default=["device", "workers"], choices=["device", "workers"], metavar="NAME")
    parser.add_argument("--trainers", nargs="+", default=["auto", "fast"], choices=trainers, metavar="NAME")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    for name in ("batch", "steps", "warmup"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} {getattr(arguments, name)}: allowed is 1 or more")

    rows = []
    header = f"{'model':<18}{'engine':<9}{'trainer':<9}{'precision':<11}"
    print(f"{header}{'images/s':>10}{'ms/step':>10}{'peak MB':>10}{'of floor':>10}")
    for model, engine, trainer in itertools.product(arguments.models, arguments.engines, arguments.trainers):
        rows.append(new := row(model, engine, trainer, arguments))
        line = f"{model:<18}{engine:<9}{trainer:<9}"
        if "error" in new:
            print(line + new["error"], flush=True)
            continue
        line += f"{new['measured']['precision']:<11}{new['images_per_second']:>10,.0f}{new['step_milliseconds']:>10,.1f}"
        print(f"{line}{new['peak_bytes'] / 1e6:>10,.0f}{new['floor_fraction']:>9.1%}", flush=True)
    if arguments.json:
        setting = {name: getattr(arguments, name) for name in ("batch", "steps", "warmup")}
        save(arguments.json, {"benchmark": "throughput", **setting, "rows": rows})


if __name__ == "__main__":
    main()
