"""What Lightning, and all that this project adds to it, costs: our loop against a bare PyTorch loop doing the same work.

    python -m benchmarks.lightning_tax [--pairs 7] [--steps 120] [--model resnet8] [--batch 128] [--json FILE]

Both train the same network from the same weights on the same batches (device engine, crop and flip, SGD, one cycle), in
one process, in turn. Prints the ratio of the seconds pair by pair, ours over bare, and the median.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch.nn import functional as F

from benchmarks.results import save
from cifar_lit import cli  # noqa: F401  registers the resolvers of conf/train.yaml
from cifar_lit.experiment import Experiment

CONF = Path(__file__).resolve().parent.parent / "conf"


def experiment(folder: Path, arguments: argparse.Namespace) -> Experiment:
    """A run of one epoch of `steps` steps on drawn images, without validation, checkpoints or a terminal."""
    images = arguments.steps * arguments.batch
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "train",
            overrides=[
                "data=synthetic",
                f"data.train_per_class={images // 100 + 1}",
                "data.test_per_class=1",
                "data.validation=test",
                f"data.batch_size={arguments.batch}",
                f"model={arguments.model}",
                "trainer.max_epochs=1",
                f"trainer.limit_train_batches={arguments.steps}",
                "trainer.limit_val_batches=0",
                "callbacks.checkpoints=null",
                "+trainer.enable_checkpointing=false",
                "name=tax",
                f"run_dir={folder}",
                "overrides=[]",
            ],
        )
    made: Experiment = instantiate(cfg)
    made.images.setup()
    return made


def ours(folder: Path, arguments: argparse.Namespace) -> float:
    """Seconds of the epoch in our loop, from the first batch fetched to the metrics read."""
    run = experiment(folder, arguments)
    task = run._task(None)
    run.lightning.fit(task, datamodule=run.images)
    return float(run.lightning.callback_metrics["seconds"])


def bare(folder: Path, arguments: argparse.Namespace) -> float:
    """Seconds of the same steps in a loop of a dozen lines, adding up loss and hits as ours does."""
    run = experiment(folder, arguments)
    net = run._task(None).net.train()
    optimizer = run.optimizer(net)
    schedule = run.scheduler(optimizer, total_steps=arguments.steps, steps_per_epoch=arguments.steps)
    loader = run.images.train_dataloader()
    sums: Any = torch.zeros(3)
    start = time.perf_counter()
    for images, labels in itertools.islice(loader, arguments.steps):
        logits = net(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        hits = logits.detach().topk(5, dim=1).indices == labels[:, None]
        sums += torch.stack([loss.detach() * len(labels), hits[:, 0].sum(), hits.sum()])
    sums.tolist()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--model", default="resnet8")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    ratios, seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        for loop in (ours, bare):  # warm up
            loop(Path(folder), arguments)
        for pair in range(arguments.pairs):
            # In turn, and each first as often as the other: the machine's speed drifts.
            order = (ours, bare) if pair % 2 else (bare, ours)
            taken = {loop.__name__: loop(Path(folder), arguments) for loop in order}
            ratios.append(taken["ours"] / taken["bare"])
            seconds.append(taken)
            print(f"pair {pair + 1}: ours {taken['ours']:.3f} s, bare {taken['bare']:.3f} s, ratio {ratios[-1]:.4f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.4f} ({arguments.model}, batch {arguments.batch}, {arguments.steps} steps)")
    if arguments.json:
        setting = {"model": arguments.model, "batch": arguments.batch, "steps": arguments.steps}
        setting["threads"] = torch.get_num_threads()
        save(arguments.json, {"benchmark": "lightning_tax", **setting, "pairs": seconds, "ratio": statistics.median(ratios)})


if __name__ == "__main__":
    main()
