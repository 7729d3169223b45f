"""The command: `python -m cifar_lit.app [BUNDLE_OR_RUN ...]`, and with `--export FOLDER --bundle BUNDLE` a Space."""

import argparse
import os
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cifar_lit.app", description="A web page that says what is in a picture.")
    parser.add_argument("places", nargs="*", type=Path, metavar="BUNDLE_OR_RUN", default=[Path("runs")],
                        help="bundles, run directories or folders of them (default: runs/)")  # fmt: skip
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 lets other machines in (default: 127.0.0.1)"
    )
    parser.add_argument("--port", type=int, default=7860, help="port to listen at (default: 7860)")
    parser.add_argument("--examples", type=Path, metavar="FOLDER",
                        help="images to choose from on the page (default: $CIFAR100_ROOT/test, where there is one)")  # fmt: skip
    parser.add_argument(
        "--export", type=Path, metavar="FOLDER", help="write the app as a Hugging Face Space instead of serving it"
    )
    parser.add_argument("--bundle", type=Path, help="the bundle, or the run, that the Space shows")
    parser.add_argument("--force", action="store_true", help="replace what the Space's folder holds")
    given = parser.parse_args(arguments)
    if (given.export is None) != (given.bundle is None):
        parser.error("--export and --bundle go together: --export space/ --bundle runs/...")
    try:
        if given.export:
            from cifar_lit.app.space import export  # a Space has the rest of the app, and not this

            export(given.export, given.bundle, examples=given.examples, force=given.force)
            print(f"{given.export}: a Space; python {given.export / 'app.py'} starts it here")
            return 0
        from cifar_lit.app.serve import serve  # slow to import, and not needed to export

        return serve(given.places, host=given.host, port=given.port, examples=given.examples or _default_examples())
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError) as error:
        if os.environ.get("CIFAR_LIT_TRACEBACK") == "1":
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def _default_examples() -> Path | None:
    """The test images, where the environment says that they are there as files."""
    root = os.environ.get("CIFAR100_ROOT")
    folder = Path(root, "test") if root else None
    return folder if folder and folder.is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
