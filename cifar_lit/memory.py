"""How the process treats memory that training has freed."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Keep what is freed for the next step, instead of giving it back to the system and asking for it anew.

    Activations are allocated and freed at every step. By default glibc gives large ones back at once, and the system must
    clear every page of them again, thousands a step. The price: the process stays as large as it has been at its
    largest. Returns whether it could be done: with glibc only. Source: mallopt(3); PyTorch's performance tuning guide,
    which reaches the same by another allocator.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))
