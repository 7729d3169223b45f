"""The files that clients have sent: a folder of this server's own, and which of its files a client may name."""

import os
import shutil
import stat
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 30  # of all files together: what comes beyond that has to wait until older ones are gone
AGE_SECONDS = 600.0  # after which a file is removed: a page that is still open has it shown already
MOST_FILES = 20_000  # ten minutes of as many pictures as two cores can answer
MOST_AT_ONCE = 64  # uploads under way: each has a connection and a file or two open, and a process may open a thousand
_PAUSE_SECONDS = 20.0  # between two sweeps
KEPT = "examples"  # files in the folder of this name are not removed


class UploadError(ValueError):
    """A file that a client may not name."""


class Uploads:
    """A temporary folder, swept in the background until `close`.

    Gradio's own check can be passed by: in 6.31 a file object without `meta` is opened wherever it lies, and one with
    an address instead of a path is fetched. So a client's word counts only for regular files in this folder.
    """

    def __init__(
        self,
        *,
        age_seconds: float = AGE_SECONDS,
        most_bytes: int = MOST_BYTES,
        most_files: int = MOST_FILES,
        most_at_once: int = MOST_AT_ONCE,
    ) -> None:
        self.folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="cifar_lit-app-")))
        self.age_seconds, self.most_bytes, self.most_files, self.most_at_once = age_seconds, most_bytes, most_files, most_at_once
        # Files and bytes: as the last sweep found them, landed since it began, and under way as they were announced.
        self._found, self._since, self._under_way = Counter[str](), Counter[str](), Counter[str]()
        self._lock = threading.Lock()
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

    def admit(self, size: int) -> bool:
        """Whether there is room for an upload of so many bytes just now; if so, it is under way until `landed`.

        Reckoned, and not looked up: a server that walks through its files for every upload does nothing else.
        """
        with self._lock:
            used = self._found + self._since + self._under_way
            fine = self._under_way["files"] < self.most_at_once
            fine = fine and used["files"] < self.most_files and used["bytes"] + size <= self.most_bytes
            if fine:
                self._under_way.update(files=1, bytes=size)
            return fine

    def landed(self, size: int, came: int) -> None:
        """An upload that was admitted with `size` bytes is over, whole or not; so many of them came."""
        with self._lock:
            self._under_way.subtract({"files": 1, "bytes": size})
            self._since.update(files=1, bytes=came)

    def sweep(self) -> None:
        """Remove what is older than it may get, and the folders that are left empty; count the rest."""
        oldest = time.time() - self.age_seconds
        with self._lock:
            before = self._since.copy()
        found = Counter[str]()
        for path, state in self._files():
            if max(state.st_mtime, state.st_ctime) < oldest:
                with suppress(OSError):
                    path.unlink()
                    continue
            found.update(files=1, bytes=state.st_size)
        for entry in os.scandir(self.folder):
            # An old one only: into a fresh one a file may be about to be moved.
            if entry.is_dir(follow_symlinks=False) and entry.name != KEPT and entry.stat().st_mtime < oldest:
                with suppress(OSError):  # it is not empty
                    os.rmdir(entry.path)
        with self._lock:
            self._found = found
            self._since.subtract(before)

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
