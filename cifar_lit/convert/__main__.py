"""Command line of the converter."""

import argparse
import sys
from pathlib import Path

from cifar_lit import terminal
from cifar_lit.bundle import CheckpointError, regular
from cifar_lit.convert import Converted, ConvertError, Options, check_output, read, write
from cifar_lit.pickles.limits import printable

_MOST_BYTES = 1 << 20  # of a file of class names


def main(arguments: list[str] | None = None) -> int:
    """Convert one file; the exit status: 0, or 1 where it could not be, said in one line on standard error."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.output is None and not given.dry_run:
        parser.error("-o FOLDER says where the bundle goes; with --dry-run none is written")
    try:
        options = Options(
            classes=None if given.classes is None else _names(given.classes),
            mean=_three(given.mean),
            std=_three(given.std),
            image_size=given.image_size,
            title=given.title,
            license=given.license,
            weights=given.weights,
        )
        if not given.dry_run:
            check_output(given.output, force=given.force)  # before any slow work
        converted = read(given.source, options)
        if not given.dry_run:
            write(converted, given.output, force=given.force)
        _report(converted, None if given.dry_run else given.output)
    except KeyboardInterrupt:
        return 130
    except (ConvertError, CheckpointError, OSError) as error:
        return terminal.failed(error, 700)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cifar_lit.convert",
        description="Make a bundle of a checkpoint from elsewhere. Nothing in the file is run: it is read as plain data.",
    )
    parser.add_argument("source", type=Path, help="a .pth, .pt, .bin, .pkl, .ckpt or .safetensors file")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="the bundle to write")
    parser.add_argument("--classes", type=Path, metavar="FILE", help="names, one a line; default: CIFAR-100's, if there are 100")
    parser.add_argument("--mean", type=float, nargs=3, metavar=("R", "G", "B"), help="of the pixels, of 1; default: CIFAR-100's")
    parser.add_argument("--std", type=float, nargs=3, metavar=("R", "G", "B"), help="of the pixels, of 1; default: CIFAR-100's")
    parser.add_argument("--image-size", type=int, default=32, metavar="PIXELS", help="height and width; default: 32")
    parser.add_argument("--title", help="of the model card; default: the name of the file")
    parser.add_argument("--license", default="unknown", help="of the weights, as the Hub names it; default: unknown")
    parser.add_argument("--weights", metavar="PLACE", help="which weights, where there are several, such as ema.module")
    parser.add_argument("--force", action="store_true", help="replace a bundle that is there")
    parser.add_argument("--dry-run", action="store_true", help="only say what is in the file")
    return parser


def _three(values: list[float] | None) -> tuple[float, float, float] | None:
    return None if values is None else (values[0], values[1], values[2])


def _names(path: Path) -> tuple[str, ...]:
    text = regular(path).read_bytes()[:_MOST_BYTES]
    try:
        return tuple(line.strip() for line in text.decode("utf-8-sig").splitlines() if line.strip())
    except UnicodeDecodeError:
        raise ConvertError(f"{path}: no text; allowed is one class name a line, in UTF-8") from None


def _report(converted: Converted, folder: Path | None) -> None:
    facts = converted.facts
    described = ", ".join(f"{name} {value}" for name, value in facts.network.items() if name != "network")
    lines = {
        "file": f"{printable(converted.source)} ({converted.format})",
        "weights": f"{converted.place}: {converted.parameters:,} parameters",
        "network": f"{facts.network['network']} ({described})",
        "images": f"{facts.image_size[0]}x{facts.image_size[1]}, mean {facts.mean}, std {facts.std}",
        "classes": ", ".join(map(printable, facts.classes[:4])) + (", ..." if len(facts.classes) > 4 else ""),
    }
    for name, words in lines.items():
        print(f"{name:8} {words}")
    for note in facts.notes:
        print(f"note     {note}")
    print(f"bundle   {printable(folder)}" if folder is not None else "nothing was written (--dry-run)")


if __name__ == "__main__":
    sys.exit(main())
