"""What a prediction costs beyond the network: one 32x32 PNG file through Predictor, against the bare forward pass.

    python -m benchmarks.predict_speed [--pairs 11] [--calls 50] [--model resnet18] [--json FILE]

One thread, one process, one network with weights of no meaning. A pair is `calls` of each in turn, and its number their
median: `net(images)` on a tensor that is ready, then the file from its bytes on the disk to the five best guesses, run by torch
and by onnxruntime. Prints milliseconds and the ratios to the forward pass pair by pair, and the medians. Target: 1.1.
"""

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnxruntime
import torch
from PIL import Image
from torch import nn

from benchmarks.results import save
from cifar_lit import bundle
from cifar_lit.bundle import Facts
from cifar_lit.export import export
from cifar_lit.model import describe
from cifar_lit.model.resnet import resnet8, resnet18, resnet50
from cifar_lit.predict import Predictor

MODELS: dict[str, Callable[..., nn.Module]] = {"resnet8": resnet8, "resnet18": resnet18, "resnet50": resnet50}
FORWARD, TORCH, ONNX = "forward pass", "Predictor", "Predictor, onnx"
TARGET = 1.1  # of the Predictor's median ratio to the forward pass
_CLASSES = 100


def prepared(folder: Path, model: str) -> tuple[Path, Path]:
    """A bundle with an ONNX export, and an image file of 32x32."""
    torch.manual_seed(0)
    network = MODELS[model]
    facts = Facts(
        title=model,
        data="drawn",
        network=describe(network, num_classes=_CLASSES),
        classes=tuple(f"class {index}" for index in range(_CLASSES)),
        mean=(0.507, 0.487, 0.441),
        std=(0.267, 0.256, 0.276),
        image_size=(32, 32),
    )
    bundle.save(folder / "model", network(num_classes=_CLASSES).state_dict(), facts, "")
    export(folder / "model", "onnx")
    image = folder / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(image)
    return folder / "model", image


def sides(folder: Path, image: Path) -> dict[str, Callable[[], object]]:
    """What is compared, by name; each call is one prediction."""
    predictor = Predictor(folder, device="cpu")
    images = torch.from_numpy(predictor.normalise(predictor.prepare(image)[None]))
    # One thread for onnxruntime, too, which takes all cores unless it is told.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    one_thread = functools.partial(onnxruntime.InferenceSession, sess_options=options)
    with patch.object(onnxruntime, "InferenceSession", one_thread):
        onnx = Predictor(folder, runtime="onnx")

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = predictor.net(images)
            return logits

    return {FORWARD: forward, TORCH: lambda: predictor(image), ONNX: lambda: onnx(image)}


def seconds(call: Callable[[], object], calls: int) -> float:
    """Of one call: the median of several."""
    taken = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure(compared: dict[str, Callable[[], object]], pairs: int, calls: int) -> list[dict[str, float]]:
    """Milliseconds of each, pair by pair."""
    rows = []
    names = list(compared)
    for name in names:  # warm up
        seconds(compared[name], calls)
    for pair in range(pairs):
        # In turn, and each first as often as the others: the machine's speed drifts.
        order = names[pair % len(names) :] + names[: pair % len(names)]
        taken = {name: 1e3 * seconds(compared[name], calls) for name in order}
        rows.append({name: taken[name] for name in names})
        print(f"pair {pair + 1}: {said(rows[-1])}", flush=True)
    return rows


def said(row: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f} ms ({value / row[FORWARD]:.3f})" for name, value in row.items())


def summary(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """The medians: of the milliseconds, and of the ratios, which are taken pair by pair."""
    return {
        "milliseconds": {name: statistics.median(row[name] for row in rows) for name in rows[0]},
        "ratio": {name: statistics.median(row[name] / row[FORWARD] for row in rows) for name in rows[0]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--model", choices=MODELS, default="resnet18")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if min(arguments.pairs, arguments.calls) < 1:
        parser.error("--pairs and --calls: allowed is 1 or more")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        compared = sides(*prepared(Path(folder), arguments.model))
        rows = measure(compared, arguments.pairs, arguments.calls)
    medians = summary(rows)
    for name, value in medians["milliseconds"].items():
        print(f"{name:<16} median {value:8.3f} ms, ratio to the {FORWARD} {medians['ratio'][name]:.4f}")
    met = medians["ratio"][TORCH] <= TARGET
    print(f"target {TARGET} {'met' if met else 'missed'} by {TORCH} ({arguments.model}, {arguments.pairs} pairs, one thread)")
    if arguments.json:
        setting = {"model": arguments.model, "calls": arguments.calls, "threads": torch.get_num_threads(), "target": TARGET}
        more = {name: version(name) for name in ("onnxruntime", "onnx", "pillow")}
        found = {**medians, "met": met, "pairs": rows, "more_versions": more}
        save(arguments.json, {"benchmark": "predict_speed", **setting, **found})


if __name__ == "__main__":
    main()
