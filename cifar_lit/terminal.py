"""Text from outside for the terminal: names in a foreign bundle or on the disk must not command it."""

import os
import sys


def one_line(text: str, most: int) -> str:
    """`text` on one line without control characters, its middle left out where it is long."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:10_000])
    return text if len(text) <= most else f"{text[: most // 2 - 2]}...{text[-(most // 2) :]}"


def complaint(error: object, most: int = 2000) -> str:
    """What an error says (it, or its words), as one line."""
    return one_line(" ".join(str(error).split()), most)


def failed(error: Exception, most: int = 2000) -> int:
    """End a command for an error that a user can do something about: one line, and exit status 1.

    With HYDRA_FULL_ERROR=1 it is raised instead, for the traceback, as by train.py.
    """
    # train.py sets HYDRA_FULL_ERROR itself, and says here what the user had set.
    if os.environ.get("CIFAR_LIT_TRACEBACK", os.environ.get("HYDRA_FULL_ERROR")) == "1":
        raise error
    if isinstance(error, BrokenPipeError):  # who reads, as `head` does, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python complains of what is left to be written
        return 1
    words = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
    print(f"error: {complaint(words, most)}", file=sys.stderr)
    return 1
