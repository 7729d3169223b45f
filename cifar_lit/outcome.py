"""What came of a run: its test, the files that say so, and the closing words."""

import logging
import math
import platform
import re
import subprocess
import time
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, Timer
from rich.console import Console
from rich.table import Table
from rich.text import Text  # in a plain string rich takes [...] for its own

from cifar_lit import bundle, card, checkpoint, curves, findings, runs
from cifar_lit.bundle import Facts
from cifar_lit.callbacks.ema import EMA
from cifar_lit.callbacks.target import Target
from cifar_lit.data.module import ImageData
from cifar_lit.task import Task
from cifar_lit.trainer import Trainer

log = logging.getLogger(__name__)

_CODE = ("cifar_lit", "conf", "train.py", "requirements.txt")  # what people write beside it, reports say, is none of it
PACKAGES = ("torch", "torchvision", "lightning", "albumentations", "numpy")
# Overrides that say where something lies: by their names, or since what looks like the beginning of a path is in them.
# Not any slash: `augment=ablation/no_flip` and `monitor=val/loss` say what was trained.
_OF_THIS_MACHINE = re.compile(
    r"^[+~]*([\w/@]+\.)*(resume|root|dir|run_dir|save_dir|path|uri|tracking_uri|url)=|=.*(\$\{|\\|(^|[\s=:,'\"({\[])(~|/|\.{1,2}/|[A-Za-z]:/))"
)


def device_name(device: torch.device) -> str:
    """The device as people name it: the card, or the number of threads of a processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return "cpu, 1 thread" if threads == 1 else f"cpu, {threads} threads"
    return device.type


@cache
def _git() -> str | None:
    """The commit of this code, with `+` where its files differ from it; None outside a checkout.

    Asked once: what is committed while a sweep runs is not what its later jobs run.
    """
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        status = ["git", "status", "--porcelain", "--", *_CODE]
        changes = subprocess.run(status, cwd=here.parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changes.stdout.strip() else "")


def facts(images: ImageData, task: Task, trainer: Trainer) -> dict[str, Any]:
    """What is known of a run before it starts."""
    assert images.dataset is not None
    return {
        "data": images.dataset.name,
        "data_fingerprint": images.dataset.fingerprint or None,
        "validation": images.validation,
        "engine": images.chosen_engine,
        "params": sum(parameter.numel() for parameter in task.net.parameters()),
        "device": device_name(trainer.strategy.root_device),
        "precision": trainer.precision,
        "test_time_flip": task.test_time_flip,
        "git": _git(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }


def seconds(task: Task, started: float, *, resumed: bool) -> dict[str, float | None]:
    """How long the parts of a run took that has just been trained. started: by the clock of `time.perf_counter`.

    None for what went on since before a resume: nobody looked at the clock when the run was stopped.
    """
    ended = time.perf_counter()
    began = task.training_began or ended  # resumed at its end, it has nothing to train
    parts = {
        "prepare": began - started - task.compile_seconds,
        "compile": task.compile_seconds,
        "trained": (task.trained_at or began) - began,  # to the last step, with all that lay between; `train` is the steps alone
        "fit": ended - began,
    }
    went_on = ("trained", "fit") if resumed else ()
    return {f"{name}_seconds": None if name in went_on else round(value, 3) for name, value in parts.items()}


def measure(
    known: dict[str, Any], images: ImageData, task: Task, trainer: Trainer, folder: Path, evaluate: str
) -> dict[str, Any]:
    """Test the chosen weights, once; write everything but the summary, which is returned: what was `known`, and the scores."""
    rows = runs.read_metrics(folder)
    epochs, steps = trainer.current_epoch, trainer.global_step
    which = evaluate if evaluate != "auto" else "best" if images.validation == "holdout" else "last"
    which, epoch = _take_weights(task, trainer, folder, which)
    row = next((row for row in rows if row["epoch"] == epoch), {})
    if images.validation == "holdout":
        trainer.predict(task, images.val_dataloader(), return_predictions=False)  # fits the temperature
    scores = trainer.test(task, datamodule=images, verbose=False)[0]
    took = sum(row.get("seconds", 0.0) for row in rows)
    images_seen = sum(row.get("seconds", 0.0) * row.get("images_per_second", 0.0) for row in rows)
    best = max(rows, key=lambda row: row.get("val/acc", 0.0), default={})
    summary: dict[str, Any] = known | {
        "epochs": epochs,
        "steps": steps,
        "planned_steps": task.total_steps,
        "stopped_by": _stopped_by(task, trainer),
        "train_seconds": round(took, 3),
        "images_per_second": round(images_seen / took, 1) if took else None,
        "evaluated": which,
        "evaluated_epoch": epoch,
        "train/acc": row.get("train/acc"),
        "val/acc": row.get("val/acc"),
        "val/acc_best": best.get("val/acc"),
        "temperature": task.temperature,
        "validations": sum("val/acc" in row for row in rows),
        "val/best_epoch": int(best.get("epoch", epoch)),
        **{name: float(score) for name, score in scores.items()},
    }
    assert task.confusion is not None
    summary["test/images"] = int(task.confusion.sum())  # fewer than there are, where trainer.limit_test_batches says so
    if task.images_held_out is not None:
        summary["val/images"] = task.images_held_out  # likewise
    if row.get("train/acc") is not None:
        summary["gap"] = summary["train/acc"] - summary["test/acc"]
    if trainer.is_global_zero:
        assert images.dataset is not None
        logits, labels = task.evaluation.compute()
        # Each process tested every so-manieth image, and they were put one after the other.
        order = np.concatenate([np.arange(rank, len(labels), trainer.world_size) for rank in range(trainer.world_size)])
        temperature = None if task.test_time_flip else task.temperature  # which is of one view
        findings.write(folder, images.dataset, task.confusion, logits, labels, order, temperature)
        curves.draw(rows, folder / "curves.png")
        bundle.save(folder / "model", task.net.state_dict(), *_shipped(task, summary, folder))
    return summary


def _stopped_by(task: Task, trainer: Trainer) -> str | None:
    """The option that ended training before all steps were taken; None where none did."""
    if trainer.global_step >= task.total_steps:
        return None
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EarlyStopping) and callback.wait_count >= max(1, callback.patience):
            return "callbacks.early_stopping"
        if isinstance(callback, Timer) and callback.time_remaining() == 0:
            return "trainer.max_time"
        if isinstance(callback, Target) and callback.value is not None:
            return "callbacks.target"
    return "a callback"


def _shipped(task: Task, summary: dict[str, Any], folder: Path) -> tuple[Facts, str]:
    """The facts and the card of a run's bundle, which is given away: they do not say where files lie on this machine."""
    told = [typed for typed in summary["overrides"] if not _OF_THIS_MACHINE.search(typed)]
    left_out = len(told) < len(summary["overrides"])
    summary = summary | {"overrides": told}
    about = (
        "experiment", "overrides", "seed", "validation", "evaluated", "evaluated_epoch", "test_time_flip", "precision", "git",
        "versions",
    )  # fmt: skip
    facts = Facts.of(
        task.facts
        | {
            "temperature": task.temperature,
            "metrics": {name: value for name, value in summary.items() if "/" in name and _is_measured(value)},
            "origin": {name: summary[name] for name in about} | {"run": "/".join(folder.absolute().parts[-2:])},
        }
    )
    return facts, card.write(facts, summary, left_out=left_out)


