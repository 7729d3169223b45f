"""The model card of a bundle."""

from typing import Any

from cifar_lit.bundle import Facts

_HEAD = """---
license: {license}
library_name: cifar_lit
pipeline_tag: image-classification
{datasets}metrics: [accuracy]
---

# {title}

An image classifier with {classes} classes, for images of {height} x {width} pixels. Network: {network}.
"""

_RUN = """
| | |
| --- | --- |
| parameters | {params:,} |
| test accuracy{views} | {acc} |
| test accuracy, top 5 | {acc5} |
| test images | {images} |
| expected calibration error, 15 bins | {ece} |
| the same, calibrated | {calibrated} |
| training accuracy (running, on augmented images) | {train} |
| validation | {validation} |
| weights | {evaluated} epoch, number {epoch} of {epochs} |
| trained in | {seconds:,.0f} s on {device}, precision {precision} |
| seed | {seed} |
| code | {git} |

Made by `python train.py {overrides}`{left_out}.
"""

_FOOT = """
## Use

    pip install huggingface-hub safetensors torch numpy pillow      # and a checkout of cifar_lit
    python -m cifar_lit.predict <this folder> photo.jpg --top 5

or

    from cifar_lit.predict import Predictor
    predictor = Predictor("<this folder>")       # Predictor.from_pretrained("<user>/<name>") from the Hub
    for guess in predictor("photo.jpg", top=5):
        print(guess.label, guess.probability)

Images are RGB, as fractions of 255, less the mean {mean}, divided by the deviation {std}. {temperature}

## Intended use and limits

For comparing training recipes and for teaching. The classes are those of `config.json` and no others: an image of anything
else gets one of them all the same. {limits}
"""

# What is known of the images of a source, by the name that Dataset gives it.
_DATASETS = {"cifar100": "datasets: [cifar100]\n"}
_LIMITS = {
    "cifar100": "CIFAR-100's images are small photographs collected from the web (Krizhevsky, 2009), and carry its biases.",
    "synthetic": "The training images are drawn by a program: the classes mean nothing in photographs.",
}


def write(facts: Facts, summary: dict[str, Any], *, left_out: bool = False) -> str:
    """The text of a trained network's card, from its facts and its run's summary. left_out: whether options are not told."""

    def percent(name: str) -> str:
        return f"{100 * summary[name]:.2f}%" if summary.get(name) is not None else "not measured"

    calibrated = summary.get("test/ece_calibrated")
    measured = _RUN.format(
        params=summary["params"],
        views=", mean of each image and its mirror image" if summary.get("test_time_flip") else "",
        acc=percent("test/acc"),
        acc5=percent("test/acc5"),
        images=f"{summary['test/images']:,}",
        ece=f"{summary['test/ece']:.4f}",
        calibrated="not measured" if calibrated is None else f"{calibrated:.4f}",
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
        left_out=", with paths of its machine" if left_out else "",
    )
    return _around(facts, measured, "mit")


def converted(facts: Facts, source: str, license: str = "unknown") -> str:
    """The text of the card of weights that came from somewhere else; source: the name of their file. license: theirs."""
    said = "".join(f"- {note}\n" for note in facts.notes)
    return _around(facts, f"\nConverted from `{source}`. Nothing was measured.\n\n{said}", license)


def _around(facts: Facts, middle: str, license: str) -> str:
    height, width = facts.image_size
    described = ", ".join(f"{name} {value}" for name, value in facts.network.items() if name not in ("network", "num_classes"))
    if facts.temperature is None:
        calibration = "Probabilities are not calibrated: no images were held out to fit a temperature."
    else:
        calibration = f"Probabilities are calibrated: logits are divided by {facts.temperature:.4f}, fitted on held-out images."
    head = _HEAD.format(
        license=license,
        datasets=_DATASETS.get(facts.data, ""),
        title=facts.title,
        classes=len(facts.classes),
        height=height,
        width=width,
        network=f"{facts.network['network']} ({described})",
    )
    limits = _LIMITS.get(facts.data, "")
    return head + middle + _FOOT.format(mean=facts.mean, std=facts.std, temperature=calibration, limits=limits).rstrip() + "\n"
