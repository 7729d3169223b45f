"""The page: one HTML file that asks nobody for anything. No script, no font, no address; everything from files is escaped."""

from base64 import b64encode
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path

from cifar_lit.report import fit_table, tables, verdict
from cifar_lit.report.draw import ON_DARK, PALETTE, Drawn
from cifar_lit.report.ranking import Board
from cifar_lit.report.subject import Subject
from cifar_lit.report.words import count, listed, plain, several
from cifar_lit.runs import Broken, Run

STYLE = Path(__file__).with_name("style.css")
_MOST_ROWS = 400  # of a table on the page; the CSV has all
_MOST_LEFT = 100
# Nothing but what is in the file: should something slip through the escaping, it is neither run nor fetched.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Part:
    """A ranking with its figures by section; sentences stand for figures that could not be drawn."""

    subject: Subject
    sections: dict[str, list[Drawn | str]]


@dataclass(frozen=True)
class Contents:
    """What the page says. plain_boards: rankings beyond those that are drawn."""

    title: str
    places: tuple[str, ...]
    parts: tuple[Part, ...]
    plain_boards: tuple[Board, ...]
    left: tuple[tuple[Run, str], ...]
    broken: tuple[Broken, ...]
    made: datetime
    refresh: int | None = None

    @property
    def boards(self) -> list[Board]:
        """Every ranking."""
        return [part.subject.board for part in self.parts] + list(self.plain_boards)


def render(contents: Contents) -> str:
    """The whole page."""
    title = escape(plain(contents.title, 120))
    refresh = f'<meta http-equiv="refresh" content="{contents.refresh}">' if contents.refresh else ""
    icon = b64encode(
        b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path d="M1 7V4h1v3zm2 0V2h1v5zm2 0V1h1v6z"/></svg>'
    )
    body = [_head(contents), *(_part(part) for part in contents.parts), *(_plain(board) for board in contents.plain_boards)]
    body += [_left(contents), _method(contents)]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">{refresh}
