"""The networks to choose among: bundles found on the disk, each loaded when it is first asked."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cifar_lit import bundle, runs
from cifar_lit.bundle import CheckpointError, Facts
from cifar_lit.predict import Predictor

_MODEL = "model"  # a run's bundle
_DEEPEST = 6  # folders below the one that was named
_LOADED = 4  # networks in memory at once


@dataclass(frozen=True)
class Bundle:
    """A bundle that could be read. name: as people choose it."""

    folder: Path
    facts: Facts
    name: str


def find(places: Iterable[Path]) -> tuple[list[Bundle], list[str]]:
    """Bundles, those of runs, and all in folders, newest first; and a line each about those that cannot be used."""
    found: dict[Path, tuple[float, Facts]] = {}
    broken: dict[str, None] = {}  # in the order of finding, each line once
    for place in places:
        for folder in _bundles(place):
            try:
                found[folder.resolve()] = (folder / bundle.CONFIG).stat().st_mtime, bundle.read(folder)
            except (CheckpointError, OSError) as error:
                broken[" ".join(str(error).split())] = None
    newest = sorted(found, key=lambda folder: (-found[folder][0], str(folder)))
    names = _names({folder: found[folder][1] for folder in newest})
    return [Bundle(folder, found[folder][1], names[folder]) for folder in newest], list(broken)


def _bundles(place: Path) -> Iterator[Path]:
    found = bundle.find(place)
    if found is not None:
        yield found
        return
    if runs.is_run(place):
        return  # it has not finished, and has no bundle yet
    yield from _below(place, _DEEPEST)


def _below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                entry.name for entry in entries if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )
    except OSError:
        return
    for child in (folder / name for name in names):
        if bundle.is_bundle(child):
            yield child
        elif depth > 1:
            yield from _below(child, depth - 1)


def _names(facts: dict[Path, Facts]) -> dict[Path, str]:
    """Titles with their accuracy, told apart by their folders where they are the same."""
    plain = {folder: f"{each.title} ({accuracy(each)})" for folder, each in facts.items()}
    taken = list(plain.values())
    return {
        folder: name if taken.count(name) == 1 else f"{name}, {(folder.parent if folder.name == _MODEL else folder).name}"
        for folder, name in plain.items()
    }


def accuracy(facts: Facts) -> str:
    """What was measured on test images, for people."""
    measured = facts.metrics.get("test/acc")
    if measured is None:
        return "accuracy not measured"
    watched = ", of images watched in training" if facts.origin.get("validation") == "test" else ""
    mirrored = ", of two views" if facts.origin.get("test_time_flip") is True else ""
    return f"test accuracy {100 * measured:.1f}%{watched}{mirrored}"


class Shelf:
    """Bundles by number, and the predictors of those asked last. For any number of threads."""

    def __init__(self, bundles: list[Bundle], loaded: int = _LOADED) -> None:
        self.bundles = bundles
        self._most = loaded
        self._predictors: OrderedDict[int, Predictor] = OrderedDict()
        self._lock = threading.Lock()

    def predictor(self, number: int) -> Predictor:
        """The predictor of a bundle. Raises CheckpointError; the next call tries again."""
        with self._lock:  # while it loads, too: two copies of one network would be made otherwise
            if number not in self._predictors:
                self._predictors[number] = Predictor(self.bundles[number].folder)
            self._predictors.move_to_end(number)
            while len(self._predictors) > self._most:
                self._predictors.popitem(last=False)
            return self._predictors[number]
