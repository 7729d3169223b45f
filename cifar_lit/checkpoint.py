"""The only door to trained weights: Lightning checkpoints that are whole or not there, and bundles for other people.

A checkpoint is the zip file that `torch.save` writes, with the SHA-256 of all that comes before it as the zip's comment:
`torch.load` and Lightning read it as ever, and a torn or altered file is told from a good one. A bundle is a folder with
`model.safetensors`, `config.json` and `README.md`. Nothing is ever unpickled with code execution.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cifar_lit.atomic import sync, writing
from cifar_lit.model.registry import build

log = logging.getLogger(__name__)

_MARK = b"sha256:"
_COMMENT = len(_MARK) + 64
_CHUNK = 1 << 22


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: one line, which file and why."""


def _digest(path: Path, length: int) -> bytes:
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while length > 0:
            block = file.read(min(_CHUNK, length))
            if not block:
                break
            total.update(block)
            length -= len(block)
    return total.hexdigest().encode()


def seal(path: Path) -> None:
    """Append a zip's SHA-256 as its comment. The comment's length, in the zip's last two bytes, is part of what is hashed."""
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(size - 2)
        file.write(struct.pack("<H", _COMMENT))
    with open(path, "ab") as file:
        file.write(_MARK + _digest(path, size))


def verify(path: Path) -> None:
    """Raise CheckpointError unless a checkpoint is the very bytes that were written."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            file.seek(max(0, size - _COMMENT))
            comment = file.read()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    if not comment.startswith(_MARK):
        raise CheckpointError(f"{path}: torn, or not written by this project (it carries no SHA-256)")
    if _digest(path, size - _COMMENT) != comment[len(_MARK) :]:
        raise CheckpointError(f"{path}: altered since it was written (its SHA-256 does not fit)")


def read(path: Path) -> dict[str, Any]:
    """The contents of a Lightning checkpoint, on the CPU; no code in it is run. Raises CheckpointError."""
    verify(path)
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a foreign pickle can fail in any way, and torch's message advises to run its code
        raise CheckpointError(f"{path}: refused: it holds more than tensors and plain values, or is no checkpoint") from None
    if not isinstance(contents, dict) or "state_dict" not in contents:
        raise CheckpointError(f"{path}: not a Lightning checkpoint")
    return contents


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's door to the disk: writes beside the target, seals, flushes, renames; verifies before it reads."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with writing(target) as part:
            try:
                torch.save(checkpoint, part)
            except RuntimeError:  # how torch tells of a write that fell short
                if shutil.disk_usage(target.parent).free < _CHUNK:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from None
                raise
            seal(part)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read(Path(path))


def keep_previous(folder: Path) -> None:
    """Before a new last.ckpt: the one there is becomes previous.ckpt, for the case that the new one turns out torn."""
    if (folder / "last.ckpt").exists():
        os.replace(folder / "last.ckpt", folder / "previous.ckpt")


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run to go on from; None where it has none. A bad one is passed over, aloud."""
    numbered = sorted(folder.glob("epoch=*.ckpt"), reverse=True)
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


def save_bundle(folder: Path, net: nn.Module, config: dict[str, Any], card: str) -> None:
    """Write a bundle, whole or not at all.

    config: plain JSON values; `network` is the description that `cifar_lit.model.registry.build` takes. The SHA-256 of
    the weights is added to it.
    """
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
        save_file(weights, part / "model.safetensors", metadata={"format": "pt"})
        size = (part / "model.safetensors").stat().st_size
        digest = _digest(part / "model.safetensors", size).decode()
        (part / "config.json").write_text(json.dumps({**config, "sha256": digest}, indent=2) + "\n")
        (part / "README.md").write_text(card)
        for file in part.iterdir():
            sync(file)
        old = folder.with_name(f".{folder.name}.old")
        if folder.exists():
            os.replace(folder, old)
        os.replace(part, folder)
        sync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def load(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a bundle, in evaluation mode, and its config. Raises CheckpointError."""
    weights_file = folder / "model.safetensors"
    try:
        config = json.loads((folder / "config.json").read_text())
        digest = _digest(weights_file, weights_file.stat().st_size).decode()
        if digest != config["sha256"]:
            raise CheckpointError(f"{weights_file}: altered since it was written (its SHA-256 does not fit)")
        net = build(config["network"])
        net.load_state_dict(load_file(weights_file), strict=True)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{error.filename or folder}: {error.strerror}") from None
    except KeyError as error:
        raise CheckpointError(f"{folder}: not a bundle that can be loaded: config.json has no {error}") from None
    except (TypeError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())  # a mismatch of weights takes many lines, the first of which says nothing
        raise CheckpointError(f"{folder}: not a bundle that can be loaded: {reason[:300]}") from None
    return net.eval(), config
