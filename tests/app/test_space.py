"""The folder that runs as a Space by itself: what is in it, and that it starts where nothing else of this repository is."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from app.serving import make_bundle, picture, serving
from packaging.requirements import Requirement
from running import REPOSITORY

from cifar_lit.app.__main__ import main
from cifar_lit.app.space import SpaceError, closure, export
from cifar_lit.bundle import CheckpointError
from cifar_lit.predict import Predictor

FORBIDDEN = ("lightning", "hydra", "albumentations", "torchmetrics", "omegaconf", "cv2", "wandb")
# Runs app.py with nothing of the repository in reach, and stops where something is imported that a Space has not.
ALONE = f"""
import runpy, sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {FORBIDDEN!r}: raise ImportError(f"a Space has no {{name}}")
sys.meta_path.insert(0, Nothing())
assert not any(place.rstrip("/") == {str(REPOSITORY)!r} for place in sys.path), sys.path
sys.path.insert(0, sys.argv[1])
runpy.run_path(sys.argv[1] + "/app.py", run_name="__main__")
"""


@pytest.fixture
def space(tmp_path):
    make_bundle(tmp_path / "run" / "model", 'a "title": with marks', temperature=2.0)
    export(tmp_path / "space", tmp_path / "run")
    return tmp_path / "space"


def rows(answer: str) -> list[tuple[str, str]]:
    return re.findall(r"<b>(class \d)</b>.*?class=\"percent\">([\d.]+)%", answer)


def expected(folder: Path) -> list[tuple[str, str]]:
    return [(guess.label.replace("_", " "), f"{100 * guess.probability:.1f}") for guess in Predictor(folder)(picture())]


def test_what_is_in_it(space):
    assert {path.name for path in space.iterdir()} == {
        "app.py", "requirements.txt", "README.md", ".gitattributes", "bundle", "cifar_lit",
    }  # fmt: skip
    assert {path.name for path in (space / "bundle").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert (space / "cifar_lit" / "app" / "style.css").exists() and (space / "cifar_lit" / "app" / "script.js").exists()
    for room in ("data", "augment", "task.py", "experiment.py", "app/space.py", "trainer.py"):
        assert not (space / "cifar_lit" / room).exists(), room


def test_requirements_are_ours_and_no_more(space):
    lines = (space / "requirements.txt").read_text().splitlines()
    names = {re.split(r"[<>=!]", line)[0] for line in lines}
    assert names >= {"torch", "gradio", "safetensors", "numpy", "pillow", "captum"}
    assert not names & {*FORBIDDEN, "hydra-core", "timm", "onnxruntime", "opencv-python-headless", "torchvision"}
    ours = (REPOSITORY / "requirements.txt").read_text()
    assert all(f"{line} " in ours for line in lines)
    [gradio] = [Requirement(line).specifier for line in lines if line.startswith("gradio")]
    # The first two cannot start: `launch` knows no `run_history`. 6.26 answers with the path of a folder for a file named ".".
    assert not any(version in gradio for version in ("6.20.0", "6.23.1", "6.26.0", "7.0.0")) and "6.27.0" in gradio


def test_front_matter(space):
    _, head, _ = (space / "README.md").read_text().split("---\n", 2)
    told = dict(line.split(": ", 1) for line in head.strip().splitlines())
    assert json.loads(told["title"]) == 'a "title": with marks'
    assert (told["sdk"], told["app_file"], told["license"]) == ("gradio", "app.py", "unknown"), "as its card says"
    assert "*.safetensors filter=lfs" in (space / ".gitattributes").read_text(), "else the Hub refuses large files"
    assert re.fullmatch(r"\d+\.\d+\.\d+", told["sdk_version"])


def test_modules_are_followed_wherever_they_are_imported():
    names = set(closure("cifar_lit.app.serve"))
    assert names >= {"cifar_lit", "cifar_lit.app", "cifar_lit.app.page", "cifar_lit.checkpoint", "cifar_lit.model.resnet"}
    assert not any(name.startswith(("cifar_lit.data", "cifar_lit.task", "cifar_lit.cli")) for name in names)


def test_a_folder_with_something_in_it_is_refused(tmp_path, space, capsys):
    (space / ".git").mkdir()
    (space / "cifar_lit" / "old.py").write_text("")
    with pytest.raises(SpaceError, match="not empty; give another folder, or --force"):
        export(space, tmp_path / "run")
    assert main(["--export", str(space), "--bundle", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["--export", str(space), "--bundle", str(tmp_path / "run"), "--force"]) == 0
    assert (space / ".git").exists() and not (space / "cifar_lit" / "old.py").exists()


def test_nothing_is_left_of_a_failed_export(tmp_path):
    folder = make_bundle(tmp_path / "b")
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="altered"):
        export(tmp_path / "space", folder)
    make_bundle(folder)
    assert main(["--export", str(tmp_path / "space"), "--bundle", str(folder), "--examples", str(tmp_path / "none")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("arguments", [["--export", "space"], ["--bundle", "b"]])
def test_export_and_bundle_go_together(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


@pytest.mark.slow
def test_it_runs_alone(space, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(picture(1))
    export(space, tmp_path / "run", examples=tmp_path / "pictures", force=True)
    with serving("-I", "-c", ALONE, str(space), command=(sys.executable,), folder=tmp_path) as server:
        assert server.line.startswith("1 network, at http://127.0.0.1:")
        assert rows(server.guess(picture())) == expected(tmp_path / "run")
        shown = server.ask(server.event("examples"), [0], "example")["output"]["data"][0]
        assert server.client.get(f"/gradio_api/file={shown['path']}").status_code == 200
    assert server.errors == []


@pytest.mark.slow
def test_it_runs_in_a_clean_environment(space, tmp_path):
    uv = [sys.executable, "-m", "uv"]
    if subprocess.run([*uv, "--version"], capture_output=True).returncode:
        uv = [shutil.which("uv") or ""]
    if not uv[0]:
        pytest.skip("uv is not installed")
    place, python = tmp_path / "clean", tmp_path / "clean" / "bin" / "python"
    env = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}  # what was downloaded once serves again
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(place)], check=True, env=env)
    command = [*uv, "pip", "install", "-q", "--python", str(python), "-r", str(space / "requirements.txt")]
    try:
        made = subprocess.run(command, env=env, capture_output=True, text=True, timeout=400)
    except subprocess.TimeoutExpired:
        pytest.skip("the package index answers too slowly")
    if made.returncode:
        pytest.skip(f"the package index cannot be used: {made.stderr[-300:]}")
    modules = subprocess.run([*uv, "pip", "list", "-q", "--python", str(python)], env=env, capture_output=True, text=True).stdout
    assert "gradio" in modules and not any(
        name in modules for name in ("lightning ", "hydra-core", "albumentations", "torchmetrics")
    )
    with serving("app.py", command=(str(python),), folder=space) as server:
        assert rows(server.guess(picture())) == expected(tmp_path / "run")
        path = server.upload(picture()).json()[0]
        asked = [{"path": path, "orig_name": "p.png", "meta": {"_type": "gradio.FileData"}}, 0]
        assert "image/png" in server.ask(server.event("why"), asked, "why")["output"]["data"][0]
    assert server.errors == []
