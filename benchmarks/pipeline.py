"""Images a second of each augmentation policy: whole batches as tensors, beside albumentations image by image.

    python -m benchmarks.pipeline --policies enhanced crop_flip --cores 2

Each repetition runs one engine and then the other over the same images, from stored uint8 to normalised float32, in
random order, every random number included; the table shows the medians. On one core neither uses other processes; on
several, albumentations has as many worker processes, as in training, and the other engine as many threads.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import cv2
import hydra
import numpy as np
import torch

from benchmarks.results import save
from cifar_lit.augment.policy import Policy
from cifar_lit.data.course import Course
from cifar_lit.data.dataset import Split
from cifar_lit.data.loaders import Normalize, Place, WorkerLoader
from cifar_lit.memory import keep_freed_memory

CONF = Path(__file__).resolve().parent.parent / "conf"
SIZE = (32, 32)
NORMALIZE = Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), torch.device("cpu"))  # whatever the numbers, the same work


def policy(name: str) -> Policy:
    """The policy conf/augment/<name>.yaml."""
    cfg = hydra.compose(overrides=[f"+augment={name}"])
    return hydra.utils.instantiate(cfg.augment, _convert_="all")


def run_batched(policy: Policy, images: torch.Tensor, batch: int, seed: int) -> None:
    """One epoch over images (N, 3, H, W) uint8."""
    mirrored = torch.rand(len(images)) < 0.5  # whose turn it is, where flips alternate
    draws = policy.draw(len(images), SIZE, torch.Generator().manual_seed(seed), mirrored)
    noise = torch.Generator().manual_seed(seed + 1)
    for indices in torch.randperm(len(images)).split(batch):
        NORMALIZE(policy.apply(images.index_select(0, indices), policy.rows(draws, indices), noise))


def run_per_image(augment: Callable, images: np.ndarray, batch: int, seed: int) -> None:
    """One epoch over images (N, H, W, 3) uint8."""
    for indices in torch.randperm(len(images)).split(batch):
        done = [augment(np.array(images[i]), seed + i) for i in indices.tolist()]
        NORMALIZE(torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2))


def run_workers(loader: WorkerLoader, batch: int, seed: int) -> None:
    """One epoch of the images that the loader was made with."""
    loader.set_epoch(seed)
    for _ in loader:
        pass


def seconds(run: Callable, *args: object) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    run(*args)
    return time.perf_counter() - start


def measure(policy: Policy, count: int, batch: int, repetitions: int, cores: int = 1) -> dict[str, float]:
    """Median images a second of both engines, and their ratio; only per_image where there is no batched form."""
    stored = np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)
    tensor = torch.from_numpy(stored).permute(0, 3, 1, 2).contiguous()
    engines: dict[str, tuple] = {"per_image": (run_per_image, policy.per_image(SIZE), stored)}
    loader = None
    if cores > 1:
        split, place = Split(stored, np.zeros(count, dtype=np.int64)), Place(torch.device("cpu"))
        loader = WorkerLoader(split, policy, NORMALIZE, cores, course=Course(batch_size=batch), seed=0, place=place)
        engines["per_image"] = (run_workers, loader)
    if policy.batched:
        engines["batched"] = (run_batched, policy, tensor)
    speeds: dict[str, list[float]] = {name: [] for name in engines}
    for repetition in range(-1, repetitions):
        for name, (run, *what) in engines.items():
            speed = count / seconds(run, *what, batch, repetition * count)
            if repetition >= 0:  # the one before warms up
                speeds[name].append(speed)
    if loader is not None:
        loader.close()
    row = {name: statistics.median(values) for name, values in speeds.items()}
    if policy.batched:
        row["ratio"] = statistics.median(b / p for b, p in zip(speeds["batched"], speeds["per_image"], strict=True))
    return row


def main() -> None:
    """Print the table; write the JSON file if one is asked for."""
    names = sorted(path.stem for path in (CONF / "augment").glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", nargs="+", default=names, choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--cores", type=int, default=1, help="threads of the one engine, workers of the other (default 1)")
    parser.add_argument("--batch", type=int, default=128, help="images a batch (default 128)")
    parser.add_argument("--images", type=int, default=5000, help="images a repetition (default 5000)")
    parser.add_argument("--repetitions", type=int, default=5, help="of which the median counts (default 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers, with hardware and versions")
    args = parser.parse_args()
    for name in ("cores", "batch", "images", "repetitions"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} {getattr(args, name)}: allowed is 1 or more")
    keep_freed_memory()  # as in training
    torch.set_num_threads(args.cores)
    cv2.setNumThreads(1)

    rows = {}
    print(f"images/s, cores={args.cores}, batch={args.batch}")
    print(f"{'policy':<28}{'per_image':>12}{'batched':>12}{'ratio':>8}")
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        for name in args.policies:
            rows[name] = row = measure(policy(name), args.images, args.batch, args.repetitions, args.cores)
            batched = f"{row['batched']:>12,.0f}{row['ratio']:>8.1f}" if "batched" in row else f"{'-':>12}{'-':>8}"
            print(f"{name:<28}{row['per_image']:>12,.0f}{batched}", flush=True)
    if args.json:
        settings = {k: getattr(args, k) for k in ("cores", "batch", "images", "repetitions")}
        save(args.json, {"benchmark": "pipeline", **settings, "images_per_second": rows})


if __name__ == "__main__":
    main()
