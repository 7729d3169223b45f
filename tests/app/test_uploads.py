"""Which file a client may name: path traversal and server-side request forgery, through every address and in every field."""

import os
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import quote

import pytest
from app.serving import file_object, make_bundle, picture, serving

from cifar_lit.app.uploads import KEPT, UploadError, Uploads

pytestmark = pytest.mark.slow

SECRET = "the-secret-of-this-test"


@pytest.fixture
def uploads():
    made = Uploads(age_seconds=100.0, most_bytes=1000)
    yield made
    made.close()
    assert not made.folder.exists()


def test_only_regular_files_of_the_folder_are_held(uploads, tmp_path):
    folder = uploads.folder
    (folder / "a").mkdir()
    (folder / "a" / "b.png").write_bytes(b"x")
    (tmp_path / "secret.png").write_text(SECRET)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.png")
    assert uploads.holds(f"{folder}/a/b.png")
    for path in (f"{folder}/a", f"{folder}", f"{folder}/link.png", f"{folder}/linked/secret.png", f"{folder}/pipe.png", "",
                 f"{folder}/none.png", f"{folder}/a/../a/b.png", f"{folder}//a/b.png", f"{folder}/a/b.png\0",
                 f"{folder}/a/b.png/", "a/b.png", f"{folder}x/b.png", str(tmp_path / "secret.png"), f"{folder}/{'x' * 5000}", "http://localhost/a.png",
                 f"file://{folder}/a/b.png", None, 7, ["a"], {"path": "a"}, f"{folder}/\udcff"):  # fmt: skip
        assert not uploads.holds(path), path
        with pytest.raises(UploadError):
            uploads.named({"path": path})
    for payload in (None, "a", 7, [], {}, {"url": "http://localhost/a.png"}):
        with pytest.raises(UploadError):
            uploads.named(payload)


def test_names_are_only_names(uploads):
    (uploads.folder / "b.png").write_bytes(b"x")
    path = str(uploads.folder / "b.png")
    for given, called in (
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\cat.jpg", "cat.jpg"),
        (None, "b.png"),
        (7, "b.png"),
        ("a/", "image"),
    ):
        assert uploads.named({"path": path, "orig_name": given})[1] == called


def test_old_files_go(uploads):
    for place in ("old", "new", KEPT):
        (uploads.folder / place).mkdir()
        (uploads.folder / place / "x.png").write_bytes(b"x" * 600)
    uploads.sweep()
    assert len(list(uploads.folder.iterdir())) == 3  # none is old yet
    assert not uploads.admit(1)  # 1200 bytes without the examples
    uploads.age_seconds = -10.0  # all are old
    uploads.sweep()
    assert [path.name for path in uploads.folder.iterdir()] == [KEPT] and (uploads.folder / KEPT / "x.png").exists()
    assert uploads.admit(1)


class Listener(BaseHTTPRequestHandler):
    """Counts who comes, and gives them a picture."""

    hits: list[str] = []

    def do_GET(self):
        self.hits.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(picture())

    do_HEAD = do_POST = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def listener():
    server = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    assert Listener.hits == []


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("app")
    (folder / "secret.png").write_bytes(picture() + SECRET.encode())
    (folder / "secret.txt").write_text(SECRET)
    make_bundle(folder / "bundles" / "small")
    with serving(str(folder / "bundles")) as server:
        server.folder = folder
        server.guess(picture())  # the network is loaded
        yield server
        assert server.process.poll() is None
    assert not any(SECRET in line for line in server.errors)


