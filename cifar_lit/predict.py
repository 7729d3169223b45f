"""Images to classes: `python -m cifar_lit.predict <bundle> IMAGE... --top 5 [--json]`, and the `Predictor` behind it.

Torch is imported only where it runs the network: with `runtime="onnx"` it is not needed at all.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np

from cifar_lit import bundle, hub, pictures, terminal
from cifar_lit.bundle import ONNX, CheckpointError, Facts
from cifar_lit.pictures import Picture, PictureError
from cifar_lit.terminal import one_line

RUNTIMES = ("torch", "onnx")
Forward = Callable[[np.ndarray], np.ndarray]  # images (N, 3, H, W) float32, normalised -> logits (N, C) float32


@dataclass(frozen=True)
class Guess:
    """One class, and how probable it is for an image."""

    index: int
    label: str
    superclass: str | None
    probability: float


class Predictor:
    """A trained network with all that is needed to use it on anybody's images.

    path: a bundle, a run directory or a Lightning checkpoint. device: as torch names it, or `auto`: CUDA, MPS or the CPU.
    runtime: `torch`, or `onnx` for a bundle that `cifar_lit.export` has added `model.onnx` to. batch_size: images that go
    through the network at once. Raises CheckpointError, ValueError.

    A picture is a path, an encoded file's bytes, a PIL image, an array (H, W, 3) or a tensor (3, H, W); see `pictures.read`.
    """

    def __init__(self, path: str | Path, *, device: str = "auto", runtime: str = "torch", batch_size: int = 64) -> None:
        if runtime not in RUNTIMES:
            raise ValueError(f"runtime={runtime}: allowed is {', '.join(RUNTIMES)}")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: allowed is 1 or more")
        self.batch_size = batch_size
        self.net: Any = None
        self.device = "cpu"
        if runtime == "onnx":
            if device not in ("auto", "cpu"):
                raise ValueError(f"device={device}: runtime=onnx computes on the CPU; allowed is auto, cpu")
            self.facts, self._forward = _onnx(Path(path))
        else:
            self.facts, self.net, self.device, self._forward = _torch(Path(path), device)
        self._mean = np.array(self.facts.mean, np.float32)
        self._std = np.array(self.facts.std, np.float32)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        local_files_only: bool = False,
        **options: Any,
    ) -> "Predictor":
        """The predictor of a folder, or of `user/name` on the Hugging Face Hub. Raises CheckpointError."""
        onnx = options.get("runtime") == "onnx"
        place = hub.fetch(name, revision=revision, token=token, local_files_only=local_files_only, onnx=onnx)
        return cls(place, **options)

    def prepare(self, picture: Picture, name: str | None = None) -> np.ndarray:
        """A picture as the network sees it: (H, W, 3) uint8. Raises PictureError, in which it is called `name`."""
        return pictures.fit(pictures.read(picture, name), *self.facts.image_size)

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """pixels (N, H, W, 3) uint8 -> (N, 3, H, W) float32, less the mean and divided by the deviation."""
        images = (pixels.astype(np.float32) / 255 - self._mean) / self._std
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    def logits(self, images: Iterable[Picture]) -> np.ndarray:
        """(N, C) float32, of any number of pictures, of which a batch at a time is in memory."""
        parts = [self._forward(self.normalise(pixels)) for pixels in self._batches(images)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.facts.classes)), np.float32)

    def probabilities(self, images: Iterable[Picture]) -> np.ndarray:
        """(N, C) float32; calibrated, where the bundle knows a temperature."""
        return self._softmax(self.logits(images))

    @overload
    def __call__(self, picture: list[Picture] | tuple[Picture, ...], top: int = 5) -> list[list[Guess]]: ...
    @overload
    def __call__(self, picture: Picture, top: int = 5) -> list[Guess]: ...
    def __call__(self, picture: Any, top: int = 5) -> Any:
        """The most probable classes of one picture, the best first; of a list of pictures, a list of such."""
        if isinstance(picture, list | tuple):
            return list(self.stream(picture, top))
        return next(self.stream([picture], top))

    def stream(self, images: Iterable[Picture], top: int = 5) -> Iterator[list[Guess]]:
        """The same for any number of pictures, in their order; a batch at a time is in memory."""
        for pixels in self._batches(images):
            yield from self.of_pixels(pixels, top)

    def of_pixels(self, pixels: np.ndarray, top: int = 5) -> list[list[Guess]]:
        """The most probable classes of prepared pictures (N, H, W, 3) uint8."""
        if top < 1:
            raise ValueError(f"top={top}: allowed is 1 or more")
        guesses = []
        logits = self._forward(self.normalise(pixels))
        if not np.isfinite(logits).all():
            raise ValueError("the network's answers are no numbers (NaN or infinite): its training has diverged")
        for row in self._softmax(logits):
            best = np.argsort(-row, kind="stable")[:top]
            guesses.append([Guess(int(i), self.facts.classes[i], self.facts.superclass(int(i)), float(row[i])) for i in best])
        return guesses

    def _batches(self, images: Iterable[Picture]) -> Iterator[np.ndarray]:
        if isinstance(images, str | bytes | os.PathLike):
            raise TypeError("one picture is given where several are wanted: put it into a list")
        rest = iter(images)
        done = 0
        while part := list(islice(rest, self.batch_size)):
            yield np.stack([self.prepare(image, _name(image, done + number)) for number, image in enumerate(part, start=1)])
            done += len(part)

    def _softmax(self, logits: np.ndarray) -> np.ndarray:
        scaled = (logits - logits.max(axis=1, keepdims=True)) / (self.facts.temperature or 1.0)
        shares = np.exp(scaled)
        return shares / shares.sum(axis=1, keepdims=True)


def _name(picture: Picture, number: int) -> str:
    return str(picture) if isinstance(picture, str | os.PathLike) else f"image {number}"


def _torch(path: Path, device: str) -> tuple[Facts, Any, str, Forward]:
    import torch  # slow, and not there where only ONNX is used

    from cifar_lit import checkpoint

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ValueError(f"device={device}: not to be had here; allowed is auto, cpu, cuda or mps where there is one") from None
    net, facts = checkpoint.load(path)
    net.to(place)

    def forward(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return net(torch.from_numpy(images).to(place)).float().cpu().numpy()

    return facts, net, device, forward


def _onnx(path: Path) -> tuple[Facts, Forward]:
    folder = bundle.find(path) or path / "model"
    facts = bundle.read(folder)
    if ONNX not in facts.exports:
        raise CheckpointError(f"{folder}: it has no {ONNX} yet: python -m cifar_lit.export {folder} --to onnx")
    file = bundle.verified(folder, ONNX)
    import onnxruntime  # slow, and not needed with torch

    try:
        session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a kind for each reason, with nothing but Exception in common
        raise CheckpointError(f"{file}: cannot be run: {' '.join(str(error).split())[:200]}") from None

    def forward(images: np.ndarray) -> np.ndarray:
        return session.run(["logits"], {"images": images})[0]

    return facts, forward


def _listed(given: list[str]) -> Iterator[str]:
    """The images that are meant: a folder's are all in it, in name order; one without any stands for itself."""
    for name in given:
        if not os.path.isdir(name):
            yield name
            continue
        found = False
        for place, folders, files in os.walk(name):
            folders.sort()
            for file in sorted(files):
                if file.lower().endswith(pictures.SUFFIXES):
                    found = True
                    yield os.path.join(place, file)
        if not found:
            yield name


