"""The files that clients have sent: a folder of this server's own, and which of its files a client may name."""

import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 30  # of all files together: what comes beyond that has to wait until older ones are gone
AGE_SECONDS = 600.0  # after which a file is removed: a page that is still open has it shown already
_PAUSE_SECONDS = 20.0  # between two sweeps
_FRESH_SECONDS = 1.0  # for how long a count of the bytes in use is good enough
KEPT = "examples"  # files in the folder of this name are not removed


class UploadError(ValueError):
    """A file that a client may not name."""


class Uploads:
    """A temporary folder, swept in the background until `close`.

    Gradio's own check can be passed by: in 6.31 a file object without `meta` is opened wherever it lies, and one with
    an address instead of a path is fetched. So a client's word counts only for regular files in this folder.
    """

    def __init__(self, *, age_seconds: float = AGE_SECONDS, most_bytes: int = MOST_BYTES) -> None:
        self.folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="cifar_lit-app-")))
        self.age_seconds, self.most_bytes = age_seconds, most_bytes
        self._used = (0.0, 0)
        self._closing = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep_on, name="uploads", daemon=True)
        self._sweeper.start()

    def holds(self, path: object) -> bool:
        """Whether a path, just as it is written, is that of a regular file in the folder; links lead nowhere."""
        if not isinstance(path, str) or "\0" in path or not path.startswith(f"{self.folder}{os.sep}"):
            return False
        with suppress(OSError, ValueError):
            return os.path.realpath(path) == path and stat.S_ISREG(os.lstat(path).st_mode)
        return False

    def named(self, payload: Any) -> tuple[Path, str]:
        """The file that a page's file object names, and what the person calls it. Raises UploadError."""
        path = payload.get("path") if isinstance(payload, dict) else None
        if not isinstance(path, str) or not self.holds(path):
            raise UploadError("This picture is not among those that were sent to this server. Choose it once more.")
        given = payload.get("orig_name")
        name = given if isinstance(given, str) and given else path
        return Path(path), name.replace("\\", "/").rsplit("/", 1)[-1] or "image"

    def full(self) -> bool:
        """Whether there is no room for another file just now."""
        counted, used = self._used
        if time.monotonic() - counted > _FRESH_SECONDS:
            used = sum(state.st_size for _, state in self._files())
            self._used = time.monotonic(), used
        return used > self.most_bytes

    def sweep(self) -> None:
        """Remove what is older than it may get, and the folders that are left empty."""
        oldest = time.time() - self.age_seconds
        for path, state in self._files():
            if max(state.st_mtime, state.st_ctime) < oldest:
                with suppress(OSError):
                    path.unlink()
        for entry in os.scandir(self.folder):
            # An old one only: into a fresh one a file may be about to be moved.
            if entry.is_dir(follow_symlinks=False) and entry.name != KEPT and entry.stat().st_mtime < oldest:
                with suppress(OSError):  # it is not empty
                    os.rmdir(entry.path)

    def close(self) -> None:
        """Remove the folder."""
        self._closing.set()
        self._sweeper.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for place, folders, names in os.walk(self.folder):
            if Path(place) == self.folder:
                folders[:] = [name for name in folders if name != KEPT]
            for name in names:
                path = Path(place, name)
                with suppress(OSError):
                    yield path, path.lstat()

    def _sweep_on(self) -> None:
        while not self._closing.wait(_PAUSE_SECONDS):
            with suppress(OSError):
                self.sweep()
