"""A bundle: the folder that says all there is to know of a trained network, as the Hugging Face Hub lays it out.

`config.json` holds the facts, `model.safetensors` the weights, `README.md` the card; exports (`model.onnx`) lie beside them.
Whatever comes from outside is checked here before it is used, and every file against its SHA-256. Imports no torch.
"""

import hashlib
import json
import math
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar_lit.atomic import sync, writing

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS, CARD, ONNX = "config.json", "model.safetensors", "README.md", "model.onnx"
SCHEMA = 1
_MOST_BYTES = 8 << 20  # of config.json: the names of 20,000 classes take one
_MOST_PIXELS = 4096  # a side
_BLOCK = 1 << 22


class CheckpointError(ValueError):
    """A checkpoint or a bundle that cannot be used: one line, which file and why."""


def digest(path: Path, length: int | None = None) -> str:
    """The SHA-256 of a file's first `length` bytes, or of all of it."""
    left = path.stat().st_size if length is None else length
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            total.update(block)
            left -= len(block)
    return total.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a network is and how it is to be fed. Plain values, which go through JSON unchanged.

    network: its description, for `cifar_lit.model.registry.build`. superclass_of: class -> superclass, by index; empty where
    there are none. mean, std: of the training pixels, in units of 255. image_size: height, width. temperature: by which logits
    are divided for calibrated probabilities; None where no images were held out to fit it. notes: what a reader must know.
    origin: the run it came from. exports: files that were made of the weights, with their SHA-256.
    """

    title: str
    data: str
    network: dict[str, Any]
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    image_size: tuple[int, int]
    superclasses: tuple[str, ...] = ()
    superclass_of: tuple[int, ...] = ()
    temperature: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    origin: dict[str, Any] = field(default_factory=dict)
    exports: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError, naming the fact."""
        for name in ("title", "data"):
            _check(isinstance(getattr(self, name), str), name, "a text")
        for name in ("network", "metrics", "origin", "exports"):
            _check(isinstance(getattr(self, name), dict), name, "a table")
        _check(all(_is_number(value) for value in self.metrics.values()), "metrics", "finite numbers by name")
        safe = all(isinstance(sha, str) and name == Path(name).name for name, sha in self.exports.items())
        _check(safe, "exports", "plain file names, each with a SHA-256")
        for name in ("classes", "superclasses", "notes"):
            value = getattr(self, name)
            _check(isinstance(value, tuple) and all(isinstance(item, str) for item in value), name, "a list of texts")
        _check(len(self.classes) > 0, "classes", "one name or more")
        for name in ("mean", "std"):
            value = getattr(self, name)
            _check(
                isinstance(value, tuple) and len(value) == 3 and all(_is_number(item) for item in value), name, "three numbers"
            )
        _check(min(self.std) > 0, "std", "numbers above 0")
        size = self.image_size
        sides = isinstance(size, tuple) and len(size) == 2 and all(_is_index(side, _MOST_PIXELS + 1) for side in size)
        _check(sides and min(size) > 0, "image_size", f"height and width in pixels, from 1 to {_MOST_PIXELS}")
        if self.superclasses or self.superclass_of:
            fit = isinstance(self.superclass_of, tuple) and len(self.superclass_of) == len(self.classes)
            fit = fit and all(_is_index(index, len(self.superclasses)) for index in self.superclass_of)
            _check(fit, "superclass_of", "an index into superclasses for each class")
        warm = self.temperature is None or (_is_number(self.temperature) and self.temperature > 0)
        _check(warm, "temperature", "a number above 0, or null")
        outputs = self.network.get("num_classes")
        _check(outputs == len(self.classes), "classes", f"as many names as the network has outputs, {outputs!r}")

    def superclass(self, index: int) -> str | None:
        """The name of the superclass of a class."""
        return self.superclasses[self.superclass_of[index]] if self.superclass_of else None

    def plain(self) -> dict[str, Any]:
        """The facts as JSON has them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Facts":
        """The facts of plain values, in which unknown names are passed over: a later version may know more. Raises ValueError."""
        known = {item.name for item in fields(cls)}
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in plain.items() if name in known
        }
        missing = {"title", "data", "network", "classes", "mean", "std", "image_size"} - given.keys()
        if missing:
            raise ValueError(f"it has no {', '.join(sorted(missing))}")
        return cls(**given)


def _check(fine: bool, name: str, allowed: str) -> None:
    if not fine:
        raise ValueError(f"{name}: allowed is {allowed}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_index(value: object, end: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < end


def is_bundle(folder: Path) -> bool:
    """Whether a folder says that it is a bundle."""
    return (folder / CONFIG).exists()


def find(path: Path) -> Path | None:
    """The bundle that a path is, or that is in a run directory; None where there is none."""
    return next((folder for folder in (path, path / "model") if is_bundle(folder)), None)


def _config(folder: Path) -> dict[str, Any]:
    path = regular(folder / CONFIG)
    if path.stat().st_size > _MOST_BYTES:
        raise CheckpointError(f"{path}: not a bundle's: it has more than {_MOST_BYTES >> 20} MB")
    try:
        config = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a bundle that can be loaded: no JSON ({_short(error)})") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: not a bundle that can be loaded: no table of names and values")
    return config


def read(folder: Path) -> Facts:
    """The facts of a bundle. Raises CheckpointError."""
    config = _config(folder)
    if config.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{folder}: not a bundle that can be loaded: schema {_short(config.get('schema'))}, known is {SCHEMA}"
        )
    try:
        return Facts.of(config)
    except ValueError as error:
        raise CheckpointError(f"{folder}: not a bundle that can be loaded: config.json: {_short(error)}") from None


def verified(folder: Path, name: str) -> Path:
    """A file of a bundle, after its SHA-256 was compared. Raises CheckpointError."""
    config = _config(folder)
    exports = config.get("exports")
    expected = config.get("sha256") if name == WEIGHTS else exports.get(name) if isinstance(exports, dict) else None
    if not isinstance(expected, str):
        raise CheckpointError(f"{folder}: config.json has no SHA-256 of {name}")
    path = regular(folder / name)
    if digest(path) != expected:
        raise CheckpointError(f"{path}: altered since it was written (its SHA-256 does not fit)")
    return path


def regular(path: Path) -> Path:
    """The path of a file that is one: reading a pipe or a device would never end."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CheckpointError(f"{path}: not a regular file")
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    return path


