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
_later: threading.Timer | None = None


def give_back(now: float | None = None) -> bool:
    """Hand the free pages of the heap back to the system; returns whether that was done now.

    Too soon after the last time, it is done once EVERY is over.

    The C library keeps what its many threads have freed. After a thousand visitors that was a third of a server's
    memory, and none of it in use. Only GNU's C library can be asked; elsewhere nothing happens.
    """
    global _last, _later
    now = time.monotonic() if now is None else now
    if not sys.platform.startswith("linux"):
        return False
    with _lock:
        if now - _last < EVERY:
            if _later is None:
                _later = threading.Timer(EVERY - (now - _last), _give_back_later)
                _later.daemon = True
                _later.start()
            return False
        _last, _later = now, None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is None:
        return False
    trim(0)
    return True


def _give_back_later() -> None:
    global _later
    with _lock:
        _later = None
    give_back()
