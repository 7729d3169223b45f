"""The command: `python -m cifar_lit.report [RUNS ...] [-o report/] [--live [SECONDS]]`."""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cifar_lit import terminal
from cifar_lit.report import verdict, write
from cifar_lit.report.page import Contents
from cifar_lit.report.ranking import TEST
from cifar_lit.report.words import brief, percent_interval, plain, points, seconds, several

LIVE_SECONDS = 20
_QUIET = 2  # looks in a row without a run going: between two jobs of a sweep there is a moment without


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cifar_lit.report", description="One page that compares runs.")
    parser.add_argument("roots", nargs="*", type=Path, metavar="RUNS", default=[Path("runs")],
                        help="run directories or folders of them (default: runs/)")  # fmt: skip
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("report"), metavar="FOLDER", help="where to write (default: report/)"
    )
    parser.add_argument("--title", default="Comparison of runs", help="the page's heading")
    parser.add_argument(
        "--top", type=int, default=8, metavar="K", help="recipes in a figure, 1 to 16 (default: 8); tables have all"
    )
    parser.add_argument(
        "--live", type=int, nargs="?", const=LIVE_SECONDS, metavar="SECONDS",
        help=f"write the page again every so often while runs are going (default: {LIVE_SECONDS})",
    )  # fmt: skip
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit status: 1 where there are no runs."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if not 1 <= given.top <= 16:
        parser.error(f"--top {given.top}: allowed is 1 to 16")
    if given.live is not None and not 1 <= given.live <= 3600:
        parser.error(f"--live {given.live}: allowed is 1 to 3600 seconds")
    try:
        missing = [str(root) for root in given.roots if not root.is_dir()]
        if missing:
            raise ValueError(f"{', '.join(missing)}: no such folder; name run directories or folders of them")
        if given.live is not None:
            _live(given.roots, given.out, given.title, given.top, given.live)
        else:
            contents = write.read(given.roots, given.title, given.top)
            page = write.write(contents, given.out)
            _say(contents)
            print(page)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError) as error:
        return terminal.failed(error)
    return 0


def _live(roots: list[Path], out: Path, title: str, top: int, every: int) -> None:
    """Write the page, and again every few seconds while runs are going; the last page does not reload itself."""
    quiet = 0
    while True:
        contents = write.read(roots, title, top, every)
        going = sum(run.status == "running" for run, _ in contents.left)
        quiet = 0 if going else quiet + 1
        if quiet == _QUIET:
            break
        try:
            page = write.write(contents, out)
            ranked = sum(len(board.runs) for board in contents.boards)
            print(f"{contents.made:%H:%M:%S}  {several(going, 'run')} going, {ranked} ranked: {page}", flush=True)
            time.sleep(every)
        except KeyboardInterrupt:
            write.write(replace(contents, refresh=None), out)
            raise
    page = write.write(replace(contents, refresh=None), out)
    _say(contents)
    print(f"{page}: nothing is running any more")


def _say(contents: Contents) -> None:
    """The rankings on the terminal."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    for board in contents.boards:
        table = Table(title=Text(f"{board.kind.title} ({board.kind.where})"), title_justify="left")
        score = [] if board.kind.watched else ["validation"]
        for head in ("#", "recipe", "seeds", *score, "test", "to #1", "time"):
            table.add_column(head, justify="left" if head == "recipe" else "right")
        for entry in board.entries[: board.top]:
            test, to_first = percent_interval(entry.columns[TEST]), points(entry.test.mean) if entry.test else ""
            shown = [] if board.kind.watched else [percent_interval(entry.columns[board.kind.score])]
            row: list[str | Text] = [
                str(entry.rank),
                Text(plain(brief(entry.label), 60)),
                str(entry.seeds),
                *shown,
                test,
                to_first,
            ]
            table.add_row(*row, seconds(entry.mean("train_seconds")))
        console.print(table)
        if len(board.entries) > board.top:
            console.print(f"and {len(board.entries) - board.top} more", style="dim")
        for sentence in verdict.sentences(board)[1:3]:
            console.print(Text(sentence))
    if contents.left or contents.broken:
        console.print(Text(f"Not ranked: {several(len(contents.left) + len(contents.broken), 'run')}; the page says why."))


if __name__ == "__main__":
    sys.exit(main())
