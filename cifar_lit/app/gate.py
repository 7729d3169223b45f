"""The gate in front of Gradio: only what the page needs gets through, and only files of this server are ever named.

Gradio answers some sixty addresses: a proxy, file servers, an assistant that writes code. The page uses the few below.
"""

import json
import re
from collections.abc import Callable, Container
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cifar_lit import pictures
from cifar_lit.app.bodies import Body, again, boundary
from cifar_lit.app.uploads import Uploads

BUSY = "Busy: more people are asking than this server can answer. Try again in a moment."
_JSON_BYTES = 64 << 10  # of a question: it names a file and a network
_FORM_BYTES = 16 << 10  # around an uploaded file
_JSON_SECONDS, _UPLOAD_SECONDS = 20.0, 120.0  # the most bytes at 1.4 Mbit/s
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
            sender = _Sender(scope, send)
            refusal = self._refused(scope)
            if refusal or scope["method"] != "POST":
                await (refusal or self.app)(scope, receive, sender)
            elif scope["path"].rstrip("/") == _UPLOAD:
                await self._upload(scope, receive, sender)
            else:
                await self._ask(scope, receive, sender)

    def _refused(self, scope: Scope) -> Response | None:
        """What a request is refused for before any of its body is read."""
        path, method, headers = scope["path"], scope["method"], Headers(scope=scope)
        if "transfer-encoding" in headers:  # it overrides a Content-Length, and with it every limit on one
            return PlainTextResponse("How long is it? A Content-Length is needed, and no Transfer-Encoding.", 411)
        if method in ("GET", "HEAD"):
            known = self.uploads.holds(path.removeprefix(_FILE)) if path.startswith(_FILE) else _READ.fullmatch(path)
        else:
            known = method == "POST" and _SEND.fullmatch(path)
        if not known:
            return PlainTextResponse("There is nothing here.", 404)
        return _refused_body(headers, path.rstrip("/") == _UPLOAD) if method == "POST" else None

    async def _upload(self, scope: Scope, receive: Receive, sender: "_Sender") -> None:
        headers = Headers(scope=scope)
        length = int(headers["content-length"])
        if not self.uploads.admit(length):
            await JSONResponse({"detail": BUSY}, 503)(scope, receive, sender)
            return
        body = Body(receive, most_bytes=length, seconds=_UPLOAD_SECONDS, between=boundary(headers))
        try:
            await self.app(scope, body, sender)
        except ClientDisconnect:
            pass  # nobody is left to be told; or it is the body that was stopped, and refused below
        finally:
            self.uploads.landed(length, body.size)
        if body.refusal and not sender.begun:
            await body.refusal(scope, receive, sender)

    async def _ask(self, scope: Scope, receive: Receive, sender: "_Sender") -> None:
        body = Body(receive, most_bytes=_JSON_BYTES, seconds=_JSON_SECONDS)
        message = await body.whole()
        if message is not None and self._harmless(message, scope["path"].rstrip("/") == _QUESTION):
            await self.app(scope, again(message, receive), sender)
        else:
            refusal = body.refusal or JSONResponse({"detail": "This is no question that the page asks."}, 400)
            await refusal(scope, receive, sender)

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


def _refused_body(headers: Headers, upload: bool) -> Response | None:
    most = pictures.MAX_BYTES + _FORM_BYTES if upload else _JSON_BYTES
    length = headers.get("content-length", "")
    if not length.isdecimal():
        return PlainTextResponse("How long is it? A Content-Length is needed.", 411)
    if int(length) > most:
        return PlainTextResponse(f"Too large: allowed are {most >> 10} KiB.", 413)
    if upload and boundary(headers) is None:
        return PlainTextResponse("An upload is a form (multipart/form-data) with one file.", 400)
    return None


class _Sender:
    """Sends an answer with the gate's headers; says in our words that the queue is full."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.path, self.send, self.busy, self.begun = scope["path"].rstrip("/"), send, False, False

    async def __call__(self, message: Message) -> None:
        self.begun = True
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
