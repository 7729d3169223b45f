"""Files that are either whole or not there: written beside the target, flushed to the disk, then renamed onto it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """A temporary path to write to, which becomes `target` when the block ends, and is removed if it raises."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        sync(part)
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    sync(target.parent)
