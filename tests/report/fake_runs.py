"""Run directories that nobody trained: as `train.py` writes them, with numbers from a generator, for reports at any scale."""

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from cifar_lit import runs

PARENTS = ("fish", "flowers", "trees", "people", "insects")
SETTINGS = {"model": "resnet20", "optimizer": "sgd", "optimizer.lr": 0.1, "augment": "crop_flip", "test_time_flip": False}
# As many settings as a real run has; those that nobody varies cost time too.
SETTINGS |= {f"trainer.option_{index}": index for index in range(50)}


def make_run(
    folder: Path, *, seed: int | None = 0, settings: dict[str, Any] | None = None, accuracy: float = 0.6, epochs: int = 8,
    classes: int = 10, watched: bool = False, status: str = "finished", over: float = 0.0, test_images: int | None = None,
    extras: bool = True, **summary: Any,
) -> Path:  # fmt: skip
    """One run: its test accuracy near `accuracy`; over: how much better it knows its training images."""
    folder.mkdir(parents=True)
    config = SETTINGS | (settings or {})
    chance = np.random.default_rng([seed or 0, int(accuracy * 1e6), len(str(config))])
    each = (test_images or 100 * classes) // classes
    table = _confusion(chance, classes, each, accuracy)
    test = float(np.trace(table) / table.sum())
    rows = _metrics(chance, epochs, test, over, float(config.get("optimizer.lr") or 0.1))
    write_metrics(folder, rows)
    seconds = round(30.0 * epochs * (1 + len(str(config["model"])) % 5) * float(chance.uniform(0.9, 1.1)), 3)
    result = {
        "data": "cifar100", "validation": "test" if watched else "holdout",
        "params": 270_000 * (1 + len(str(config["model"])) % 4),
        "device": "cpu, 1 thread", "experiment": "fake", "overrides": [f"seed={seed}"], "seed": seed, "config": config,
        "epochs": epochs, "train_seconds": seconds, "evaluated": "last" if watched else "best", "evaluated_epoch": epochs - 1,
        "train/acc": rows[-1]["train/acc"], "val/acc": test if watched else rows[-1]["val/acc"], "test/acc": test,
        "test/acc5": min(1.0, test + 0.25), "test/images": int(table.sum()), "gap": rows[-1]["train/acc"] - test,
        "status": status,
    }  # fmt: skip
    runs.write_summary(folder, result | summary)
    write_tests(folder, table)
    if extras:
        write_extras(folder, chance, table)
    return folder


def _metrics(chance: np.random.Generator, epochs: int, test: float, over: float, lr: float) -> list[dict[str, float]]:
    rows = []
    for epoch in range(epochs):
        done = (epoch + 1) / epochs
        share = 1 - np.exp(-4 * done)
        train = min(0.999, (test + over) * share + float(chance.normal(0, 0.002)))
        seen = min(0.999, max(0.0, test * share + float(chance.normal(0, 0.004))))
        rows.append({
            "epoch": epoch, "step": 10 * (epoch + 1), "train/loss": 4.6 * (1 - 0.8 * share), "train/acc": max(0.0, train),
            "val/loss": 4.6 - 3 * share + 2 * over * max(0.0, done - 0.5), "val/acc": seen, "val/acc5": min(1.0, seen + 0.25),
            "lr": lr * (1 - done) ** 2 + 1e-6, "seconds": 30.0, "images_per_second": 1500.0,
        })  # fmt: skip
    return rows


def write_metrics(folder: Path, rows: list[dict[str, Any]]) -> None:
    with open(folder / "metrics.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(rows[0])
        table.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row.values()] for row in rows)


def names(classes: int) -> list[str]:
    return [f"{PARENTS[index % len(PARENTS)]}_{index:02d}" for index in range(classes)]


