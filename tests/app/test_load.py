"""Fifty people at once: every answer is right, or an honest "busy"; memory and disk return. Uploads that never end: the same."""

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from app.serving import file_object, make_bundle, picture, serving

from cifar_lit.app.uploads import MOST_AT_ONCE
from cifar_lit.predict import Predictor

CLIENTS, REQUESTS = 50, 20
MOST_GROWTH = 150 << 20  # bytes


def resident(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) << 10


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_fifty_clients(tmp_path):
    predictor = Predictor(make_bundle(tmp_path / "b"))
    pictures = [picture(seed, side=32) for seed in range(10)]
    rights = [f"{predictor(data)[0].label.replace('_', ' ')}</b>" for data in pictures]
    with serving(str(tmp_path / "b")) as server:
        server.guess(pictures[0])
        event = server.event("picture")
        before = resident(server.process.pid)

        def client(number: int) -> tuple[int, int]:
            good = busy = 0
            with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as own:
                for turn in range(REQUESTS):
                    chosen = (number + turn) % len(pictures)
                    sent = server.upload(pictures[chosen], f"{number}.png", own)
                    assert sent.status_code == 200, sent.text
                    message = server.ask(event, [file_object(sent.json()[0]), 0], f"client{number}", own)
                    if "busy" in message:
                        assert message["busy"].startswith("Busy: ")
                        busy += 1
                        time.sleep(0.2)
                        continue
                    answer = message["output"]["data"][0]
                    first = re.search(r"<b>(class \d</b>)", answer)[1]
                    assert first == rights[chosen], answer
                    good += 1
            return good, busy

        with ThreadPoolExecutor(CLIENTS) as pool:
            counts = list(pool.map(client, range(CLIENTS)))
        good, busy = (sum(column) for column in zip(*counts, strict=True))
        assert good + busy == CLIENTS * REQUESTS and good >= busy
        time.sleep(3)
        growth = resident(server.process.pid) - before
        print(f"{good} answered, {busy} busy, {growth / 2**20:.0f} MiB more")
        assert growth < MOST_GROWTH
        assert "guesses" in server.guess(pictures[0], session="afterwards")
    assert server.errors == []


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(str(make_bundle(tmp_path_factory.mktemp("load") / "b"))) as server:
        yield server


def begun(port: int, files: int) -> socket.socket:
    """An upload of which the end never comes."""
    part = '--b-1\r\nContent-Disposition: form-data; name="files"; filename="{0}.png"\r\n\r\n{0}\r\n'
    sent = "".join(map(part.format, range(files)))
    kind = f"Content-Type: multipart/form-data; boundary=b-1\r\nContent-Length: {len(sent) + 9}"
    made = socket.create_connection(("127.0.0.1", port), timeout=10)
    made.sendall(f"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\n{kind}\r\n\r\n{sent}".encode())
    return made


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_uploads_that_never_end_do_not_take_all_files(served):
    opened = lambda: len(list(Path(f"/proc/{served.process.pid}/fd").iterdir()))
    before, deadline = opened(), time.monotonic() + 20
    made = [begun(served.port, files=1) for _ in range(MOST_AT_ONCE)]
    while opened() < before + 2 * MOST_AT_ONCE and time.monotonic() < deadline:  # a connection and a file each
        time.sleep(0.01)
    with begun(served.port, files=1) as late:
        assert late.recv(100).startswith(b"HTTP/1.1 503 ")
    assert served.client.get("/config").status_code == 200 and opened() <= before + 2 * MOST_AT_ONCE + 10
    for each in made:
        each.close()
    while opened() > before + 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert opened() <= before + 5
    assert served.upload(picture()).status_code == 200
    assert served.errors == []  # no word about those who went away


@pytest.mark.slow
def test_the_rest_of_a_refused_upload_is_not_waited_for(served):
    with begun(served.port, files=500) as made:
        answer = made.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.endswith(b"One file at a time.")


@pytest.mark.slow
def test_a_full_queue_says_that_it_is_busy(served):
    path = served.upload(picture(side=2000)).json()[0]
    event = served.event("picture")
    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(lambda number: served.join(event, [file_object(path), 0], f"q{number}"), range(150)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused and all(answer.status_code == 503 and answer.json()["detail"].startswith("Busy: ") for answer in refused)