def _short(words: object) -> str:
    """Anything's text as one line of no great length."""
    return " ".join(str(words).split())[:300]


def save(folder: Path, weights: Mapping[str, "Tensor"], facts: Facts, card: str) -> None:
    """Write a bundle, whole or not at all, over the one that was there. weights: the network's state dict."""
    from safetensors.torch import save_file  # imports torch, which reading the facts does not need

    folder = folder.absolute()  # `.` has no name to put another folder beside
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        # Cloned: safetensors refuses tensors that share memory, as tied weights do.
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}, part / WEIGHTS,
                  metadata={"format": "pt"})  # fmt: skip
        (part / WEIGHTS).chmod(0o644)  # safetensors leaves it to its owner alone
        config = {"schema": SCHEMA, "library_name": "cifar_lit", **facts.plain(), "exports": {}, "sha256": digest(part / WEIGHTS)}
        (part / CONFIG).write_text(json.dumps(config, indent=2, allow_nan=False) + "\n")
        (part / CARD).write_text(card)
        for file in part.iterdir():
            sync(file)
        if folder.exists():
            os.replace(folder, old)
        os.replace(part, folder)
        sync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not folder.exists():
            os.replace(old, folder)
        raise


def add_export(folder: Path, path: Path) -> None:
    """Write down a file that was made of the weights and lies in the bundle."""
    config = _config(folder)
    config["exports"] = {**config.get("exports", {}), path.name: digest(path)}
    with writing(folder / CONFIG) as part:
        part.write_text(json.dumps(config, indent=2) + "\n")