def _confusion(chance: np.random.Generator, classes: int, each: int, accuracy: float) -> np.ndarray:
    level = np.clip(accuracy + np.linspace(-0.2, 0.2, classes) + chance.normal(0, 0.01), 0.0, 1.0)
    table = np.zeros((classes, classes), int)
    for own in range(classes):
        near = np.array([4.0 if other % len(PARENTS) == own % len(PARENTS) else 0.4 for other in range(classes)])
        near[own] = 0
        right = chance.binomial(each, level[own])
        table[own] = chance.multinomial(each - right, near / near.sum())
        table[own, own] = right
    return table


def write_tests(folder: Path, table: np.ndarray) -> None:
    """confusion.csv and per_class.csv."""
    own = names(len(table))
    with open(folder / "confusion.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["true / predicted", *own])
        rows.writerows([name, *line] for name, line in zip(own, table.tolist(), strict=True))
    with open(folder / "per_class.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["class", "superclass", "images", "acc"])
        for index, name in enumerate(own):
            seen = int(table[index].sum())
            rows.writerow([name, PARENTS[index % len(PARENTS)], seen, f"{table[index, index] / max(seen, 1):.4f}"])


def write_extras(folder: Path, chance: np.random.Generator, table: np.ndarray) -> None:
    """calibration.csv and mistakes.npz."""
    total = int(table.sum())
    counts = chance.multinomial(total, np.arange(1, 16) / 120)
    with open(folder / "calibration.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["bin_low", "bin_high", "images", "confidence", "accuracy",
                       "calibrated_images", "calibrated_confidence", "calibrated_accuracy"])  # fmt: skip
        for index, n in enumerate(counts):
            middle = (index + 0.5) / 15
            known = [f"{middle:.4f}", f"{max(0.0, middle - 0.12):.4f}"] if n else ["", ""]
            after = [f"{middle:.4f}", f"{max(0.0, middle - 0.02):.4f}"] if n else ["", ""]
            rows.writerow([f"{index / 15:.4f}", f"{(index + 1) / 15:.4f}", n, *known, n, *after])
    off = table - np.diag(np.diag(table))
    pairs = sorted(np.argwhere(off).tolist(), key=lambda pair: -off[pair[0], pair[1]])[:8]
    chosen = [pair for pair in pairs for _ in range(min(3, off[pair[0], pair[1]]))]
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    across, down = np.tile(ramp, (32, 1)), np.tile(ramp[:, None], 32)
    images = [np.stack([np.roll(across, 5 * a + b, 1), down, np.full_like(down, 20 * b % 255)], -1) for a, b in chosen]
    np.savez(
        folder / "mistakes.npz", images=np.array(images, np.uint8).reshape(-1, 32, 32, 3),
        true=np.array([a for a, _ in chosen], int), predicted=np.array([b for _, b in chosen], int),
        probability=chance.uniform(0.3, 1.0, len(chosen)).astype(np.float32), classes=np.array(names(len(table))),
    )  # fmt: skip


def sweep(root: Path, seeds: int = 3, epochs: int = 8, classes: int = 10, **kwargs: Any) -> Path:
    """A grid of three optimizers, three learning rates and two policies, some seeds each; the best is 72%."""
    good = {"sgd": 0.60, "adam": 0.55, "adamw": 0.57}
    grid = itertools.product(good, (0.1, 0.03, 0.01), ("crop_flip", "enhanced"), range(1, seeds + 1))
    for number, (optimizer, lr, augment, seed) in enumerate(grid):
        fits = 0.08 if lr == 0.03 else 0.0
        accuracy = good[optimizer] + fits + (0.04 if augment == "enhanced" else 0.0)
        settings = {"optimizer": optimizer, "optimizer.lr": lr, "augment": augment}
        over = 0.16 if augment == "crop_flip" else 0.03
        more = {"epochs": epochs, "classes": classes, "over": over, **kwargs}
        make_run(root / f"{number:03d}", seed=seed, settings=settings, accuracy=accuracy, **more)
    return root
