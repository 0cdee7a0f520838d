"""What the C library keeps after many threads have freed it goes back to the system."""

from __future__ import annotations

import ctypes
import sys

import psutil
import pytest

from arc2face_app.runs import memory

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not GNU's C library")
PIECES, SIZE = 60_000, 1000


def resident() -> int:
    return psutil.Process().memory_info().rss


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_freed_memory_goes_back_and_not_too_often() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    pieces = [libc.malloc(SIZE) for _ in range(PIECES)]
    for piece in pieces:
        ctypes.memset(ctypes.c_void_p(piece), 1, SIZE)
    last = pieces.pop()  # in use, so the heap cannot simply shrink
    for piece in pieces:
        libc.free(piece)
    before = resident()
    assert memory.give_back(now=1e12)
    assert before - resident() > PIECES * SIZE / 2
    assert not memory.give_back(now=1e12 + memory.EVERY / 2)
    assert memory.give_back(now=1e12 + memory.EVERY * 2)
    memory._last = float("-inf")
    libc.free(last)


def test_what_came_too_soon_is_done_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last visitors of a crowd leave within the same seconds; their memory goes back all the same."""
    monkeypatch.setattr(memory, "EVERY", 0.2)
    assert memory.give_back()
    assert not memory.give_back()
    pending = memory._later
    assert pending is not None and not memory.give_back() and memory._later is pending
    first = memory._last
    pending.join(5)
    assert memory._last > first and memory._later is None
