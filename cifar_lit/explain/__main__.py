"""The command: `python -m cifar_lit.explain <bundle> --what gradcam|confusions|filters|... [-o FOLDER]`."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cifar_lit import runs, terminal
from cifar_lit.explain import confusions, filters, gradcam_grid, loss_landscape, stride_padding
from cifar_lit.explain.request import Request


@dataclass(frozen=True)
class Study:
    """What can be asked for. run: draws it and returns the files. options: those of the command's that mean something to it."""

    run: Callable[[Request], list[Path]]
    about: str
    options: tuple[str, ...]


STUDIES = {
    "gradcam": Study(gradcam_grid.run, "where in an image a class is seen", ("images", "label", "seed")),
    "confusions": Study(confusions.run, "the classes that are most often confused", ("top",)),
    "filters": Study(filters.run, "the first layer's filters, and images as layers see them", ("images", "seed")),
    "loss_landscape": Study(
        loss_landscape.run, "the loss around its weights, trained and untrained", ("images", "seed", "budget", "points", "span")
    ),
    "stride_padding": Study(stride_padding.run, "what stride and padding do to a feature map", ("images", "seed")),
}
_OPTIONS = ("images", "label", "top", "seed", "budget", "points", "span")
_TYPED = {"span": "range"}  # what an option is typed as, where that would hide a name of Python's


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cifar_lit.explain",
        description="Pictures of what a trained network does: "
        + "; ".join(f"{name}: {study.about}" for name, study in STUDIES.items())
        + ".",
    )
    parser.add_argument("bundle", help="a bundle, a run directory, a Lightning checkpoint, or hub:user/name")
    parser.add_argument("--what", required=True, choices=STUDIES, help="what to draw")
    parser.add_argument("-o", "--out", type=Path, help="folder to write to (default: explain/ in the run directory, else here)")
    parser.add_argument("--root", help="folder of the test images (default for CIFAR-100: $CIFAR100_ROOT, else data)")
    parser.add_argument(
        "--images", nargs="+", metavar="FILE", help="your own images instead of test images; for loss_landscape, how many"
    )
    parser.add_argument("--label", metavar="NAME", help="the class to explain (default: the predicted one)")
    parser.add_argument("--top", type=int, metavar="N", help="pairs of classes to draw, 1 to 30 (default: 8)")
    parser.add_argument("--seed", type=int, metavar="N", help="decides which test images are drawn (default: 0)")
    parser.add_argument(
        "--budget",
        choices=loss_landscape.BUDGETS,
        help="how much of the landscape: "
        + ", ".join(f"{name} {n}x{n} points of {count:,} images" for name, (n, count) in loss_landscape.BUDGETS.items())
        + " (default: hour); the other pictures take seconds",
    )
    parser.add_argument(
        "--points", type=int, metavar="N", help="points along each direction, odd, 3 to 201 (default: as --budget says)"
    )
    parser.add_argument("--range", type=float, dest="span", metavar="X", help="how far to go, above 0 to 10 (default: 1)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit status: 1 where nothing could be drawn."""
    parser = _parser()
    given = parser.parse_args(arguments)
    study = STUDIES[given.what]
    options = {name: getattr(given, name) for name in _OPTIONS if getattr(given, name) is not None}
    for name in options:
        if name not in study.options:
            users = ", ".join(user for user, other in STUDIES.items() if name in other.options)
            parser.error(f"--{_TYPED.get(name, name)} is for --what {users}")
    if "top" in options and not 1 <= given.top <= 30:
        parser.error(f"--top {given.top}: allowed is 1 to 30")
    if "points" in options and not (3 <= given.points <= 201 and given.points % 2):
        parser.error(f"--points {given.points}: allowed is an odd number, 3 to 201: the middle is the network itself")
    if "span" in options and not 0 < given.span <= 10:
        parser.error(f"--range {given.span:g}: allowed is above 0, up to 10")
    if "images" in options:
        options["images"] = tuple(given.images)
    try:
        out = given.out or (runs.run_of(Path(given.bundle)) or Path()) / "explain"
        for path in study.run(Request(bundle=given.bundle, out=out, root=given.root, device=given.device, **options)):
            print(path)
            if path.suffix == ".md":
                print(path.read_text(), end="")
    except (ValueError, OSError, ModuleNotFoundError) as error:
        return terminal.failed(error)
    except KeyboardInterrupt:
        print("Stopped. What takes long goes on where it was, with the same command.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