def _is_measured(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)  # a run that diverged has results that are none


def _take_weights(task: Task, trainer: Trainer, folder: Path, which: str) -> tuple[str, int]:
    """Put the weights to test into the network; returns which they are, best or last, and of which epoch."""
    best = folder / "checkpoints" / "best.ckpt"
    if which == "best" and best.exists():
        try:
            contents = checkpoint.read(best)
            task.net.load_state_dict(checkpoint.network_weights(contents))
            return "best", int(contents["epoch"])
        except checkpoint.CheckpointError as error:
            log.warning("%s; testing the last weights instead", error)
    if which == "best" and not best.exists():
        log.warning("No epoch was validated: there is no best one, and the last weights are tested")
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EMA):
            task.net.load_state_dict(callback.average)
    if trainer.world_size > 1:  # batch-norm statistics are each process's own: test those that are shipped
        task.net.load_state_dict(trainer.strategy.broadcast(task.net.state_dict()))
    return "last", max(0, trainer.current_epoch - 1)


def say(summary: dict[str, Any], folder: Path) -> None:
    """The closing table, a note where the run over-fitted, and every file that was written."""
    table = Table(title=Text(f"{summary['experiment']}, seed {summary['seed']}"), title_justify="left")
    for column in ("train", "val", "test", "test top-5", "superclass", "gap", "train time", "images/s"):
        table.add_column(column, justify="right")
    speed = summary.get("images_per_second")
    table.add_row(
        *(_percent(summary.get(key)) for key in ("train/acc", "val/acc", "test/acc", "test/acc5", "test/acc_superclass")),
        f"{100 * summary['gap']:+.2f}" if summary.get("gap") is not None else "-",
        f"{summary['train_seconds']:,.1f} s",
        f"{speed:,.0f}" if speed else "-",
    )
    console = Console(width=110, force_terminal=False)  # plain: the same text goes to train.log
    with console.capture() as capture:
        console.print(table)
    log.info("%s", capture.get().rstrip())
    if summary.get("stopped_by"):
        taken, planned = summary["steps"], summary["planned_steps"]
        log.info("Stopped after %s of %s steps, by %s: its schedule has not come to its end", f"{taken:,}", f"{planned:,}",
                 summary["stopped_by"])  # fmt: skip
    log.info("%s", _weights_words(summary))
    if (summary.get("gap") or 0.0) > runs.GAP:
        log.info(
            "Over-fitting: training accuracy is %.1f points above test accuracy. Try %s, or fewer epochs.",
            100 * summary["gap"],
            runs.REMEDIES,
        )
    log.info("Files in %s: %s", folder, ", ".join(_files(folder)))


def _files(folder: Path) -> list[str]:
    """What a run wrote, by name; a tracker's own folder is named once."""
    names = []
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        inside = sorted(child.name for child in path.iterdir()) if path.is_dir() else []
        ours = path.name in ("checkpoints", "model")
        names += [f"{path.name}/{child}" for child in inside] if ours else [path.name + ("/" if path.is_dir() else "")]
    return names


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}%"


def _weights_words(summary: dict[str, Any]) -> str:
    epoch, images = summary["evaluated_epoch"] + 1, f"{summary['data']} test images"
    if summary.get("test_time_flip"):
        images += ", each averaged with its mirror image,"
    if summary.get("validations") == 0:
        return f"Test: the weights of epoch {epoch}, the last; no epoch was validated, and the {images} were looked at once, now."
    if summary["validation"] == "holdout":
        chosen = "with the best validation accuracy" if summary["evaluated"] == "best" else "that came last"
        return f"Test: the weights of epoch {epoch}, {chosen}; the {images} were looked at once, now."
    if summary.get("validations") == 1 and summary["val/best_epoch"] == summary["evaluated_epoch"]:
        return f"Test: the weights of epoch {epoch}, the last; the {images} were looked at after it, and not before."
    best = f"; best {_percent(summary['val/acc_best'])} in epoch {summary['val/best_epoch'] + 1}"
    return f"Test: the weights of epoch {epoch}. Validation watched the {images}{best}, a choice made by looking."
