"""The only door to trained weights: Lightning checkpoints that are whole or not there, and bundles (`bundle.py`).

A checkpoint is the zip file that `torch.save` writes, with the SHA-256 of all that comes before it as the zip's comment:
`torch.load` and Lightning read it as ever, and a torn or altered file is told from a good one. Nothing is ever unpickled
with code execution, and a network is built from its own description, through a table of names.
"""

import errno
import logging
import os
import shutil
import struct
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cifar_lit import bundle
from cifar_lit.atomic import writing
from cifar_lit.bundle import CheckpointError, Facts, digest, regular
from cifar_lit.model.outline import outline
from cifar_lit.model.registry import build
from cifar_lit.pickles.archive import opened
from cifar_lit.pickles.limits import ConvertError

log = logging.getLogger(__name__)

_MARK = b"sha256:"
_COMMENT = len(_MARK) + 64
_FOREIGN = (".pth", ".pt", ".bin", ".pkl", ".tar", ".safetensors")
_LITTLE = 1 << 22  # bytes: a disk with less than that is full


def seal(path: Path) -> None:
    """Append a zip's SHA-256 as its comment. The comment's length, in the zip's last two bytes, is part of what is hashed."""
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(size - 2)
        file.write(struct.pack("<H", _COMMENT))
    with open(path, "ab") as file:
        file.write(_MARK + digest(path, size).encode())


def verify(path: Path) -> None:
    """Raise CheckpointError unless a checkpoint is the very bytes that were written."""
    try:
        size = regular(path).stat().st_size
        with open(path, "rb") as file:
            file.seek(max(0, size - _COMMENT))
            comment = file.read()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    if not comment.startswith(_MARK):
        raise CheckpointError(f"{path}: torn, or not written by this project (it carries no SHA-256)")
    if digest(path, size - _COMMENT).encode() != comment[len(_MARK) :]:
        raise CheckpointError(f"{path}: altered since it was written (its SHA-256 does not fit)")


def read(path: Path) -> dict[str, Any]:
    """The contents of a Lightning checkpoint, on the CPU; no code in it is run. Raises CheckpointError."""
    verify(path)
    try:
        # The seal is no signature, and what torch reads without running code can still hang or crash it.
        with opened(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that torch did not write: whatever comes of one is one line
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except ConvertError as error:
        raise CheckpointError(f"{path}: refused: {str(error).removeprefix(f'{path}: ')}") from None
    except Exception:  # a foreign pickle can fail in any way, and torch's message advises to run its code
        raise CheckpointError(f"{path}: refused: it holds more than tensors and plain values, or is no checkpoint") from None
    if not isinstance(contents, dict) or "state_dict" not in contents:
        raise CheckpointError(f"{path}: not a Lightning checkpoint")
    return contents


def save(contents: dict[str, Any], target: Path) -> None:
    """Write a checkpoint: beside the target, sealed, flushed, renamed. Raises OSError where it cannot be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with writing(target) as part:
        try:
            torch.save(contents, part)
        except RuntimeError:  # how torch tells of a write that fell short
            if shutil.disk_usage(target.parent).free < _LITTLE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from None
            raise
        seal(part)


def duplicate(path: Path, target: Path) -> None:
    """A second name for a checkpoint, or a copy where the disk knows no links. Nothing is ever written into a checkpoint."""
    with writing(target) as part:
        part.unlink(missing_ok=True)
        try:
            os.link(path, part)
        except OSError:
            shutil.copyfile(path, part)


def keep_previous(folder: Path) -> None:
    """Before a new last.ckpt: the one there is becomes previous.ckpt, for the case that the new one turns out torn."""
    if (folder / "last.ckpt").exists():
        os.replace(folder / "last.ckpt", folder / "previous.ckpt")


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run to go on from; None where it has none. A bad one is passed over, aloud."""
    numbered = sorted(folder.glob("epoch=*.ckpt"), key=lambda path: (len(path.name), path.name), reverse=True)
    for path in (folder / "last.ckpt", folder / "previous.ckpt", *numbered):
        if not path.exists():
            continue
        try:
            verify(path)
        except CheckpointError as error:
            log.warning("%s; using the one before it", error)
            os.replace(path, path.with_suffix(".torn"))  # kept, but never taken for the one before
        else:
            return path
    return None


def network_weights(contents: dict[str, Any]) -> dict[str, Tensor]:
    """The weights to evaluate and to ship: the averaged ones where the run kept an average, else the trained ones."""
    averaged = contents.get("callbacks", {}).get("EMA")
    if averaged is not None:
        return averaged["net"]
    prefix = "net."
    return {key.removeprefix(prefix): value for key, value in contents["state_dict"].items() if key.startswith(prefix)}


def source(path: Path) -> Path:
    """Where the network of a path is: a bundle, or a Lightning checkpoint.

    A run directory without a bundle (it has not finished, or was interrupted) gives its best checkpoint, else its last.
    Raises CheckpointError.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file or folder")
    if not path.is_dir():
        return path
    places = [path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt", "previous.ckpt")]
    found = bundle.find(path) or next((place for place in places if place.exists()), None)
    if found is None:
        raise CheckpointError(f"{path}: no bundle, and no run directory with one or with checkpoints")
    return found


def load(path: Path | str) -> tuple[nn.Module, Facts]:
    """The network of a bundle, of a run directory or of a Lightning checkpoint, in evaluation mode, and its facts.

    Which of them `source` says. Raises CheckpointError.
    """
    path = source(Path(path))
    if path.is_dir():
        return _load_bundle(path)
    if path.suffix in _FOREIGN:
        raise CheckpointError(f"{path}: no checkpoint of this project: python -m cifar_lit.convert makes a bundle of such files")
    contents = read(path)
    try:
        facts, weights = Facts.of(contents["facts"]), network_weights(contents)
        if sum(tensor.numel() * tensor.element_size() for tensor in weights.values()) > path.stat().st_size:
            raise ValueError("its weights are more than the file")  # one number can stand for a terabyte
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: does not say what network it is: {' '.join(str(error).split())[:300]}") from None
    return _filled(path, facts, weights), facts


def _load_bundle(folder: Path) -> tuple[nn.Module, Facts]:
    facts = bundle.read(folder)
    try:
        weights = load_file(bundle.verified(folder, bundle.WEIGHTS))
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder}: not a bundle that can be loaded: {' '.join(str(error).split())[:300]}") from None
    return _filled(folder, facts, weights), facts


def _filled(source: Path, facts: Facts, weights: dict[str, Tensor]) -> nn.Module:
    """The network that facts describe, with its weights, every name and shape of which must fit."""
    try:
        described = outline(facts.network, weights)  # shapes first: a description of terabytes must not be allocated
        shapes, dtypes = ({name: getattr(each, what) for name, each in described.items()} for what in ("shape", "dtype"))
        for name in sorted(shapes.keys() | weights.keys()):
            if name not in weights or name not in shapes:
                raise ValueError(f"{'missing' if name in shapes else 'unknown'} weight {name}")
            if weights[name].shape != shapes[name]:
                raise ValueError(f"weight {name} is {list(weights[name].shape)}, by the description {list(shapes[name])}")
            if weights[name].is_floating_point() != dtypes[name].is_floating_point:
                raise ValueError(f"weight {name} is of {weights[name].dtype}, by the description of {dtypes[name]}")
        net = build(facts.network)
        net.load_state_dict(weights, strict=True)
    except Exception as error:  # on a foreign description a network's code may stumble in any way
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(f"{source}: cannot be loaded: {reason}") from None
    return net.eval()
