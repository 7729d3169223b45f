"""A peer's own command beside ours: seconds of whole processes, and a number out of what each printed.

    python -m benchmarks.against --theirs "python main.py --epochs 1" --theirs-dir ~/peer --ours "python train.py ..."
                                 [--ours-dir .] [--pairs 3] [--pattern 'accuracy: ([0-9.]+)'] [--theirs-pattern REGEX]
                                 [--ours-pattern REGEX] [--json FILE]

The commands are the shell's, each run in its folder; who is first alternates. A pattern has one group, and its last match
counts, standard error being read after standard output. The first command that fails ends it, with exit status 1.
"""

import argparse
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.results import save


class CommandError(Exception):
    """A command failed, or did not print what it should; in one line."""


@dataclass
class Side:
    """One of the two, and what was measured of it."""

    name: str
    command: str
    folder: Path
    pattern: str | None
    seconds: list[float] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Run the command once more. Raises CommandError."""
        start = time.perf_counter()
        done = subprocess.run(self.command, shell=True, cwd=self.folder, capture_output=True, text=True, errors="replace")
        taken = time.perf_counter() - start
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["(nothing on standard error)"])[-1]
            raise CommandError(f"{self.name}: {self.command}: exit status {done.returncode}: {last}")
        self.seconds.append(taken)
        if self.pattern is not None:
            self.numbers.append(self._number(f"{done.stdout}\n{done.stderr}"))

    def _number(self, output: str) -> float:
        assert self.pattern is not None
        found = re.findall(self.pattern, output)
        try:
            return float(found[-1])
        except (IndexError, ValueError):
            what = f"found {found[-1]!r}, no number" if found else "found nothing"
            raise CommandError(f"{self.name}: {self.command}: pattern {self.pattern!r} {what}") from None

    def measured(self) -> dict[str, Any]:
        return {
            "command": self.command,
            "git": commit(self.folder),
            "seconds": self.seconds,
            "median_seconds": statistics.median(self.seconds),
            **({"pattern": self.pattern, "numbers": self.numbers} if self.pattern is not None else {}),
        }


def commit(folder: Path) -> str | None:
    """The commit of a checkout, with `+` where tracked files differ from it; None outside one."""
    git = ["git", "-C", str(folder)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "")


def one_group(text: str) -> str:
    """A regular expression with one group, as an option's type."""
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    if groups != 1:
        raise argparse.ArgumentTypeError(f"{text!r} has {groups} groups: allowed is 1, around the number")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--theirs", required=True, metavar="COMMAND")
    parser.add_argument("--theirs-dir", required=True, type=Path, metavar="PATH")
    parser.add_argument("--ours", required=True, metavar="COMMAND")
    parser.add_argument("--ours-dir", default=Path(), type=Path, metavar="PATH")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--pattern", type=one_group, metavar="REGEX", help="of both, where neither has its own")
    parser.add_argument("--theirs-pattern", type=one_group, metavar="REGEX")
    parser.add_argument("--ours-pattern", type=one_group, metavar="REGEX")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.pairs < 1:
        parser.error(f"--pairs {arguments.pairs}: allowed is 1 or more")
    for folder in (arguments.theirs_dir, arguments.ours_dir):
        if not folder.is_dir():
            parser.error(f"{folder}: no such folder")
    theirs = Side("theirs", arguments.theirs, arguments.theirs_dir, arguments.theirs_pattern or arguments.pattern)
    ours = Side("ours", arguments.ours, arguments.ours_dir, arguments.ours_pattern or arguments.pattern)

    for pair in range(arguments.pairs):
        try:
            for side in (ours, theirs) if pair % 2 else (theirs, ours):
                side.run()
        except CommandError as error:
            sys.exit(str(error))
        said = [f"{s.name} {s.seconds[-1]:.2f} s" + (f" ({s.numbers[-1]:g})" if s.numbers else "") for s in (theirs, ours)]
        print(f"pair {pair + 1}: {', '.join(said)}, ratio {theirs.seconds[-1] / ours.seconds[-1]:.3f}", flush=True)
    ratios = [their / our for their, our in zip(theirs.seconds, ours.seconds, strict=True)]
    for side in (theirs, ours):
        number = f", printed {statistics.median(side.numbers):g}" if side.numbers else ""
        print(f"{side.name:<6} median {statistics.median(side.seconds):.2f} s{number}: {side.command}")
    print(f"median ratio, theirs to ours: {statistics.median(ratios):.3f}")
    if arguments.json:
        both = {side.name: side.measured() for side in (theirs, ours)}
        save(arguments.json, {"benchmark": "against", **both, "ratios": ratios, "ratio": statistics.median(ratios)})


if __name__ == "__main__":
    main()
