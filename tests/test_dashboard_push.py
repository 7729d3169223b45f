"""The dashboards' command: what it sends, to a small W&B of our own, and what it says where it cannot."""

import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from running import Process
from test_dashboard import drawn, specs

from cifar_lit.dashboard import push

KEY = "0" * 40
PROGRAM = ("-m", "cifar_lit.dashboard")
IMPATIENT = (
    "-c",
    "import sys; from cifar_lit.dashboard import __main__, push; push._REQUEST_SECONDS = 2; sys.exit(__main__.main())",
)


def environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "_WANDB"))}
    return {**inherited, "NETRC": "/nowhere", **more}


def command(*arguments: str, program: tuple[str, str] = PROGRAM, **more: str) -> subprocess.CompletedProcess[str]:
    """The command. Its output goes to files: W&B's service would keep a pipe open after the command has ended."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        done = Process([*program, *arguments], stdout=out, stderr=err, env=environment(**more))
        done.wait(150)  # a minute of waiting and the imports, on a busy machine
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, out.read(), err.read())


@pytest.mark.slow  # starts a process
def test_print_needs_no_key_and_no_network():
    done = command("--project", "five", "--print", WANDB_BASE_URL="http://127.0.0.1:9")
    assert (done.returncode, done.stderr) == (0, "")
    assert [len(drawn(view)) for view in json.loads(done.stdout)["workspaces"]] == [17, 16]


class WandB(BaseHTTPRequestHandler):
    """As much of W&B as a push needs: one user, some projects, and the views that were saved."""

    views: dict[str, dict[str, Any]] = {}
    projects = ("five",)

    def log_message(self, *_args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/graphql":  # what the client reports of itself
            return self.answer({})
        asked = json.loads(body)
        return self.answer({"data": self.data(asked["query"], asked.get("variables") or {})})

    def answer(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def data(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        known = {"id": "p1", "internalId": "cDE=", "name": "five", "entityName": "me"}
        if "upsertView" in query:
            view = {
                "id": given.get("id") or f"v{len(self.views)}",
                **{name: given[name] for name in ("name", "displayName", "type", "spec")},
            }
            self.views[view["id"]] = view
            return {"upsertView": {"view": {**view, "description": "", "project": known, "updatedAt": None}, "inserted": True}}
        if "ProjectInternalId" in query:
            return {"project": known if given["projectName"] in self.projects else None}
        if "allViews" in query:
            kind, name = given.get("viewType") or "runs", given.get("viewName")
            fits = [view for view in self.views.values() if view["type"] == kind and name in (None, view["name"])]
            page = {"endCursor": None, "hasNextPage": False}
            return {"project": {"allViews": {"edges": [{"node": view, "cursor": ""} for view in fits], "pageInfo": page}}}
        if "models(" in query:
            project = {"__typename": "Project", **known, "createdAt": "", "isBenchmark": False, "user": None}
            return {"models": {"pageInfo": {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False},
                               "edges": [{"cursor": "", "node": project}]}}  # fmt: skip
        assert "viewer" in query, query
        return {"viewer": {"id": "u1", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}}


@pytest.fixture
def server() -> Iterator[str]:
    WandB.views = {}
    serving = ThreadingHTTPServer(("127.0.0.1", 0), WandB)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    serving.server_close()


def without_ids(value: Any) -> Any:
    """The library draws the identities of panels and tables anew each time."""
    if isinstance(value, dict):
        return {name: without_ids(child) for name, child in value.items() if name not in ("__id__", "id", "project")}
    return [without_ids(child) for child in value] if isinstance(value, list) else value


@pytest.mark.slow  # starts processes
def test_a_push_sends_what_is_printed_and_a_second_writes_over_it(server):
    for _ in range(2):
        done = command("--project", "five", "--group", "sweep/now", WANDB_BASE_URL=server, WANDB_API_KEY=KEY)
        assert (done.returncode, done.stderr) == (0, "")
        addresses = done.stdout.split()
        assert [address.startswith(f"{server}/me/five") for address in addresses] == [True] * 3
        sent = list(WandB.views.values())
        assert [view["type"] for view in sent] == ["project-view", "project-view", "runs"]
        for view, expected in zip(sent, specs(group="sweep/now"), strict=True):
            assert view["displayName"] == expected["name"]
            assert without_ids(json.loads(view["spec"])) == without_ids(expected["spec"])


@pytest.mark.slow  # starts a process
def test_a_project_that_is_not_there_is_refused_before_anything_is_written(server):
    done = command("--project", "fife", WANDB_BASE_URL=server, WANDB_API_KEY=KEY)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: me/fife: W&B has no such project")
    assert done.stderr.count("\n") == 1
    assert not WandB.views


@pytest.mark.slow  # starts processes, and waits
@pytest.mark.parametrize("silent", [False, True])
def test_without_a_network_there_is_one_line(silent):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if silent:  # else nobody listens, and it is refused at once
            listening.listen()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        done = command(program=IMPATIENT, WANDB_BASE_URL=address, WANDB_API_KEY=KEY)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(("error: W&B: Failed to verify credentials", "error: W&B did not answer within"))
    assert done.stderr.count("\n") == 1


@pytest.mark.slow  # starts processes
@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({}, "error: no W&B API key: run `wandb login` or set WANDB_API_KEY; --print writes the JSON without one\n"),
        ({"WANDB_MODE": "offline"}, "error: WANDB_MODE=offline: pushing needs a network; unset it, or use --print\n"),
        ({"WANDB_API_KEY": "short"}, "error: W&B: WANDB_API_KEY invalid: API key must have 40+ characters, has 5.\n"),
    ],
)
def test_what_is_missing_is_said_in_one_line(more, line, tmp_path):
    done = command(HOME=str(tmp_path), **more)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_a_push_ends_in_time():
    stop = threading.Event()
    began = time.monotonic()
    with pytest.raises(push.PushError, match=r"did not answer within 0\.2 seconds"):
        push._within(0.2, lambda: [str(stop.wait(30))])
    assert time.monotonic() - began < 5
    stop.set()
