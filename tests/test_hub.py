"""Bundles to and from a Hub: a small one, served here, that speaks as much of its protocol as a bundle needs."""

import base64
import hashlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from running import completed
from test_bundle import FACTS, network

from cifar_lit import bundle, checkpoint, hub
from cifar_lit.bundle import CheckpointError

COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    files: dict[str, bytes] = {}
    asked: list[str] = []

    def log_message(self, *_args):
        pass

    def answer(self, content, status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        self.asked.append(f"{self.command} {self.path}")
        if "/resolve/" in self.path:
            name = self.path.rsplit("/", 1)[1]
            if name not in self.files:
                return self.answer({}, 404, X_Error_Code="EntryNotFound")
            return self.answer(self.files[name], ETag=f'"{hashlib.sha256(self.files[name]).hexdigest()}"')
        if "/tree/" in self.path:
            return self.answer(
                [{"type": "file", "path": name, "oid": "0", "size": len(data)} for name, data in self.files.items()]
            )
        if self.path.startswith("/api/models/me/five"):
            return self.answer({"id": "me/five", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]})
        return self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self):
        self.asked.append(f"POST {self.path}")
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            return self.answer({"url": f"http://{self.headers['Host']}/me/five", "name": "me/five", "id": "me/five"})
        if self.path == "/api/validate-yaml":  # the model card's head
            assert json.loads(sent)["content"].startswith("# A card")
            return self.answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            given = json.loads(sent)["files"]
            return self.answer(
                {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in given]}
            )
        if "/commit/" in self.path:
            for line in sent.splitlines():
                part = json.loads(line)
                if part["key"] == "file":
                    self.files[part["value"]["path"]] = base64.b64decode(part["value"]["content"])
            return self.answer(
                {"commitUrl": f"http://{self.headers['Host']}/me/five/commit/{COMMIT}", "commitOid": COMMIT, "success": True}
            )
        return self.answer({}, 404)


@pytest.fixture
def served(tmp_path):
    """Runs code with the served Hub as the Hub, in a process of its own: the address is read at import."""
    Hub.files, Hub.asked = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hub"), "HF_TOKEN": "secret"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

    def run(*arguments, **more):
        return completed(map(str, arguments), env=environment | more, timeout=120)

    yield run
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    bundle.save(tmp_path / "run" / "model", network().state_dict(), FACTS, "# A card\n")
    return tmp_path / "run" / "model"


LOAD = """
import sys, torch
from cifar_lit import hub
from cifar_lit.predict import Predictor
net = hub.from_pretrained("me/five")
torch.manual_seed(0)
print(net.facts.title, net(torch.randn(1, 3, 16, 16)).double().sum().item())
assert Predictor.from_pretrained("me/five").facts == net.facts
"""


@pytest.mark.slow
def test_there_and_back(served, folder):
    (folder / "notes.txt").write_text("private")
    done = served("-m", "cifar_lit.hub", folder.parent, "me/five", "--private")
    assert (done.returncode, done.stderr) == (0, "") and "me/five" in done.stdout, done.stderr
    assert sorted(Hub.files) == ["README.md", "config.json", "model.safetensors"]
    assert all((folder / name).read_bytes() == data for name, data in Hub.files.items())
    Hub.files["pytorch_model.bin"] = b"never fetched"
    done = served("-c", LOAD, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    torch.manual_seed(0)
    images = torch.randn(1, 3, 16, 16)
    assert done.stdout.split() == ["five", str(network()(images).double().sum().item())]
    assert not [line for line in Hub.asked if "pytorch_model.bin" in line]


@pytest.mark.slow
def test_what_came_over_the_network_is_checked(served, folder):
    Hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    Hub.files["model.safetensors"] = Hub.files["model.safetensors"][:-1] + b"\x00"
    done = served("-m", "cifar_lit.predict", "hub:me/five", "a.png")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "altered since it was written" in done.stderr
    Hub.files = {"README.md": b"a model of somebody else's"}
    done = served("-m", "cifar_lit.predict", "hub:me/five", "a.png", HF_HOME=str(folder.parent))
    assert "it is no bundle: it has no config.json" in done.stderr
    done = served("-m", "cifar_lit.predict", "hub:me/nothing", "a.png")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "me/nothing: not to be had from the Hub" in done.stderr


@pytest.mark.slow
def test_every_command_takes_a_name_on_the_hub(served, folder, tmp_path):
    Hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = served("-m", "cifar_lit.export", "hub:me/five", "--to", "torch_export")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "say with -o FILE" in done.stderr
    done = served("-m", "cifar_lit.export", "hub:me/five", "--to", "torch_export", "-o", tmp_path / "five.pt2")
    assert done.returncode == 0 and (tmp_path / "five.pt2").exists(), done.stderr
    done = served("-m", "cifar_lit.app", "--export", tmp_path / "space", "--bundle", "hub:me/five")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "space" / "bundle" / "model.safetensors").read_bytes() == Hub.files["model.safetensors"]
    for command in (["robustness"], ["app"], ["explain", "--what", "filters"]):
        done = served("-m", f"cifar_lit.{command[0]}", "hub:me/nothing", *command[1:])
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and "not to be had from the Hub" in done.stderr


@pytest.mark.slow
def test_without_a_network_or_a_token_it_says_so(served, folder):
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
    done = served("-m", "cifar_lit.predict", "hub:me/five", "a.png", **nowhere)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "not to be had from the Hub" in done.stderr
    done = served("-m", "cifar_lit.hub", folder, "me/five", **nowhere)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr


def test_folders_need_no_hub(folder):
    net = hub.from_pretrained(folder)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(net(images), checkpoint.load(folder)[0](images)) and net.facts == FACTS
    assert hub.fetch(folder) == folder


@pytest.mark.parametrize("name", ["five", "a/b/c", "/etc/none", ""])
def test_what_is_no_name_is_refused_before_any_network(name):
    with pytest.raises(CheckpointError, match="neither a folder nor a name on the Hub|no such file"):
        hub.fetch(name)


def test_an_altered_bundle_is_not_uploaded(folder, capsys):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-1] + b"\x00")
    assert hub.main([str(folder), "me/five"]) == 1
    assert "altered" in capsys.readouterr().err
    assert hub.main([str(folder.parent.parent), "me/five"]) == 1
    assert "No such file" in capsys.readouterr().err
