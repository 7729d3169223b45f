"""`--export`: the app and one bundle as a folder that runs as a Hugging Face Space, or anywhere, by itself."""

import ast
import json
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from cifar_lit import bundle
from cifar_lit.app.examples import MOST, images
from cifar_lit.bundle import CARD, CONFIG, WEIGHTS, Facts

_ROOT = Path(__file__).parents[2]
_PACKAGE = "cifar_lit"
_ENTRY = f"{_PACKAGE}.app.serve"
_DATA = ("*.css", "*.js")  # beside the modules, and needed by them
# Distributions whose names are not their modules'; and what comes with gradio, which alone knows what it can work with.
_NAMES = {"PIL": "pillow", "huggingface_hub": "huggingface-hub"}
_WITH_GRADIO = {"starlette"}

_APP = '''"""What the network in `bundle/` sees in a picture. `python app.py`, then http://127.0.0.1:7860."""

import os
import sys
from pathlib import Path

from cifar_lit.app.serve import AppError, serve

here = Path(__file__).parent
try:
    status = serve(
        [here / "bundle"],
        host=os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1"),
        port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
        examples=here / "examples" if (here / "examples").is_dir() else None,
    )
except AppError as error:
    sys.exit(f"error: {error}")
sys.exit(status)
'''

_README = """---
title: {title}
sdk: gradio
sdk_version: {gradio}
python_version: "3.12"
app_file: app.py
license: {license}
pinned: false
---

A page that says what is in a picture, with the network in `bundle/`, whose card says how good it is.
Here: `pip install -r requirements.txt`, then `python app.py`.
"""


class SpaceError(ValueError):
    """A Space that cannot be written; one line."""


def export(folder: Path, source: Path, *, examples: Path | None = None, force: bool = False) -> None:
    """Write the Space, whole or not at all. source: a bundle, or a run with one. examples: images to show with it.

    With `force` into a folder that holds something: what has the name of a part of the Space is replaced, the rest stays.
    Raises CheckpointError, PictureError, SpaceError.
    """
    place = bundle.find(source) or source / "model"
    facts = bundle.read(place)
    bundle.verified(place, WEIGHTS)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not force:
        raise SpaceError(f"{folder}: not empty; give another folder, or --force to replace the Space in it")
    folder = folder.absolute()  # `.`, as in a Space that was cloned, has no name to put another folder beside
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        modules = closure(_ENTRY)
        for path in modules.values():
            _copy(path, part / path.relative_to(_ROOT))
        for data in (data for pattern in _DATA for data in Path(__file__).parent.glob(pattern)):
            _copy(data, part / data.relative_to(_ROOT))
        for name in (CONFIG, WEIGHTS, CARD):
            if (place / name).exists():
                _copy(place / name, part / "bundle" / name)
        if examples:
            (part / "examples").mkdir()
            for number, image in enumerate(images(examples, MOST)):
                image.save(part / "examples" / f"{number}.png")
        (part / "app.py").write_text(_APP)
        (part / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements(modules, facts)))
        (part / "README.md").write_text(
            _README.format(title=json.dumps(facts.title), gradio=version("gradio"), license=_license(place / CARD))
        )
        (part / ".gitattributes").write_text(
            "*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.png filter=lfs diff=lfs merge=lfs -text\n"
        )
        _move(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _license(card: Path) -> str:
    """What the card of the weights says of their licence."""
    found = re.search(r"^license: ([a-z0-9.-]+)$", card.read_text() if card.exists() else "", re.MULTILINE)
    return found.group(1) if found else "unknown"


def closure(entry: str) -> dict[str, Path]:
    """The modules of this package that a module needs, by name: itself, what it imports anywhere in it, and so on."""
    found: dict[str, Path] = {}
    wanted = [entry]
    while wanted:
        name = wanted.pop()
        path = _path(name)
        if path is None or name in found:
            continue
        found[name] = path
        wanted.append(name.rpartition(".")[0])  # a package's own file runs, too
        for node in ast.walk(ast.parse(path.read_text())):
            wanted.extend(module for module in _imported(node) if module.split(".")[0] == _PACKAGE)
    return found


def requirements(modules: dict[str, Path], facts: Facts) -> list[str]:
    """The lines of requirements.txt for what the modules import as they load; what is imported later is not needed here."""
    names = {"timm"} if "timm" in str(facts.network.get("network")).lower() else set()
    for path in modules.values():
        tops = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names |= {module.split(".")[0] for node in tops for module in _imported(node)}
    names -= {*sys.stdlib_module_names, _PACKAGE, *_WITH_GRADIO, "__future__"}
    listed = [line.split("#")[0].strip() for line in (_ROOT / "requirements.txt").read_text().splitlines()]
    lines = {re.split(r"[<>=!~ ]", line)[0]: line for line in listed if line}
    unknown = sorted(name for name in names if _NAMES.get(name, name) not in lines)
    if unknown:
        raise SpaceError(f"requirements.txt does not list {', '.join(unknown)}, which the app imports")
    return sorted(lines[_NAMES.get(name, name)] for name in names)


def _path(name: str) -> Path | None:
    place = _ROOT.joinpath(*name.split("."))
    candidates = (place.with_suffix(".py"), place / "__init__.py") if name else ()
    return next((path for path in candidates if path.is_file()), None)


def _imported(node: ast.AST) -> Iterator[str]:
    """The modules that a statement may import; `from a import b` may mean a module b or a name in a."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _move(part: Path, folder: Path) -> None:
    """Every part of the Space to its place. Of a folder with a `.git` in it the rest must stay, so it is not replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in sorted(part.iterdir()):
        target = folder / entry.name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        entry.replace(target)