def _prepared(predictor: Predictor, names: list[str], stdin: BinaryIO) -> Iterator[tuple[str, np.ndarray]]:
    """Names and pixels of the images that can be read; of the others a line on standard error."""
    for name in names:
        try:
            if os.path.isdir(name):
                allowed = ", ".join(pictures.SUFFIXES)
                raise PictureError(f"{one_line(name, 100)}: no images in this folder; allowed are {allowed}")
            picture = stdin.read(pictures.MAX_BYTES + 1) if name == "-" else name
            yield name, predictor.prepare(picture, "standard input" if name == "-" else name)
        except PictureError as error:
            print(f"error: {error}", file=sys.stderr)


def _print(name: str, guesses: list[Guess], as_json: bool, calibrated: bool) -> None:
    if as_json:
        print(json.dumps({"image": name, "calibrated": calibrated, "guesses": [asdict(guess) for guess in guesses]}))
        return
    print(one_line(name, 1000))
    for guess in guesses:
        superclass = f"  ({one_line(guess.superclass, 200)})" if guess.superclass else ""
        print(f"  {100 * guess.probability:6.2f}%  {one_line(guess.label, 200)}{superclass}")


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit status: 1 where an image could not be read, or nothing could be done."""
    parser = argparse.ArgumentParser(prog="python -m cifar_lit.predict", description="The most probable classes of images.")
    parser.add_argument("bundle", help="a bundle, a run directory, a Lightning checkpoint, or hub:user/name")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, folders, or - for standard input")
    parser.add_argument("--top", type=int, default=5, help="classes an image (default: 5)")
    parser.add_argument("--json", action="store_true", help="a JSON object an image, one a line")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument("--runtime", default="torch", choices=RUNTIMES, help="what runs the network (default: torch)")
    parser.add_argument("--batch-size", type=int, default=64, help="images at once (default: 64)")
    given = parser.parse_args(arguments)
    if given.top < 1 or given.batch_size < 1:
        parser.error("--top and --batch-size: allowed is 1 or more")
    bad = 0
    try:
        path = hub.place(given.bundle, onnx=given.runtime == "onnx")
        predictor = Predictor(path, device=given.device, runtime=given.runtime, batch_size=given.batch_size)
        if predictor.facts.temperature is None:
            print("Probabilities are not calibrated: no temperature comes with these weights.", file=sys.stderr)
        names = _listed(given.images)
        while part := list(islice(names, predictor.batch_size)):
            prepared = list(_prepared(predictor, part, sys.stdin.buffer))
            bad += len(part) - len(prepared)
            if prepared:
                for (name, _), guesses in zip(
                    prepared, predictor.of_pixels(np.stack([p for _, p in prepared]), given.top), strict=True
                ):
                    _print(name, guesses, given.json, predictor.facts.temperature is not None)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, ModuleNotFoundError) as error:
        return terminal.failed(error)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
