"""How long the tests take, from what pytest wrote down of them.

    PYTEST_ADDOPTS=--junitxml=whole.xml make test; PYTEST_ADDOPTS=--junitxml=fast.xml make test-fast
    python -m benchmarks.suite whole.xml fast.xml [--json FILE]

Seconds are pytest's, of both processes' start and end too. How many were skipped depends on the machine: a GPU, a browser.
"""

import argparse
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.results import save

WANTED = {"whole": 8 * 60, "fast": 90}  # seconds on two cores


def read(path: Path) -> dict[str, float]:
    """Tests, those skipped and failed among them, and seconds, of a file as pytest writes it. Raises ValueError, OSError."""
    try:
        suite = ElementTree.parse(path).find("testsuite")
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: not what pytest writes with --junitxml ({error})") from error
    if suite is None:
        raise ValueError(f"{path}: not what pytest writes with --junitxml")
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return {"tests": int(suite.get("tests", 0)), "skipped": int(suite.get("skipped", 0)), "failed": failed,
            "seconds": float(suite.get("time", 0.0))}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whole", type=Path, help="of make test")
    parser.add_argument("fast", type=Path, help="of make test-fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers, with hardware and versions")
    args = parser.parse_args()
    try:
        found = {name: read(getattr(args, name)) for name in WANTED}
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from error
    for name, row in found.items():
        passed = row["tests"] - row["skipped"] - row["failed"]
        print(f"{name:<6} {passed:,.0f} passed, {row['skipped']:.0f} skipped, {row['failed']:.0f} failed: {row['seconds']:.0f} s")
    if args.json:
        save(args.json, {"benchmark": "suite", **found})


if __name__ == "__main__":
    main()
