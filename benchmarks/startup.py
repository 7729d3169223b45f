"""How long one waits before anything happens.

    python -m benchmarks.startup [--runs 7] [--json FILE]

Seconds of whole processes, in turn: `--help`, `--cfg job`, importing torch alone, importing everything a run needs, and
a run of one step.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.results import save

TRAIN = str(Path(__file__).resolve().parent.parent / "train.py")
ONE_STEP = ["data=synthetic", "model=resnet8", "trainer=debug", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
COMMANDS = {
    "--help": [TRAIN, "--help"],
    "--cfg job": [TRAIN, "--cfg", "job"],
    "import torch": ["-c", "import torch"],
    "import all": ["-c", "import cifar_lit.experiment"],
    "one step": [TRAIN, *ONE_STEP],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    repository = str(Path(TRAIN).parent)
    with tempfile.TemporaryDirectory() as folder:
        for run in range(arguments.runs + 1):
            for name, command in COMMANDS.items():
                start = time.perf_counter()
                environment = {"PYTHONPATH": repository, "PATH": "/usr/bin:/bin", "HOME": folder}
                subprocess.run([sys.executable, *command], cwd=folder, check=True, capture_output=True, env=environment)
                if run:  # the first warms the disk cache
                    seconds[name].append(time.perf_counter() - start)
    for name, taken in seconds.items():
        print(f"{name:14} median {statistics.median(taken):6.2f} s   min {min(taken):6.2f}   max {max(taken):6.2f}")
    if arguments.json:
        save(arguments.json, {"benchmark": "startup", "seconds": seconds})


if __name__ == "__main__":
    main()
