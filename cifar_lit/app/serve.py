"""The server: the page behind its gate, on one address, until it is told to end."""

import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL.Image import Image
from starlette.middleware import Middleware

from cifar_lit import pictures
from cifar_lit.app.examples import gather
from cifar_lit.app.gate import Gate
from cifar_lit.app.shelf import Shelf, find
from cifar_lit.app.uploads import Uploads
from cifar_lit.bundle import Facts
from cifar_lit.pictures import PictureError
from cifar_lit.terminal import complaint

_SESSIONS = 200  # of which Gradio keeps the state: the page has none worth more


class AppError(ValueError):
    """Why the app cannot start; one line."""


def launch(
    shelf: Shelf, uploads: Uploads, *, host: str = "127.0.0.1", port: int = 7860, examples: Path | list[Image] | None = None
) -> Any:
    """Start the server. Returns Gradio's Blocks, whose `close` ends it. Raises AppError."""
    _check_free(host, port)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads.folder)  # read whenever Gradio wants a place for files
    from cifar_lit.app.page import LOOKS, build  # gradio and torch are slow to import, and not needed to refuse

    shown = gather(examples, uploads) if examples else []
    page = build(shelf, uploads, shown)
    gate = Middleware(Gate, uploads=uploads, events=lambda: page.fns)
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            inline=False,
            prevent_thread_lock=True,
            show_error=False,  # what is not expected may tell of the machine; what is, is said on the page
            allowed_paths=[],
            max_file_size=pictures.MAX_BYTES,
            state_session_capacity=_SESSIONS,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=[],
            app_kwargs={"middleware": [gate], "docs_url": None, "redoc_url": None, "openapi_url": None},
            **LOOKS,
        )
    except (OSError, ValueError) as error:
        raise AppError(f"cannot serve on {host}:{port}: {' '.join(str(error).split())[:200]}") from None
    return page


def serve(
    places: list[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    examples: Path | Callable[[Facts], list[Image]] | None = None,
) -> int:
    """Serve the bundles that are found, until Ctrl-C or SIGTERM. Returns the exit status. Raises AppError.

    examples: a folder of images to choose from, or what gives some for the network that is shown first.
    """
    bundles, broken = find(places)
    for line in broken:
        print(f"left out: {complaint(line)}", file=sys.stderr)
    if not bundles:
        names = ", ".join(map(str, places))
        raise AppError(f"{names}: no bundle there that can be used; `make train` makes one, in runs/")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    uploads = Uploads()
    try:
        import torch  # slow, and not needed to refuse

        torch.set_num_threads(1)  # as many pictures at once as there are cores
        shown = examples(bundles[0].facts) if callable(examples) else examples
        page = launch(Shelf(bundles), uploads, host=host, port=port, examples=shown)
        count = f"{len(bundles)} network{'s' if len(bundles) > 1 else ''}"
        print(f"{count}, at http://{_written(host)}:{port} (Ctrl-C ends it)", flush=True)
        ended.wait()
        page.close(verbose=False)
    except PictureError as error:
        raise AppError(str(error)) from None
    finally:
        uploads.close()
    return 0


def _check_free(host: str, port: int) -> None:
    """Gradio tries the port on another address than the one it then listens at, and takes its time to fail."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        advice = "; choose another with --port" if getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES) else ""
        raise AppError(f"cannot serve on {host}, port {port}: {reason}{advice}") from None


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host
