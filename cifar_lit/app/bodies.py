"""The body of a request as it arrives: within bytes, seconds and parts, whatever was said of it beforehand."""

import asyncio
import re

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive

# As browsers and HTTP libraries write it. Of any other spelling two readers could make two boundaries.
_FORM = re.compile(r"multipart/form-data; ?boundary=([\w-]{1,70})", re.ASCII)


def boundary(headers: Headers) -> bytes | None:
    """What stands between the parts of a form; None where the body is no form."""
    found = _FORM.fullmatch(headers.get("content-type", ""))
    return found and found[1].encode()


class Body:
    """A request's `receive`. Past a limit it tells the reader that the client has gone away; `refusal` tells the client why.

    most_bytes: of all. seconds: until all of it is there. between: the boundary of a form, which may have one part.
    """

    def __init__(self, receive: Receive, *, most_bytes: int, seconds: float, between: bytes | None = None) -> None:
        self.size = 0
        self.refusal: Response | None = None
        self._receive, self._most, self._left = receive, most_bytes, seconds
        self._mark = between and b"--" + between
        self._marks, self._tail = 0, b""
        self._ended = False

    async def __call__(self) -> Message:
        if self.refusal or self._ended:
            return {"type": "http.disconnect"} if self.refusal else await self._receive()
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._left):
                message = await self._receive()
        except TimeoutError:
            return self._refuse("This takes too long. Try again where the connection is faster.", 408)
        self._left -= loop.time() - began  # of waiting for the client, not of what the reader does meanwhile
        if message["type"] != "http.request":
            return message
        data = message.get("body", b"")
        self._ended = not message.get("more_body", False)
        self.size += len(data)
        if self.size > self._most:
            return self._refuse(f"Too large: allowed are {self._most >> 10} KiB.", 413)
        if self._mark and self._more_than_one(data, self._mark):
            return self._refuse("One file at a time.", 400)
        return message

    async def whole(self) -> bytes | None:
        """All of it; None where it does not come."""
        parts = []
        while not self._ended:
            message = await self()
            if message["type"] != "http.request":
                return None
            parts.append(message.get("body", b""))
        return b"".join(parts)

    def _more_than_one(self, data: bytes, mark: bytes) -> bool:
        """Whether a part begins after the first: each part, and the end of all, begins with the mark."""
        seen = self._tail + data
        self._marks += seen.count(mark)
        self._tail = seen[-(len(mark) - 1) :]
        return self._marks > 2

    def _refuse(self, words: str, status: int) -> Message:
        # The rest of the body is not waited for.
        self.refusal = PlainTextResponse(words, status, headers={"connection": "close"})
        return {"type": "http.disconnect"}


def again(body: bytes, rest: Receive) -> Receive:
    """A body that was read, to be read once more."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return left.pop() if left else await rest()

    return receive
