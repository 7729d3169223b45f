"""Limits of what is sent: of a body's bytes, seconds and parts, and of files and bytes on the disk and under way."""

import asyncio
import os

import pytest

from cifar_lit.app.bodies import Body
from cifar_lit.app.uploads import Uploads


def pieces(*parts: bytes, pause: float = 0.0):
    """A `receive` that gives a body in parts."""
    left = list(parts)

    async def receive():
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    return receive


def read(body: Body) -> int | None:
    """How many bytes a reader gets of a body; None where it is told that the client has gone away."""

    async def whole() -> bytes | None:
        return await body.whole()

    data = asyncio.run(whole())
    return None if data is None else len(data)


def test_a_body_ends_at_its_limits():
    fine = Body(pieces(b"x" * 60, b"x" * 40), most_bytes=100, seconds=5)
    assert read(fine) == 100 and fine.refusal is None
    long = Body(pieces(b"x" * 60, b"x" * 60, b"x"), most_bytes=100, seconds=5)
    assert read(long) is None and long.refusal.status_code == 413
    slow = Body(pieces(*[b"x"] * 9, pause=0.03), most_bytes=100, seconds=0.1)
    assert read(slow) is None and slow.refusal.status_code == 408 and slow.size < 9
    assert all(refused.refusal.headers["connection"] == "close" for refused in (long, slow))


def test_seconds_are_of_waiting_for_the_client():
    async def slowly(body: Body) -> str:
        await body()
        await asyncio.sleep(0.1)  # what the reader takes is no fault of the client's
        return (await body())["type"]

    assert asyncio.run(slowly(Body(pieces(b"x", b"x"), most_bytes=9, seconds=0.05))) == "http.request"


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_a_form_has_one_part_wherever_it_is_cut(step):
    part = '--b-1\r\nContent-Disposition: form-data; name="files"; filename="{0}"\r\n\r\n{0}--b-\r\n'
    for names in ("a", "ab", "abc"):
        sent = ("".join(map(part.format, names)) + "--b-1--\r\n").encode()
        parts = (sent[at : at + step] for at in range(0, len(sent), step))
        body = Body(pieces(*parts), most_bytes=9999, seconds=5, between=b"b-1")
        assert read(body) == (len(sent) if names == "a" else None)
        assert (body.refusal is None) == (names == "a")


@pytest.fixture
def uploads():
    made = Uploads(most_bytes=1000, most_files=5, most_at_once=3)
    yield made
    made.close()


def test_bytes_are_bounded_with_those_under_way(uploads):
    assert uploads.admit(600) and not uploads.admit(401)
    uploads.landed(600, 10)  # the rest of them never came
    assert uploads.admit(990) and not uploads.admit(1)


def test_uploads_under_way_are_bounded(uploads):
    assert uploads.admit(1) and uploads.admit(1) and uploads.admit(1)
    assert not uploads.admit(1)
    uploads.landed(1, 1)
    assert uploads.admit(1)


def test_files_are_bounded_without_a_look_at_them(uploads, monkeypatch):
    for number in range(5):
        assert uploads.admit(1)
        if number < 3:
            (uploads.folder / f"{number}.png").write_bytes(b"x")
        uploads.landed(1, 1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "walk", None)
        patched.setattr(os, "scandir", None)
        assert not uploads.admit(1)
    uploads.sweep()
    assert uploads.admit(1) and uploads.admit(1) and not uploads.admit(1)  # two of the five had left no file