<title>{title}</title><link rel="icon" href="data:image/svg+xml;base64,{icon.decode()}">
<style>{_colours()}{STYLE.read_text()}</style></head>
<body><main>
{chr(10).join(part for part in body if part)}
</main></body></html>
"""


def _colours() -> str:
    light, dark = (" ".join(f"--c{i}: {colour};" for i, colour in enumerate(colours)) for colours in (PALETTE, ON_DARK))
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ @media screen {{ :root {{ {dark} }} }} }}\n"


def _head(contents: Contents) -> str:
    ranked = sum(len(board.runs) for board in contents.boards)
    states = Counter(run.status for run, _ in contents.left)
    words = [f"{several(ranked, 'run')} ranked", *(f"{n} {escape(state)}" for state, n in sorted(states.items()))]
    words += [f"{len(contents.broken)} unreadable"] if contents.broken else []
    places = listed([f"<code>{escape(plain(place, 80))}</code>" for place in contents.places])
    live = f" Being rewritten every {contents.refresh} s." if contents.refresh else ""
    links = "".join(
        f'<a href="#{b.slug}">{escape(b.kind.title)} <small>{escape(b.kind.where)}</small></a>' for b in contents.boards
    )
    files = " · ".join(f'<a href="{name}">{name}</a>' for name in ("ranking.md", "ranking.tex", "ranking.csv"))
    about = f"{' · '.join(words)}. From {places}, {contents.made:%Y-%m-%d %H:%M}.{live}"
    if not contents.boards:
        about += "</p><p class='note'>No finished run yet: there is nothing to rank."
    tables_for_papers = f"<p class='files'>Tables for papers: {files}</p>" if contents.boards else ""
    return (
        f"<header><h1>{escape(plain(contents.title, 120))}</h1><p>{about}</p>"
        f"{f'<nav>{links}</nav>' if links else ''}{tables_for_papers}</header>"
    )


def _board_head(board: Board) -> str:
    mark = '<span class="mark" title="not comparable with held-out runs">⚠ watched the test</span> ' if board.kind.watched else ""
    said, *more = verdict.sentences(board)
    sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in more)
    longer = len(board.entries) - _MOST_ROWS
    note = f"<p class='note'>{longer:,} more recipes are in ranking.csv.</p>" if longer > 0 else ""
    return (
        f'<h2 id="{board.slug}">{mark}{escape(board.kind.title)} <small>{escape(board.kind.where)}</small></h2>'
        f"<p>{escape(said)}</p><ul class='verdict'>{sentences}</ul>"
        f"<div class='scroll' tabindex='0' role='region' aria-label='Ranking'>{tables.html(board, _MOST_ROWS)}</div>{note}"
    )


def _part(part: Part) -> str:
    board = part.subject.board
    sections = [_board_head(board), fit_table.html(part.subject)]
    for name, drawn in part.sections.items():
        figures = "".join(_figure(one) for one in drawn if isinstance(one, Drawn))
        notes = "".join(f"<p class='note'>{escape(one)}</p>" for one in drawn if isinstance(one, str))
        if figures or notes:
            sections.append(f"<h3>{escape(name)}</h3><div class='figures'>{figures}</div>{notes}")
    return f"<section class='{'watched' if board.kind.watched else 'held-out'}'>{''.join(sections)}</section>"


def _plain(board: Board) -> str:
    return f"<section class='{'watched' if board.kind.watched else 'held-out'}'>{_board_head(board)}</section>"


def _figure(drawn: Drawn) -> str:
    links = f'<a href="figures/{drawn.name}.png">PNG</a> · <a href="figures/{drawn.table}.csv">CSV</a>'
    if drawn.table.endswith("-curves"):
        links += f' · <a href="figures/{drawn.table}.npz">NPZ</a>'
    words = f'{escape(drawn.caption)} <span class="links">{links}</span>'
    return f'<figure id="{drawn.name}">{drawn.svg}<figcaption>{words}</figcaption></figure>'


def _left(contents: Contents) -> str:
    rows = [(str(run.path), run.status, reason) for run, reason in contents.left]
    rows += [(str(broken.path), "unreadable", broken.reason) for broken in contents.broken]
    if not rows:
        return ""
    lines = "".join(
        f'<tr><th scope="row" title="{escape(path)}">{escape(plain(path, 70))}</th><td>{escape(state)}</td>'
        f"<td>{escape(plain(reason, 160))}</td></tr>"
        for path, state, reason in rows[:_MOST_LEFT]
    )
    heads = "".join(f"<th scope='col'>{head}</th>" for head in ("run", "status", "reason"))
    more = f"<p class='note'>and {count(len(rows) - _MOST_LEFT)} more.</p>" if len(rows) > _MOST_LEFT else ""
    return (
        "<section><h2 id='not-ranked'>Not ranked</h2><div class='scroll' tabindex='0' role='region' aria-label='Not ranked'>"
        f"<table class='left'><thead><tr>{heads}</tr></thead>"
        f"<tbody>{lines}</tbody></table></div>{more}</section>"
    )


def _method(contents: Contents) -> str:
    if not contents.boards:
        return ""
    return """<section class="method"><h2>How to read it</h2><ul>
<li>A recipe is runs that differ in nothing but their seed. ± is half a 95% interval of the mean (Student's t): with three seeds
it is 2.5 times their deviation.</li>
<li>Differences are taken seed by seed where two seeds are in common (paired t test), else by Welch's test. Holm's correction is
for the number of recipes compared with #1. It does not undo that #1 was picked as the highest of many: what ranks first is a
little lucky, and a few more seeds of the first two settle it.</li>
<li>Whatever helps to choose (order, Pareto front, heat maps, what mattered) is by validation accuracy where images were held
out.</li>
<li>In the CSV files accuracies are fractions and times are seconds.</li>
</ul></section>"""
