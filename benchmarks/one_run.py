"""Trains a few steps in a process of their own, so that peaks are their own: seconds, memory, arithmetic.

    python -m benchmarks.one_run FOLDER WARMUP STEPS override ...      writes FOLDER/measured.json

Through our Experiment, on drawn images. The clock runs from the end of step WARMUP to the end of step WARMUP + STEPS,
which may be epochs later: what lies between two epochs (validation, checkpoints, a new order) is then in it.
"""

import json
import multiprocessing
import re
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from benchmarks.arithmetic import matmul_rate, step_flops
from cifar_lit.cli import errors  # the package also registers the resolvers of conf/train.yaml
from cifar_lit.experiment import Experiment
from cifar_lit.outcome import device_name

REPOSITORY = Path(__file__).resolve().parent.parent
CONF = REPOSITORY / "conf"


def measure(*overrides: str, batch: int, warmup: int, steps: int) -> dict[str, Any]:
    """What a child process measured of one epoch of warmup + steps steps, if the overrides do not say otherwise.

    Raises RuntimeError with the child's last words where it fails.
    """
    images = (warmup + steps) * batch
    setting = ["data=synthetic", f"data.batch_size={batch}", f"data.train_per_class={ceil(images / 100)}", "data.drop_last=true"]
    setting += ["data.test_per_class=1", "data.validation=test", "trainer.max_epochs=1"]
    setting += [f"trainer.limit_train_batches={warmup + steps}", "callbacks.progress_bar=null"]
    with tempfile.TemporaryDirectory() as folder:
        setting += ["name=benchmark", f"run_dir={folder}", "overrides=[]"]
        command = [sys.executable, "-m", "benchmarks.one_run", folder, str(warmup), str(steps), *setting, *overrides]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(last_line(done.stderr) or f"ended by {done.returncode}")  # killed: by minus the signal
        measured: dict[str, Any] = json.loads(Path(folder, "measured.json").read_text())
    return measured | {"images": steps * batch}


def last_line(text: str) -> str:
    """The last line that says anything."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


class Clock(L.Callback):
    """Reads the clock when a step is done, the device's work included; and at the end what the workers hold."""

    def __init__(self, warmup: int, steps: int) -> None:
        self.first, self.last = warmup, warmup + steps
        self.taken = 0
        self.read: list[float] = []
        self.workers_bytes = 0

    def on_train_batch_end(self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.taken += 1
        if self.taken in (self.first, self.last):
            if task.device.type == "cuda":
                torch.cuda.synchronize(task.device)
            self.read.append(time.perf_counter())
        if self.taken == self.last:
            self.workers_bytes = sum(private_bytes(worker.pid) for worker in multiprocessing.active_children())


def private_bytes(process: int | None) -> int:
    """What a process holds and shares with no other: a worker is forked, and shares most with its parent. 0 off Linux."""
    with suppress(OSError):
        return 1024 * sum(map(int, re.findall(r"Private_\w+:\s+(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text())))
    return 0


def peak_bytes() -> int:
    """Largest resident set of this process. Not getrusage's on Linux: that begins at the peak of the parent."""
    with suppress(OSError):
        return 1024 * int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def train(folder: Path, warmup: int, steps: int, overrides: list[str]) -> dict[str, Any]:
    """Fit, and say what it took."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        run: Experiment = instantiate(compose("train", overrides=overrides))
    trainer, clock = run.lightning, Clock(warmup, steps)
    trainer.callbacks.append(clock)  # type: ignore[attr-defined]
    device = trainer.strategy.root_device
    task = run.prepare()
    with suppress(OSError):  # the peak begins anew: drawing the images, which a machine does once, takes more
        Path("/proc/self/clear_refs").write_text("5")
    trainer.fit(task, datamodule=run.images)
    if len(clock.read) < 2:
        raise ValueError(f"the run ended after {clock.taken} steps, before step {clock.last}")
    measured = {
        "seconds": clock.read[1] - clock.read[0],
        "compile_seconds": task.compile_seconds,
        "host_bytes": peak_bytes(),
        "workers_bytes": clock.workers_bytes,
        "device_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        "set_bytes": run.images.train.images.nbytes,
        "engine": run.images.chosen_engine,
        "graph": device.type == "cuda" and bool(getattr(task, "graph", False)),  # fit may have refused it
        "device": device_name(device),
        "precision": trainer.precision,
    }
    with torch.device("meta"):
        shape = run.model(num_classes=task.num_classes)
    return measured | {"step_flops": step_flops(shape), "matmul_rate": matmul_rate(device, trainer.precision)}


def main() -> None:
    folder, warmup, steps, *overrides = sys.argv[1:]
    try:
        measured = train(Path(folder), int(warmup), int(steps), overrides)
    except Exception as error:
        sys.exit(errors.one_line(error))
    Path(folder, "measured.json").write_text(json.dumps(measured))


if __name__ == "__main__":
    main()
