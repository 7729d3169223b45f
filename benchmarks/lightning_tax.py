"""What Lightning, and all that this project adds to it, costs: our loop against a bare PyTorch loop doing the same work.

    python -m benchmarks.lightning_tax [--pairs 40] [--steps 5] [--model resnet8] [--batch 128] [--trainer auto|fast]
                                       [--json FILE]

Both train the same network from the same weights on the same batches (device engine, crop and flip, SGD, one cycle), in
one process; with trainer=fast both take the same compiled step, on CUDA as one graph. They go in turn, a few steps each, so
that a machine's drifts meet both. Prints the median ratio of the seconds, ours over bare, and its quartiles. Stops where the
two do not come to the same training loss.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from benchmarks.bare_loop import BareLoop
from benchmarks.results import save
from cifar_lit import cli  # noqa: F401  registers the resolvers of conf/train.yaml
from cifar_lit.experiment import Experiment

CONF = Path(__file__).resolve().parent.parent / "conf"
_ALIKE = {"cpu": 1e-5, "cuda": 0.02}  # relative, of the losses: on CUDA each chooses its algorithms, which round otherwise
_WARM_UP = 2  # pairs that do not count


class InTurn(L.Callback):
    """After every few steps of the run that it is a callback of, as many of the bare loop; and the clock of both."""

    def __init__(self, bare: BareLoop, steps: int) -> None:
        self.bare, self.steps = bare, steps
        self.taken = 0
        self.pairs: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.began = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.taken += 1
        if self.taken % self.steps:
            return
        ours = self._lap()
        self.bare.take(self.steps)
        self.pairs.append({"ours": ours, "bare": self._lap()})

    def _lap(self) -> float:
        if self.bare.device.type == "cuda":
            torch.cuda.synchronize(self.bare.device)
        began, self.began = self.began, time.perf_counter()
        return self.began - began


def experiment(folder: Path, arguments: argparse.Namespace) -> Experiment:
    """A run of one epoch of all the steps on drawn images, without validation, checkpoints or a terminal."""
    steps = (arguments.pairs + _WARM_UP) * arguments.steps
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "train",
            overrides=[
                "data=synthetic",
                f"data.train_per_class={steps * arguments.batch // 100 + 1}",
                "data.test_per_class=1",
                "data.validation=test",
                f"data.batch_size={arguments.batch}",
                f"model={arguments.model}",
                f"trainer={arguments.trainer}",
                "trainer.max_epochs=1",
                f"trainer.limit_train_batches={steps}",
                "trainer.limit_val_batches=0",
                "callbacks.checkpoints=null",
                "+trainer.enable_checkpointing=false",
                "name=tax",
                f"run_dir={folder}",
                "overrides=[]",
            ],
        )
    made: Experiment = instantiate(cfg)
    return made


def in_turn(arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Seconds of each pair. Raises ValueError where the loops did not learn alike."""
    with tempfile.TemporaryDirectory() as folder:
        other, run = (experiment(Path(folder), arguments) for _ in range(2))
        clock = InTurn(BareLoop(other), arguments.steps)
        run.lightning.callbacks.append(clock)  # type: ignore[attr-defined]
        run.lightning.fit(run.prepare(), datamodule=run.images)
        ours, bare = float(run.lightning.callback_metrics["train/loss"]), clock.bare.loss()
    if not math.isclose(ours, bare, rel_tol=_ALIKE[clock.bare.device.type]):
        raise ValueError(f"not the same work: training loss {ours:.6g} in our loop, {bare:.6g} in the bare one")
    return clock.pairs[_WARM_UP:]


def ratios(pairs: list[dict[str, float]]) -> Iterator[float]:
    """Ours over bare."""
    return (pair["ours"] / pair["bare"] for pair in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--steps", type=int, default=5, help="of each loop, a pair")
    parser.add_argument("--model", default="resnet8")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--trainer", default="auto", choices=["auto", "fast"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    for name, least in (("pairs", 2), ("steps", 1), ("batch", 2)):
        if getattr(arguments, name) < least:
            parser.error(f"--{name} {getattr(arguments, name)}: allowed is {least} or more")
    try:
        pairs = in_turn(arguments)
    except ValueError as error:
        sys.exit(str(error))
    low, middle, high = statistics.quantiles(ratios(pairs), n=4)
    setting = {name: getattr(arguments, name) for name in ("model", "batch", "steps", "trainer")}
    setting["threads"] = torch.get_num_threads()
    print(f"ratio {middle:.4f}, quartiles {low:.4f} and {high:.4f}, of {len(pairs)} pairs ({setting})")
    if arguments.json:
        save(arguments.json, {"benchmark": "lightning_tax", **setting, "pairs": pairs, "ratio": middle, "quartiles": [low, high]})


if __name__ == "__main__":
    main()
