"""Bundles to and from the Hugging Face Hub: `python -m cifar_lit.hub <bundle> user/name [--private]` uploads one.

Only the files of a bundle are ever fetched or sent, and what is fetched is checked like any other bundle.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cifar_lit import bundle, terminal
from cifar_lit.bundle import CARD, CONFIG, ONNX, WEIGHTS, CheckpointError

if TYPE_CHECKING:
    from torch import nn

PREFIX = "hub:"  # of a name on a command line


def fetch(
    name: str | Path, *, revision: str | None = None, token: str | None = None, local_files_only: bool = False, onnx: bool = False
) -> Path:
    """The folder of a bundle: a folder as it is, else the Hub's `user/name`, downloaded once and kept in the Hub's cache.

    revision: a branch, tag or commit. onnx: the network in that format too. Raises CheckpointError.
    """
    if str(name) and Path(name).is_dir():
        return Path(name)
    if str(name).count("/") != 1:  # before any network is asked
        raise CheckpointError(f"{name}: neither a folder nor a name on the Hub, which is user/name")
    from huggingface_hub import snapshot_download  # slow to import, and not needed for folders
    from huggingface_hub.errors import HFValidationError

    try:
        folder = snapshot_download(
            str(name),
            revision=revision,
            token=token,
            local_files_only=local_files_only,
            allow_patterns=[CONFIG, WEIGHTS, CARD, *([ONNX] if onnx else [])],
        )
    except HFValidationError:
        raise CheckpointError(f"{name}: neither a folder nor a name on the Hub, which is user/name") from None
    except Exception as error:  # the HTTP library that the Hub's client is built on, and so its errors, change with its version
        raise CheckpointError(f"{name}: not to be had from the Hub: {_short(error)}") from None
    if not bundle.is_bundle(Path(folder)):
        raise CheckpointError(f"{name}: the Hub has it, but it is no bundle: it has no {CONFIG}")
    return Path(folder)


def place(name: str, *, onnx: bool = False) -> Path:
    """Where what a command line names lies: `hub:user/name` is fetched, anything else is a path. Raises CheckpointError.

    Said in so many words, since a mistyped folder must not ask the network.
    """
    return fetch(name.removeprefix(PREFIX), onnx=onnx) if name.startswith(PREFIX) else Path(name)


def from_pretrained(
    name: str | Path, *, revision: str | None = None, token: str | None = None, local_files_only: bool = False
) -> "nn.Module":
    """The network of a folder, or of `user/name` on the Hub, in evaluation mode, with its facts as `net.facts`.

    Raises CheckpointError.
    """
    from cifar_lit import checkpoint  # imports torch, which uploading does not need

    net, facts = checkpoint.load(fetch(name, revision=revision, token=token, local_files_only=local_files_only))
    net.facts = facts  # type: ignore[assignment]
    return net


def push_to_hub(
    folder: str | Path, name: str, *, private: bool | None = None, token: str | None = None, message: str = "Upload bundle"
) -> str:
    """Upload a bundle as `user/name`, made where it is not there yet. Returns its address. Raises CheckpointError, OSError."""
    from huggingface_hub import HfApi  # slow to import
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError

    folder = bundle.find(Path(folder)) or Path(folder) / "model"
    facts = bundle.read(folder)
    exports = [ONNX] if ONNX in facts.exports else []
    for name_of_file in (WEIGHTS, *exports):
        bundle.verified(folder, name_of_file)
    api = HfApi(token=token)
    try:
        made = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            # Not model.pt2, which is unpickled where it is loaded.
            allow_patterns=[CONFIG, WEIGHTS, CARD, *exports],
            commit_message=message,
        )
    except HFValidationError as error:
        raise CheckpointError(
            f"{name}: not a name for the Hub, which is user/name ({' '.join(str(error).split())[:120]})"
        ) from None
    except LocalTokenNotFoundError:
        raise CheckpointError("the Hub wants to know who uploads: run `hf auth login`, or set HF_TOKEN") from None
    except Exception as error:  # as above
        raise CheckpointError(f"{name}: cannot be uploaded: {_short(error)}") from None
    return str(made)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cifar_lit.hub", description="Upload a bundle to the Hugging Face Hub.")
    parser.add_argument("bundle", type=Path, help="a bundle, or a run directory with one")
    parser.add_argument("name", help="user/name on the Hub")
    parser.add_argument("--private", action="store_true", default=None, help="for its owner's eyes only, where it is made anew")
    given = parser.parse_args(arguments)
    try:
        print(push_to_hub(given.bundle, given.name, private=given.private))
    except KeyboardInterrupt:
        return 130
    except (CheckpointError, OSError) as error:
        return terminal.failed(error, 400)
    return 0


if __name__ == "__main__":
    sys.exit(main())
