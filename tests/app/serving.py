"""A server of the app for tests: in a process of its own, and what a page would send to it."""

import io
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image
from running import REPOSITORY, Process

from cifar_lit import bundle
from cifar_lit.bundle import Facts
from cifar_lit.model.registry import build

NETWORK = {
    "network": "ResNet", "block": "basic", "layers": [1, 1, 1], "widths": [16, 32, 64], "stem": "cifar", "pool": "avg",
    "dropout": 0.0, "drop_path": 0.0, "init": "kaiming", "zero_init_residual": False,
}  # fmt: skip

Started = Process | subprocess.Popen[str]


def make_bundle(folder: Path, title: str = "small", card: str = "# A card", **changes: Any) -> Path:
    """A bundle of an untrained ResNet-8 with ten classes in two superclasses."""
    told = {
        "data": "synthetic", "classes": tuple(f"class_{index}" for index in range(10)), "superclasses": ("even", "odd"),
        "superclass_of": tuple(index % 2 for index in range(10)), "mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2),
        "image_size": (32, 32), "metrics": {"test/acc": 0.1},
    }  # fmt: skip
    facts = Facts(**{"title": title, **told, **changes, "network": {**NETWORK, "num_classes": 10}})
    torch.manual_seed(0)
    bundle.save(folder, build(facts.network).state_dict(), facts, card)
    return folder


def picture(seed: int = 0, side: int = 48) -> bytes:
    """A PNG file's bytes."""
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)).save(data, "PNG")
    return data.getvalue()


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("CIFAR100_ROOT", "CIFAR_LIT_TRACEBACK")}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


@contextmanager
def serving(*arguments: str, command: tuple[str, ...] = (), folder: Path = REPOSITORY, **more: str) -> Iterator["Server"]:
    """A server on a free port; `command` may be another program that listens at GRADIO_SERVER_PORT, started from nothing."""
    port = free_port()
    env = environment(GRADIO_SERVER_PORT=str(port), **more)
    files = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process: Started
    if command:
        process = subprocess.Popen([*command, *arguments], cwd=folder, env=env, text=True, **files)
    else:
        process = Process(["-m", "cifar_lit.app", *arguments, "--port", str(port)], cwd=folder, env=env, **files)
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reader.start()
    try:
        line = process.stdout.readline()
        if "http://" not in line:
            process.wait(30)
            reader.join(5)
            raise AssertionError(line + "".join(errors))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield Server(process, client, port, line, errors)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(5)
        process.stdout.close()
        process.stderr.close()


class Server:
    """A running server, asked as its page asks it."""

    def __init__(self, process: Started, client: httpx.Client, port: int, line: str, errors: list[str]) -> None:
        self.process, self.client, self.port, self.line, self.errors = process, client, port, line, errors

    def upload(self, data: bytes, name: str = "picture.png", client: httpx.Client | None = None) -> httpx.Response:
        return (client or self.client).post("/gradio_api/upload", files={"files": (name, data)})

    def event(self, target: str) -> int:
        """The number of the event that a component's change or click sets off."""
        config = self.client.get("/config").json()
        ids = {part["props"].get("elem_id"): part["id"] for part in config["components"]}
        return next(event["id"] for event in config["dependencies"] if any(ids[target] == at[0] for at in event["targets"]))

    def join(self, event: int, data: list[Any], session: str = "s1", client: httpx.Client | None = None) -> httpx.Response:
        body = {"data": data, "fn_index": event, "session_hash": session, "event_data": None, "trigger_id": None}
        return (client or self.client).post("/gradio_api/queue/join", json=body)

    def ask(self, event: int, data: list[Any], session: str = "s1", client: httpx.Client | None = None) -> dict[str, Any]:
        """What an event came to: the message of its completion, or `{"busy": ...}`."""
        client = client or self.client
        joined = self.join(event, data, session, client)
        if joined.status_code == 503:
            return {"busy": joined.json()["detail"]}
        assert joined.status_code == 200, joined.text
        with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as answer:
            for line in answer.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed" and message["event_id"] == joined.json()["event_id"]:
                    return message
        raise AssertionError("the answer broke off")

    def guess(self, data: bytes, name: str = "picture.png", session: str = "s1") -> str:
        """The page's answer to an uploaded file, as HTML."""
        path = self.upload(data, name).json()[0]
        return self.ask(self.event("picture"), [file_object(path, name), 0], session)["output"]["data"][0]


def file_object(path: Any, name: str = "picture.png", **more: Any) -> dict[str, Any]:
    """How a page names a file that it has sent."""
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}, **more}
