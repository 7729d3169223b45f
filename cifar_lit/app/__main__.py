"""The command: `python -m cifar_lit.app [BUNDLE_OR_RUN ...]`, and with `--export FOLDER --bundle BUNDLE` a Space."""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL.Image import Image, fromarray

from cifar_lit import hub, terminal
from cifar_lit.app.examples import MOST, images
from cifar_lit.bundle import Facts
from cifar_lit.data.dataset import DataError
from cifar_lit.pictures import PictureError


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cifar_lit.app", description="A web page that says what is in a picture.")
    parser.add_argument("places", nargs="*", metavar="BUNDLE_OR_RUN", default=["runs"],
                        help="bundles, run directories, folders of them, or hub:user/name (default: runs/)")  # fmt: skip
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 lets other machines in (default: 127.0.0.1)"
    )
    parser.add_argument("--port", type=int, default=7860, help="port to listen at (default: 7860)")
    parser.add_argument("--examples", type=Path, metavar="FOLDER",
                        help="images to choose from on the page (default: test images of what the first network was "
                        "trained on, where they are at hand; with --export none)")  # fmt: skip
    parser.add_argument(
        "--export", type=Path, metavar="FOLDER", help="write the app as a Hugging Face Space instead of serving it"
    )
    parser.add_argument("--bundle", help="the bundle, the run, or hub:user/name, that the Space shows")
    parser.add_argument("--force", action="store_true", help="replace what the Space's folder holds")
    given = parser.parse_args(arguments)
    if (given.export is None) != (given.bundle is None):
        parser.error("--export and --bundle go together: --export space/ --bundle runs/...")
    try:
        if given.export:
            from cifar_lit.app.space import export  # a Space has the rest of the app, and not this

            export(given.export, hub.place(given.bundle), examples=given.examples, force=given.force)
            print(f"{given.export}: a Space; python {given.export / 'app.py'} starts it here")
            return 0
        from cifar_lit.app.serve import serve  # slow to import, and not needed to export

        places = [hub.place(name) for name in given.places]
        return serve(places, host=given.host, port=given.port, examples=given.examples or _of_its_data)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError) as error:
        return terminal.failed(error)


def _of_its_data(facts: Facts) -> list[Image]:
    """Test images, evenly chosen, of the data that a network was trained on; none where they are not at hand."""
    from cifar_lit.data import of_bundle  # reads images, for which a Space has no use

    folder = of_bundle.cifar100_root(None) / "test"
    try:
        if facts.data == "cifar100" and folder.is_dir():  # a look at eight files, where all would have to be decoded first
            return images(folder, MOST)
        test = of_bundle.load(facts.data, facts.classes, facts.image_size, None, facts.origin.get("overrides")).test
    except (DataError, PictureError):
        return []
    return [fromarray(np.array(test.images[number * len(test.labels) // MOST])) for number in range(MOST)]


if __name__ == "__main__":
    sys.exit(main())
