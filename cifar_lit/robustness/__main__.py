"""The command: `python -m cifar_lit.robustness <bundle> [--ood FOLDER] [--limit N]`."""

import argparse
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cifar_lit import bundle, checkpoint, hub, runs, terminal
from cifar_lit.bundle import Facts
from cifar_lit.cores import cores
from cifar_lit.data import cifar100, of_bundle
from cifar_lit.data.dataset import DataError
from cifar_lit.predict import Predictor
from cifar_lit.robustness import files, official
from cifar_lit.robustness.official import Official
from cifar_lit.robustness.study import Study

SCHEMA = 1
_LIBRARIES = ("torch", "numpy", "scipy", "opencv-python-headless", "pillow", "torchmetrics", "matplotlib")
_GENERATED = (
    "Generated images: {why}, so this program made the corrupted images from the test images, by the published descriptions and"
    " with the constants published for CIFAR (Hendrycks and Dietterich 2019), but with random numbers of its own. These numbers"
    " are not comparable to published ones, those of frost least of all: the original's photographs of frost are stood in for by"
    " drawn noise."
)
_OFFICIAL = "Official images: the corrupted images are CIFAR-100-C's own files (Hendrycks and Dietterich 2019). {how}"
_WHOLE = "These numbers are comparable to published ones on CIFAR-100-C."
_SAMPLE = (
    "Only a sample of them was used, and not of the same images as the clean ones: these numbers are estimates of published ones."
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cifar_lit.robustness",
        description="A page on how a network does on corrupted test images (those of CIFAR-100-C), how calibrated it is,"
        " and whether it can tell images of other things.",
    )
    parser.add_argument("bundle", help="a bundle, a run directory, a Lightning checkpoint, or hub:user/name")
    parser.add_argument("-o", "--out", type=Path, help="folder to write to (default: robustness/ in the run, else here)")
    parser.add_argument("--root", help="folder of the test images (default for CIFAR-100: $CIFAR100_ROOT, else data)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--corrupted", type=Path, metavar="FOLDER", help="CIFAR-100-C's files (default: CIFAR-100-C/ in the root)")
    which.add_argument("--generate", action="store_true", help="generate the corrupted images even where the files are")
    parser.add_argument("--ood", type=Path, metavar="FOLDER", help="any images of other things than the classes")
    parser.add_argument("--limit", type=int, metavar="N", help="so many test images, of each class its share (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="decides the noise of generated images (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit status: 1 where nothing could be measured, 130 after Ctrl-C."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.limit is not None and given.limit < 1:
        parser.error(f"--limit {given.limit}: allowed is 1 or more")
    try:
        page = run(given)
        if sys.stderr.isatty():
            print(file=sys.stderr)
        print(page)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, ModuleNotFoundError) as error:
        return terminal.failed(error)
    return 0


def run(given: argparse.Namespace) -> Path:
    """Measure, and write the files. Returns the page."""
    began = time.monotonic()
    path = hub.place(given.bundle)
    predictor = Predictor(path, device=given.device)
    facts = predictor.facts
    out = given.out or (runs.run_of(path) or Path()) / "robustness"
    tests = of_bundle.load(facts.data, facts.classes, facts.image_size, given.root, facts.origin.get("overrides"))
    arrays, why = _official(given, facts)
    if given.ood and not given.ood.is_dir():
        raise DataError(f"{given.ood}: there is no such folder; --ood wants one with images of other things than the classes")
    files.prepare(out).rmdir()  # whether it can be written to, before the work
    limit = given.limit if given.limit is not None and given.limit < len(tests.test.labels) else None
    study = Study(predictor=predictor, tests=tests.test, official=arrays, others=given.ood, limit=limit, seed=given.seed,
                  threads=cores())  # fmt: skip
    numbers = study.run(_say)
    words = _GENERATED.format(why=why) if arrays is None else _OFFICIAL.format(how=_WHOLE if limit is None else _SAMPLE)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "title": facts.title,
        "sha256": bundle.digest(weights(path)),
        "data": facts.data,
        "classes": len(facts.classes),
        "temperature": facts.temperature,
        "seed": given.seed,
        "limit": limit,
        "device": predictor.device,
        "seconds": round(time.monotonic() - began, 1),
        "versions": _versions(),
        "source": {"kind": "generated" if arrays is None else "official", "words": words},
        **numbers,
    }
    page = files.write(record, out)
    _say(
        f"accuracy {100 * record['clean']['acc']:.1f}% clean, {100 * record['mean']['acc']:.1f}% corrupted"
        f" ({record['source']['kind']} images)"
    )
    return page


def _official(given: argparse.Namespace, facts: Facts) -> tuple[Official | None, str]:
    """CIFAR-100-C's files, or None and why they are not used. Raises DataError."""
    if given.generate:
        return None, "--generate was given"
    fits = facts.data == "cifar100" and facts.classes == cifar100.CLASSES and facts.image_size == official.SHAPE[1:3]
    if given.corrupted is None:
        place = of_bundle.cifar100_root(given.root) / official.FOLDER
        if not fits:
            return None, "CIFAR-100-C is of other images than this network's"
        if not place.is_dir():
            return None, "the official CIFAR-100-C files were not there"
        return official.load(place, len(facts.classes)), ""
    if not fits:
        raise DataError(
            f"{given.corrupted}: CIFAR-100-C goes with networks of CIFAR-100's classes and 32x32 pixels, and this one has"
            f" {len(facts.classes)} classes of {facts.data}; leave --corrupted out to have images generated"
        )
    return official.load(given.corrupted, len(facts.classes)), ""


def weights(path: Path) -> Path:
    """The file that the network's weights came from."""
    found = checkpoint.source(path)
    return found / bundle.WEIGHTS if found.is_dir() else found


def _versions() -> dict[str, str]:
    """Of Python and of the libraries that are installed by these names: OpenCV comes under several."""
    found = {"python": sys.version.split()[0]}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _say(line: str) -> None:
    """Tell of the progress: over the line before on a terminal, else below it."""
    over = sys.stderr.isatty()
    print(f"\r\033[K{line}" if over else line, end="" if over else "\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
