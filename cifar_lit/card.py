"""The model card of a bundle."""

from typing import Any

_CARD = """---
license: mit
library_name: cifar_lit
pipeline_tag: image-classification
datasets: [{dataset}]
metrics: [accuracy]
---

# {title}

An image classifier with {classes} classes and {params:,} parameters, for images of {height} x {width} pixels.

| | |
| --- | --- |
| test accuracy{views} | {acc} |
| test accuracy, top 5 | {acc5} |
| expected calibration error, 15 bins | {ece} |
| training accuracy (running, on augmented images) | {train} |
| validation | {validation} |
| weights | {evaluated} epoch, number {epoch} of {epochs} |
| trained in | {seconds:,.0f} s on {device}, precision {precision} |
| seed | {seed} |
| code | {git} |

Made by `python train.py {overrides}`.

## Use

    from pathlib import Path
    from cifar_lit import checkpoint
    net, config = checkpoint.load(Path("<this folder>"))

Images are RGB, as fractions of 255, less the mean {mean}, divided by the deviation {std}.

## Intended use and limits

For comparing training recipes and for teaching. The classes are those of `config.json` and no others: an image of anything
else gets one of them all the same. The images are small photographs from the web, and carry its biases.
"""


def write(config: dict[str, Any], summary: dict[str, Any]) -> str:
    """The text of the card, from a bundle's config and a run's summary."""

    def percent(name: str) -> str:
        return f"{100 * summary[name]:.2f}%" if summary.get(name) is not None else "not measured"

    height, width = config["image_size"]
    return _CARD.format(
        dataset=summary["data"],
        title=summary["experiment"],
        classes=len(config["classes"]),
        params=summary["params"],
        height=height,
        width=width,
        views=", mean of each image and its mirror image" if summary.get("test_time_flip") else "",
        acc=percent("test/acc"),
        acc5=percent("test/acc5"),
        ece=f"{summary['test/ece']:.4f}",
        train=percent("train/acc"),
        validation="held-out training images" if summary["validation"] == "holdout" else "the test images were watched",
        evaluated=summary["evaluated"],
        epoch=summary["evaluated_epoch"] + 1,
        epochs=summary["epochs"],
        seconds=summary["train_seconds"],
        device=summary["device"],
        precision=summary["precision"],
        seed=summary["seed"],
        git=summary["git"] or "not in a checkout",
        overrides=" ".join(summary["overrides"]),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
