"""The report on the disk: everything is made first, then every file is put in its place, the page last."""

import io
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from cifar_lit import runs
from cifar_lit.atomic import writing
from cifar_lit.report import figures, fit_table, history, page, tables
from cifar_lit.report.draw import Drawn
from cifar_lit.report.history import METRICS
from cifar_lit.report.page import Contents, Part
from cifar_lit.report.ranking import rank
from cifar_lit.report.subject import Subject
from cifar_lit.report.words import percent, several
from cifar_lit.runs import Run

PAGE = "index.html"
LIST = ".files.json"  # what the last report wrote, so that this one leaves nothing of it behind
MOST_DRAWN = 4  # rankings with figures; beyond them, tables


class NoRuns(ValueError):
    """There are no run directories at all."""


def read(roots: Sequence[Path], title: str, top: int, refresh: int | None = None) -> Contents:
    """Collect, rank and draw. Raises NoRuns where the roots hold no run directory."""
    rows, broken = runs.collect(roots)
    if not rows and not broken:
        raise NoRuns(f"no run directories under {', '.join(map(str, roots))}: train some first, or name a folder that holds runs")
    boards, left = rank(rows, top)
    parts = []
    for board in boards[:MOST_DRAWN]:
        subject = Subject.of(board)
        parts.append(Part(subject, figures.draw_all(subject)))
    left = [(run, _progress(run) if run.status == "running" else reason) for run, reason in left]
    left.sort(key=lambda pair: (pair[0].status != "running", pair[0].status, str(pair[0].path)))
    return Contents(title, tuple(map(str, roots)), tuple(parts), tuple(boards[MOST_DRAWN:]), tuple(left), tuple(broken),
                    datetime.now(), refresh)  # fmt: skip


def _progress(run: Run) -> str:
    """How far a run has come."""
    table = history.read(run.path)
    if not len(table):
        return "in its first epoch"
    accuracy = table[-1, METRICS.index("val/acc")]
    seen = "" if np.isnan(accuracy) else f", validation accuracy {percent(float(accuracy))}%"
    return f"{several(len(table), 'epoch')} done{seen}"


def files(contents: Contents) -> dict[str, bytes]:
    """Every file of a report but the page, by its path."""
    made: dict[str, bytes] = {}
    for part in contents.parts:
        made |= _figures(part)
    if boards := contents.boards:
        made |= {
            "ranking.md": tables.markdown(boards).encode(),
            "ranking.tex": tables.latex(boards).encode(),
            "ranking.csv": tables.ranking_csv(boards).encode(),
        }
    return made


def _figures(part: Part) -> dict[str, bytes]:
    made: dict[str, bytes] = {}
    subject = part.subject
    for drawn in (one for section in part.sections.values() for one in section if isinstance(one, Drawn)):
        made[f"figures/{drawn.name}.png"] = drawn.png
        if (name := f"figures/{drawn.table}.csv") not in made:
            made[name] = tables.table(drawn.columns, drawn.rows).encode()
    if f"figures/{subject.name('curves')}.csv" in made:
        made[f"figures/{subject.name('curves')}.npz"] = curves_npz(subject)
    made[f"figures/{subject.name('overfitting')}.csv"] = tables.table(fit_table.COLUMNS, fit_table.rows(subject)).encode()
    return made


def curves_npz(subject: Subject) -> bytes:
    """The curves as arrays (recipes, epochs): `val/acc mean`, `val/acc low` ...; `recipes` names the rows. NaN: not measured."""
    longest = max(len(curves.mean) for curves in subject.curves.values())
    arrays: dict[str, np.ndarray] = {"recipes": np.array([entry.label for entry in subject.board.entries])}
    for part in ("mean", "low", "high", "n"):
        whole = np.full((len(METRICS), len(subject.curves), longest), 0 if part == "n" else np.nan, np.float32)
        for place, entry in enumerate(subject.board.entries):
            table = getattr(subject.curves[entry.rank], part)
            whole[:, place, : len(table)] = table.T
        arrays |= {f"{name} {part}": whole[index] for index, name in enumerate(METRICS)}
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def write(contents: Contents, out: Path) -> Path:
    """Put a report into a folder; returns the page. Files of an earlier report that this one lacks are removed."""
    made = files(contents) | {PAGE: page.render(contents).encode()}
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; -o takes a folder")
    before = _listed(out)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for name, data in made.items():  # the page is the last of them
        with writing(out / name) as part:
            part.write_bytes(data)
    for name in before - made.keys():
        (out / name).unlink(missing_ok=True)
    with writing(out / LIST) as part:
        part.write_text(json.dumps(sorted(made)))
    return out / PAGE


def _listed(out: Path) -> set[str]:
    """What an earlier report wrote here, as far as it could have been one."""
    try:
        names = json.loads((out / LIST).read_text())
    except (OSError, ValueError):
        return set()
    ours = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return {
        name for name in ours if (path := Path(name)).parent in (Path(), Path("figures")) and path.name == name.split("/")[-1]
    }
