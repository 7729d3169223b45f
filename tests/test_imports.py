"""Who may import whom: the arrows of the design, read from the source with `ast`."""

import ast
from pathlib import Path

import pytest
from running import REPOSITORY

PACKAGE = REPOSITORY / "cifar_lit"
# Each room and the rooms that it may import from. `seeding`, `atomic`, `cores` and `terminal` are leaves that anybody may use.
LEAVES = {"seeding", "atomic", "cores", "terminal"}
ARROWS = {
    "cli": {"runs", "experiment", "study"},
    "experiment": {
        "augment",
        "bundle",
        "callbacks",
        "checkpoint",
        "data",
        "fast",
        "logger",
        "mix",
        "model",
        "optim",
        "outcome",
        "refusals",
        "runs",
        "saved",
        "steps",
        "task",
        "trainer",
    },
    "outcome": {"bundle", "callbacks", "card", "checkpoint", "curves", "data", "findings", "runs", "task", "trainer"},
    "steps": {"data", "trainer"},
    "refusals": {"optim", "trainer"},
    "findings": {"data", "runs"},
    "fast": {"data", "graph", "metrics", "mix", "optim", "task"},
    "graph": set(),
    "memory": set(),
    "task": {"loss", "metrics", "mix", "model", "optim", "schedule"},
    "callbacks": {"checkpoint", "runs", "task"},
    "trainer": {"checkpoint", "memory"},
    "data": {"augment", "pictures"},
    "checkpoint": {"bundle", "model", "pickles"},
    "bundle": set(),
    "hub": {"bundle", "checkpoint"},
    "pictures": set(),
    "convert": {"bundle", "card", "data", "model", "pickles"},
    "pickles": set(),
    "export": {"bundle", "checkpoint", "hub"},
    "predict": {"bundle", "checkpoint", "hub", "pictures"},
    "explain": {"bundle", "checkpoint", "data", "hub", "model", "pictures", "predict", "runs"},
    "app": {"bundle", "data", "explain", "hub", "pictures", "predict", "runs"},
    "augment": set(),
    "model": set(),
    "loss": set(),
    "metrics": set(),
    "mix": set(),
    "optim": set(),
    "schedule": set(),
    "runs": set(),
    "card": {"bundle"},
    "compare": set(),
    "curves": set(),
    "report": {"compare", "runs"},
    "study": {"compare", "report", "runs"},
    "dashboard": set(),
    "robustness": {"bundle", "checkpoint", "data", "hub", "pictures", "predict", "runs"},
    "logger": {"runs"},
    "seeding": set(),
    "atomic": set(),
    "cores": set(),
    "saved": {"checkpoint", "data", "model", "runs"},
    "terminal": set(),
}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """Names of the modules of this package that are imported anywhere in a file."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "cifar_lit":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cifar_lit."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("cifar_lit.")}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows(path):
    own = room(path)
    assert own in ARROWS, f"a new room: give {own} its arrows"
    forbidden = imported(ast.parse(path.read_text())) - ARROWS[own] - LEAVES - {own}
    assert not forbidden, f"{path.name} may not import {', '.join(sorted(forbidden))}"


def test_no_cycles():
    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        for below in ARROWS[name]:
            visit(below, (*above, name))

    for name in ARROWS:
        visit(name, ())


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_inside_functions_say_why(path):
    lines = path.read_text().splitlines()
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        inside = [node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
        if inside:
            first = min(node.lineno for node in inside)
            nearby = "\n".join(lines[first - 2 : max(node.lineno for node in inside)])
            assert "#" in nearby, f"{path.name}:{first}: say why it is imported here"


def test_no_rooms_named_for_nobody():
    names = {part for path in modules() for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert not names & {"util", "utils", "helper", "helpers", "common", "misc", "base", "manager"}


def test_mirror_rule():
    """conf/<group> has its code in cifar_lit/<group>; optimizer and scheduler in optim and schedule."""
    codeless = {"experiment", "study", "hydra"}
    elsewhere = {"optimizer": "optim", "scheduler": "schedule"}
    for group in (path.name for path in (REPOSITORY / "conf").iterdir() if path.is_dir() and path.name not in codeless):
        name = elsewhere.get(group, group)
        assert (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir(), group
