"""What figures are drawn of: a ranking, its curves, and the files of its first recipes, read when asked for and once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cifar_lit.report import history
from cifar_lit.report.history import Curves
from cifar_lit.report.overfitting import Fit, fit
from cifar_lit.report.ranking import Board, Entry
from cifar_lit.report.words import apart


@dataclass(frozen=True)
class Subject:
    """A ranking with what its runs recorded. curves, fits: by rank, of every recipe."""

    board: Board
    curves: dict[int, Curves]
    fits: dict[int, Fit]
    cache: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, board: Board) -> "Subject":
        """Read the curves of a ranking's runs."""
        curves = {entry.rank: history.curves(entry.recipe.runs) for entry in board.entries}
        return cls(board, curves, {entry.rank: fit(entry, curves[entry.rank]) for entry in board.entries})

    @property
    def first(self) -> tuple[Entry, ...]:
        """The recipes that are drawn."""
        return self.board.first

    @property
    def best(self) -> Entry:
        """The first of the ranking."""
        return self.board.entries[0]

    @property
    def slug(self) -> str:
        """What the names of the ranking's files begin with."""
        return self.board.slug

    def names(self, entries: Sequence[Entry], most: int = 54) -> list[str]:
        """Recipes in a figure: the place of each in the ranking, and what sets it apart from the others there."""
        labels = apart([entry.label for entry in entries], most)
        return [f"{entry.rank}  {label}" for entry, label in zip(entries, labels, strict=True)]

    def name(self, figure: str) -> str:
        """The name of a figure's files."""
        return f"{self.slug}-{figure}"

    def of_runs(self, entry: Entry, reader: Callable[[Path], Any | None]) -> list[Any]:
        """What the runs of a recipe recorded, without those that did not; all of the same classes as the first of them."""
        key = (entry.rank, reader)
        if key not in self.cache:
            found = [record for run in entry.recipe.runs if (record := reader(run.path)) is not None]
            classes = getattr(found[0], "classes", None) if found else None
            self.cache[key] = [record for record in found if getattr(record, "classes", None) == classes]
        return self.cache[key]

    def lacking(self, file: str, reader: Callable[[Path], Any | None], entry: Entry | None = None) -> str:
        """A sentence that says which runs of a recipe, by default the first, lack a file; empty where none does."""
        entry = entry or self.best
        without = [run.path.name for run in entry.recipe.runs if reader(run.path) is None]
        if not without:
            return ""
        runs = "Its run has" if len(entry.recipe.runs) == 1 else f"{len(without)} of its {len(entry.recipe.runs)} runs have"
        shown = ", ".join(str(run.path) for run in entry.recipe.runs[:3] if run.path.name in without)
        return f"{runs} no readable {file} ({shown})."
