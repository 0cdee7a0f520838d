"""Memory that nobody uses any more goes back to the system."""

from __future__ import annotations

import ctypes
import sys
import threading
import time

EVERY = 5.0
"""Seconds between two times; looking through the heap takes some milliseconds."""
_lock = threading.Lock()
_last = float("-inf")


def give_back(now: float | None = None) -> bool:
    """Hand the free pages of the heap back to the system; returns whether that was done.

    The C library keeps what its many threads have freed. After a thousand visitors that was a third of a server's
    memory, and none of it in use. Only GNU's C library can be asked; elsewhere nothing happens.
    """
    global _last
    now = time.monotonic() if now is None else now
    with _lock:
        if now - _last < EVERY or not sys.platform.startswith("linux"):
            return False
        _last = now
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is None:
        return False
    trim(0)
    return True
