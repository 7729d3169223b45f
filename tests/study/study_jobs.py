"""Studies made of files alone: run directories with accuracies that are known beforehand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cifar_lit.study.found import FACTORS

HEAD = "epoch,step,train/loss,train/acc,val/loss,val/acc,val/acc5,lr,seconds,images_per_second"

# Accuracies of the sensitivity study by its settings: the batch size matters most.
GRID = {
    (b, d, c): 0.3 + 0.05 * (b == 125) - 0.02 * (d == 0.01) for b in (125, 500) for d in (0.0, 0.0001, 0.01) for c in (None, 0.1)
}


def job(folder: Path, study: str, values: Sequence[Any], seed: int, acc: float | None, **facts: Any) -> Path:
    """A run directory; without an accuracy, one of a run that failed. curve: shares of acc by epoch; settings: others."""
    (folder / ".hydra").mkdir(parents=True)
    typed = [f"{name}={'null' if value is None else value}" for name, value in zip(FACTORS[study], values, strict=True)]
    overrides = [f"+study={study}", *typed, f"seed={seed}"]
    (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {item}\n" for item in overrides))
    config = {"study": study, "model": "resnet8", **dict(zip(FACTORS[study], values, strict=True)), **facts.get("settings", {})}
    summary = {"schema": 1, "experiment": "x", "overrides": overrides, "seed": seed, "data": "cifar100", "config": config,
               "validation": facts.get("validation", "holdout"), "test/images": 10_000}  # fmt: skip
    if acc is None:
        summary |= {"status": facts.get("status", "failed"), "error": "the power went out"}
    else:
        curve, lr = facts.get("curve", (0.5, 1.0)), facts.get("lr", 0.1)
        rows = [f"{i},{i},1,{acc * part},1,{acc * part},1,{lr},{facts.get('seconds', 2.0)},1" for i, part in enumerate(curve)]
        (folder / "metrics.csv").write_text("\n".join([HEAD, *rows]) + "\n")
        gap = facts.get("gap", 0.05)
        summary |= {"status": "finished", "val/acc": acc, "test/acc": acc - 0.01, "train/acc": acc - 0.01 + gap, "gap": gap,
                    "train_seconds": 4.0, "epochs": len(curve), "steps": 20, "device": "cpu"}  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder
