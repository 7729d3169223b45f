"""A bundle's network for other programs: `python -m cifar_lit.export <bundle> --to onnx|torch_export [-o FILE]`.

The file is written beside its place, run, and compared with the network; then it joins the bundle with its SHA-256, or
nothing is left of it. `model.onnx` is what `Predictor(runtime="onnx")` runs, and says itself how it is to be fed. Both take any
number of images at once. `model.pt2` is for programs of one's own: `torch.export.load` unpickles parts of it, which can run
code, so load none that comes from others. `Predictor` does not read it.
"""

import argparse
import io
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from cifar_lit import bundle, checkpoint, hub, terminal
from cifar_lit.atomic import sync
from cifar_lit.bundle import ONNX, Facts

FILES = {"onnx": ONNX, "torch_export": "model.pt2"}
METADATA = "cifar_lit"  # the key in an ONNX file under which JSON says how it is to be fed
TOLERANCE = 1e-4  # of logits, as a share of those above 1
# The oldest that torch's exporter writes without converting, from ONNX 1.13; onnxruntime goes on running old ones.
_OPSET = 18
_BATCHES = (1, 2, 7)
_MOST_BYTES = 2_000_000_000  # of weights: one protobuf message, which an ONNX file is, ends at 2 GiB
_INTERRUPTED = 130

Forward = Callable[[Tensor], Tensor]  # images (N, 3, H, W), normalised -> logits (N, C)


class ExportError(ValueError):
    """An export that cannot be made, or is not the network: one line."""


@dataclass(frozen=True)
class Exported:
    """A file that was made of a network, and its greatest difference from it in the logits, as `TOLERANCE` counts it."""

    path: Path
    size_bytes: int
    seconds: float
    difference: float


def export(path: Path | str, to: str, output: Path | str | None = None) -> Exported:
    """Write the network of a bundle, or of a run directory with one, in another format; see FILES.

    output: a file to write instead of the bundle's own, which the bundle then knows nothing of. Raises CheckpointError,
    ExportError, OSError, and ModuleNotFoundError where ONNX is not installed.
    """
    if to not in FILES:
        raise ExportError(f"to={to}: allowed is {', '.join(FILES)}")
    folder = _bundle(Path(path))
    target = _target(folder, to, None if output is None else Path(output))
    start = time.perf_counter()
    net, facts = checkpoint.load(folder)
    with tempfile.TemporaryDirectory(prefix=".export.", dir=target.parent) as staging:
        file = Path(staging) / FILES[to]
        try:
            with _quiet():
                _write[to](net, facts, file)
                difference = _difference(net, _run[to](file), facts)
        except (ExportError, OSError, ModuleNotFoundError):
            raise
        except Exception as error:  # exporters raise whatever they stumbled over in the network's code
            raise ExportError(f"{folder}: not exported to {to}: {type(error).__name__}: {error}") from error
        size = file.stat().st_size
        sync(file)
        if output is None:
            bundle.add_export(folder, file)  # first: of the two steps it is the one that a full disk can stop
        os.replace(file, target)
    sync(target.parent)
    return Exported(target, size, time.perf_counter() - start, difference)


def _bundle(path: Path) -> Path:
    found = bundle.find(path)
    if found is None:
        raise ExportError(f"{path}: no bundle, and no run directory with one: python train.py makes them")
    return found


def _target(folder: Path, to: str, output: Path | None) -> Path:
    """Where the file is to be; what would fail there fails before any work."""
    target = folder / FILES[to] if output is None else output
    if target.exists() and not target.is_file():
        raise ExportError(f"{target}: not a regular file")
    if not target.parent.is_dir():
        raise ExportError(f"{target.parent}: no such folder")
    if output is not None and bundle.is_bundle(output.parent):
        raise ExportError(f"{output}: it would lie in a bundle that does not know of it; without -o the bundle gets {FILES[to]}")
    return target


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters say: warnings about themselves, and whole graphs. What goes wrong they raise."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _traced(net: nn.Module, facts: Facts) -> ExportedProgram:
    images = torch.zeros(2, 3, *facts.image_size)  # not 1, which would be taken for a constant
    with torch.no_grad():
        program = torch.export.export(net, (images,), dynamic_shapes=({0: Dim("batch")},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def _write_torch(net: nn.Module, facts: Facts, file: Path) -> None:
    torch.export.save(_traced(net, facts), file)


def _run_torch(file: Path) -> Forward:
    return torch.export.load(file).module()


def _write_onnx(net: nn.Module, facts: Facts, file: Path) -> None:
    import onnx  # slow, and not needed for torch.export

    weights = sum(tensor.nbytes for tensor in net.state_dict().values())
    if weights > _MOST_BYTES:
        raise ExportError(f"{weights / 1e9:.1f} GB of weights: an ONNX file holds {_MOST_BYTES / 1e9:.0f}; use --to torch_export")
    made = torch.onnx.export(
        _traced(net, facts), opset_version=_OPSET, input_names=["images"], output_names=["logits"], dynamo=True, verbose=False
    )
    assert made is not None  # it is, where it writes a file itself
    model = made.model_proto
    graph = model.graph
    # Left out: what the exporter notes about its work, among it source lines and their paths, and shapes, which it names s34.
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
    graph.ClearField("value_info")
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    told = {name: getattr(facts, name) for name in ("title", "classes", "mean", "std", "image_size", "temperature")}
    model.metadata_props.add(key=METADATA, value=json.dumps(told, allow_nan=False))
    onnx.save_model(model, file)
    onnx.checker.check_model(file, full_check=True)


def _run_onnx(file: Path) -> Forward:
    import onnxruntime  # slow, and not needed for torch.export

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


_write: dict[str, Callable[[nn.Module, Facts, Path], None]] = {"onnx": _write_onnx, "torch_export": _write_torch}
_run: dict[str, Callable[[Path], Forward]] = {"onnx": _run_onnx, "torch_export": _run_torch}


@torch.no_grad()
def _difference(net: nn.Module, exported: Forward, facts: Facts) -> float:
    """The greatest difference of logits on batches of several sizes, of random pixels and of zeros. Raises ExportError."""
    generator = torch.Generator().manual_seed(0)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (facts.mean, facts.std))
    greatest = 0.0
    for size in _BATCHES:
        pixels = torch.rand(size, 3, *facts.image_size, generator=generator)
        for images in ((pixels - mean) / std, torch.zeros_like(pixels)):
            logits, found = net(images), exported(images)
            if not logits.isfinite().all():
                raise ExportError("the network's own logits are not finite: nothing can be compared with them")
            if found.shape != logits.shape:
                raise ExportError(f"export gives logits {list(found.shape)}, the network {list(logits.shape)}")
            difference = ((found - logits).abs() / logits.abs().clamp(min=1)).max().item()
            if not difference <= TOLERANCE:  # written so that NaN is refused too
                raise ExportError(f"export differs by {difference:.1e} at a batch of {size}: allowed is {TOLERANCE:.0e}")
            greatest = max(greatest, difference)
    return greatest


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cifar_lit.export", description="A bundle's network for other programs.")
    parser.add_argument("bundle", help="a bundle, a run directory with one, or, with -o, hub:user/name")
    parser.add_argument("--to", required=True, choices=FILES, help=" or ".join(f"{to} ({name})" for to, name in FILES.items()))
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write this file instead of one in the bundle")
    given = parser.parse_args(arguments)
    try:
        if given.output is None and given.bundle.startswith(hub.PREFIX):
            raise ExportError(f"{given.bundle}: what the Hub gives is kept as it came; say with -o FILE where the export goes")
        made = export(hub.place(given.bundle), given.to, given.output)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        return terminal.failed(error, 400)
    except KeyboardInterrupt:
        return _INTERRUPTED
    print(
        f"{made.path}: {made.size_bytes / 1e6:.1f} MB in {made.seconds:.1f} s; logits differ from the network's"
        f" by {made.difference:.1e} at most (batches of {', '.join(map(str, _BATCHES))}; allowed is {TOLERANCE:.0e})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
