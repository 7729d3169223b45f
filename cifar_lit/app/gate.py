"""The gate in front of Gradio: only what the page needs gets through, and only files of this server are ever named.

Gradio answers some sixty addresses: a proxy, file servers, an assistant that writes code. The page uses the few below.
"""

import json
import re
from collections.abc import Callable, Container
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cifar_lit import pictures
from cifar_lit.app.uploads import Uploads

BUSY = "Busy: more people are asking than this server can answer. Try again in a moment."
_JSON_BYTES = 64 << 10  # of a question: it names a file and a network
_FORM_BYTES = 16 << 10  # around an uploaded file
_DEPTH = 20  # of a question

_API = "/gradio_api"
_FILE = f"{_API}/file="
_QUESTION = f"{_API}/queue/join"
_UPLOAD = f"{_API}/upload"
_READ = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt"
    r"|/(assets|static)/[\w@-][\w@.-]*(/[\w@-][\w@.-]*)*"
    rf"|{_API}/(startup-events|app_id|info|queue/data|queue/status|upload_progress|theme\.css|heartbeat/\w+)"
)
_SEND = re.compile(rf"{_API}/(upload|queue/join|cancel|reset)/?")

# The browser is to fetch nothing from elsewhere, whatever a model card says. Gradio's page runs scripts of its own making.
_HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:;"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:;"
    " connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Gate:
    """ASGI middleware. events: the numbers of the page's events, as far as they are known by then."""

    def __init__(self, app: ASGIApp, uploads: Uploads, events: Callable[[], Container[int]]) -> None:
        self.app, self.uploads, self.events = app, uploads, events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a refusal."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            refusal, receive = await self._checked(scope, receive)
            await (refusal or self.app)(scope, receive, _Sender(scope, send))

    async def _checked(self, scope: Scope, receive: Receive) -> tuple[Response | None, Receive]:
        path, method, headers = scope["path"], scope["method"], Headers(scope=scope)
        if method in ("GET", "HEAD"):
            known = self.uploads.holds(path.removeprefix(_FILE)) if path.startswith(_FILE) else _READ.fullmatch(path)
        else:
            known = method == "POST" and _SEND.fullmatch(path)
        if "transfer-encoding" in headers or not known:
            # A Transfer-Encoding overrides the Content-Length, and with it every limit on one.
            length = PlainTextResponse("How long is it? A Content-Length is needed, and no Transfer-Encoding.", 411)
            return (PlainTextResponse("There is nothing here.", 404) if not known else length), receive
        if method != "POST":
            return None, receive
        upload = path.rstrip("/") == _UPLOAD
        most = pictures.MAX_BYTES + _FORM_BYTES if upload else _JSON_BYTES
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return PlainTextResponse("How long is it? A Content-Length is needed.", 411), receive
        if int(length) > most:
            return PlainTextResponse(f"Too large: allowed are {most >> 10} KiB.", 413), receive
        if upload:
            return (JSONResponse({"detail": BUSY}, 503) if self.uploads.full() else None), receive
        body = await _whole(receive)
        fine = body is not None and self._harmless(body, path.rstrip("/") == _QUESTION)
        return (None if fine else JSONResponse({"detail": "This is no question that the page asks."}, 400)), _again(body, receive)

    def _harmless(self, body: bytes, question: bool) -> bool:
        """Whether a message is JSON in which every file is one of this server's."""
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            return False
        if not isinstance(message, dict) or not self._no_strange_files(message, _DEPTH):
            return False
        return not question or (type(message.get("fn_index")) is int and message["fn_index"] in self.events())

    def _no_strange_files(self, value: Any, depth: int) -> bool:
        if depth == 0:
            return False
        if isinstance(value, dict):
            path = value.get("path")
            fine = path is None or self.uploads.holds(path)
            return fine and all(self._no_strange_files(item, depth - 1) for item in value.values())
        return not isinstance(value, list) or all(self._no_strange_files(item, depth - 1) for item in value)


class _Sender:
    """Sends an answer with the gate's headers; says in our words that the queue is full."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.path, self.send, self.busy = scope["path"].rstrip("/"), send, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.busy = message["status"] == 503 and self.path == _QUESTION
            names = set(_HEADERS) | ({"content-length"} if self.busy else set())
            kept = [(name, value) for name, value in message.get("headers", ()) if name.decode("latin-1").lower() not in names]
            message = {**message, "headers": kept + [(name.encode(), value.encode()) for name, value in _HEADERS.items()]}
        elif self.busy and message["type"] == "http.response.body":
            if message.get("more_body"):
                return
            message = {**message, "body": json.dumps({"detail": BUSY}).encode()}
        await self.send(message)


async def _whole(receive: Receive) -> bytes | None:
    """A request's body; None where the client has gone away, or sends more than it said."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _JSON_BYTES:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes | None, rest: Receive) -> Receive:
    """A body that was read, to be read once more."""
    left: list[Message] = [{"type": "http.request", "body": body or b"", "more_body": False}]

    async def receive() -> Message:
        return left.pop() if left else await rest()

    return receive