def raw(port: int, method: str, path: str, **headers: str) -> tuple[int, str]:
    """A request whose path goes out as it is: ordinary clients take the dots out."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def paths(folder: str, listener: int) -> list[str]:
    """Addresses that must give nothing away."""
    secret = f"{folder}/secret.txt"
    api = "/gradio_api"
    plain = [f"{api}/file={secret}", f"{api}/file/{secret}", f"/file={secret}", f"/file/{secret}", f"{api}/file=../../{secret}",
             f"{api}/file=%2e%2e%2f%2e%2e%2f{secret}", f"{api}/file={secret}%00.png", f"{api}/file=file://{secret}",
             f"{api}/file=%252e%252e/{secret}", f"{api}/file=//localhost{secret}", f"{api}/file=\\\\localhost\\share",
             f"{api}/file=data:text/plain,{SECRET}", f"/static/..{secret}", f"/static/%2e%2e/%2e%2e{secret}",
             f"/assets/..%2f..{secret}", f"/assets//{secret}", f"/svelte/..%2f..%2f{secret}", f"/custom_component/../{secret}",
             "/theme.css/../config.json",
             f"{api}/custom_component/image/client/component/..%2f..{secret}", f"{api}/stream/a/b/1/..%2f{secret}",
             "/svg", "/docs", "/openapi.json", "/redoc", f"{api}/openapi.json", f"{api}/vibe-code", f"{api}/runs", "/monitoring",
             f"{api}/dev/reload", f"{api}/token", f"{api}/deep_link?session_hash=s1", f"{api}/profiling/traces"]  # fmt: skip
    here = [f"127.0.0.1:{listener}", f"localhost:{listener}", f"[::1]:{listener}", f"2130706433:{listener}", f"0x7f.1:{listener}",
            f"[::ffff:127.0.0.1]:{listener}", f"0.0.0.0:{listener}", f"127.1:{listener}", "169.254.169.254/latest/meta-data",
            f"user@127.0.0.1:{listener}"]  # fmt: skip
    return plain + [f"{api}/{kind}=http://{place}/x.png" for kind in ("file", "proxy") for place in here]


def test_no_address_gives_a_file_away_or_fetches_one(served, listener):
    tried = paths(str(served.folder), listener)
    assert len(tried) >= 30
    for path in tried:
        for method in ("GET", "HEAD", "POST"):
            status, text = raw(served.port, method, path)
            assert status in (400, 404, 411), (method, path, status)
            assert SECRET not in text, path
    assert Listener.hits == []


def forged(folder: str, listener: int) -> list:
    """File objects that no page sends."""
    secret, here = f"{folder}/secret.png", f"http://127.0.0.1:{listener}/x.png"
    places = [secret, f"../../../../../..{secret}", f"{secret}\0.png", f"file://{secret}", f"//localhost{secret}", here,
              f"http://localhost:{listener}/x.png", f"http://[::1]:{listener}/x.png", f"http://2130706433:{listener}/x",
              f"http://0x7f000001:{listener}/x", "http://169.254.169.254/latest/meta-data", "https://example.com/x.png",
              f"/gradio_api/file={secret}", "/dev/zero", "/dev/stdin", "/proc/self/environ", ".", "~/x.png",
              "data:image/png;base64,AAAA", f"\\\\127.0.0.1@{listener}\\x.png", f"ftp://127.0.0.1:{listener}/x",
              f"gopher://127.0.0.1:{listener}/x"]  # fmt: skip
    return [
        *(file_object(place) for place in places),
        *({"path": place} for place in places),
        *({"path": place, "meta": meta} for place in (secret, here) for meta in ({}, None, "x", {"_type": "x"}, [])),
        *(file_object(place, is_stream=True) for place in (secret, here)),
        {"path": None, "url": here, "meta": {"_type": "gradio.FileData"}},
        {"url": here},
        {"path": None, "url": "data:image/png;base64,AAAA"},
        [file_object(secret)],
        {"value": {"deep": [file_object(here)]}},
        {"path": {"path": secret}},
        secret,
        here,
        7,
    ]


def test_no_event_opens_or_fetches_a_forged_file(served, listener):
    tried = forged(str(served.folder), listener)
    assert len(tried) >= 30
    for number, payload in enumerate(tried):
        for target, data in (("picture", [payload, 0]), ("why", [payload, 0]), ("network", [payload])):
            event, session = served.event(target), f"forged{number}{target}"
            status = served.join(event, data, session).status_code
            if isinstance(payload, dict) and payload.get("path") is not None:
                assert status == 400, payload  # Gradio, asked with this, may open the file or fetch the address
            if status == 400:
                continue
            message = served.ask(event, data, f"{session}again")  # let through: harmless, then
            said = str(message["output"])
            assert "guesses" not in said and "image/png" not in said and SECRET not in said, payload
    assert Listener.hits == []


def test_a_page_that_names_its_upload_and_an_address_gets_no_fetch(served, listener):
    path = served.upload(picture()).json()[0]
    payload = file_object(path, url=f"http://127.0.0.1:{listener}/x.png")
    assert "guesses" in served.ask(served.event("picture"), [payload, 0], "url")["output"]["data"][0]
    assert Listener.hits == []


NAMES = ["../../../escaped.png", "..%2f..%2fescaped.png", "/etc/escaped.png", "C:\\escaped.png", "a\0b.png", "..", ".",
         "x" * 4000 + ".png", "<img src=x>.png", "é\u202eg.png"]  # fmt: skip
CLOSED = ["call/guess", "call/v2/guess", "run/guess", "api/guess", "run/predict", "component_server", "process_recording",
          "vibe-edit", "undo-vibe-edit", "vibe-code", "stream/x", "run-history/connect", "login"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_file_names_cannot_lead_out_of_the_folder(served, name):
    answer = served.upload(picture(), name)
    if answer.status_code == 200:
        path = answer.json()[0]
        assert "cifar_lit-app-" in path and ".." not in path.split("/")
        assert os.path.realpath(path) == path and "/cifar_lit-app-" in os.path.dirname(os.path.dirname(path))
        assert served.client.get(f"/gradio_api/file={quote(path)}").content == picture()
    else:
        assert answer.status_code in (400, 413, 500)


@pytest.mark.parametrize("path", CLOSED)
def test_other_ways_in_are_closed(served, path):
    body = {
        "data": [file_object(str(served.folder / "secret.png")), 0],
        "fn_index": 0,
        "session_hash": "s",
        "component_id": 1,
        "fn_name": "x",
    }
    for prefix in ("/gradio_api/", "/"):
        answer = served.client.post(f"{prefix}{path}", json=body)
        assert answer.status_code == 404 and answer.text == "There is nothing here."


def test_questions_that_no_page_asks(served):
    join = "/gradio_api/queue/join"
    deep = {"data": []}
    for _ in range(50):
        deep = {"data": [deep]}
    for body in (
        {"fn_index": 99, "data": [], "session_hash": "s"},
        {"fn_index": "0"},
        {"fn_index": True},
        [],
        "x",
        7,
        {**deep, "fn_index": 0},
    ):
        assert served.client.post(join, json=body).status_code == 400, body
    assert served.client.post(join, content=b"{" * 100000).status_code == 413
    assert served.client.post(join, content=b"[" * 60000).status_code == 400
    assert served.client.post(join, content=iter([b"{}"])).status_code == 411
    assert raw(served.port, "POST", "/gradio_api/upload", content_length=str(1 << 30))[0] == 413
    assert raw(served.port, "POST", "/gradio_api/upload", content_length="-1")[0] in (400, 411)
    assert raw(served.port, "POST", "/gradio_api/upload", transfer_encoding="chunked")[0] == 411
    for method, path in (("POST", "/gradio_api/upload"), ("POST", join), ("GET", "/"), ("HEAD", "/config")):
        # With both headers h11 reads chunks, however many there come.
        assert raw(served.port, method, path, content_length="4", transfer_encoding="chunked")[0] == 411


def test_one_file_an_upload(served):
    answer = served.client.post("/gradio_api/upload", files=[("files", (name, picture())) for name in ("a.png", "b.png")])
    assert (answer.status_code, answer.text) == (400, "One file at a time.")
    for kind in ("multipart/form-data; boundary=x; boundary=y", 'multipart/form-data; boundary="x"', "image/png"):
        answer = served.client.post("/gradio_api/upload", content=b"--x", headers={"content-type": kind})
        assert answer.status_code == 400 and "with one file" in answer.text
    assert served.upload(picture()).status_code == 200


def test_answers_forbid_the_browser_to_fetch_from_elsewhere(served):
    answer = served.client.get("/")
    assert (
        "default-src 'self'" in answer.headers["content-security-policy"] and answer.headers["referrer-policy"] == "no-referrer"
    )
