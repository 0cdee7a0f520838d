"""A fetch in a process of its own, which can be ended at any moment and takes nothing along.

This module imports little: the new process imports it anew, and whoever started it waits for that.
"""

from __future__ import annotations

import multiprocessing
import time
from typing import Any

from arc2face.errors import Arc2FaceError
from arc2face.weights.download.plan import Plan
from arc2face.weights.download.run import Event, fetch

__all__ = ["start_process"]

_EVERY_SECONDS = 0.1


def start_process(plan: Plan) -> tuple[Any, Any]:
    """Begin to fetch; returns the process and the queue of what it tells.

    The queue gives `Event`s, then None once all is done, or a sentence for the user where it failed.
    """
    spawned = multiprocessing.get_context("spawn")
    events = spawned.Queue()
    process = spawned.Process(target=_fetch, args=(plan, events), daemon=True)
    process.start()
    return process, events


def _fetch(plan: Plan, events: Any) -> None:
    last = 0.0

    def tell(event: Event) -> None:
        nonlocal last
        now = time.monotonic()
        if event.kind == "bytes" and event.done:
            if now - last < _EVERY_SECONDS:
                return
            last = now
        events.put(event)

    try:
        fetch(plan, tell)
        events.put(None)
    except Arc2FaceError as error:
        events.put(str(error))
    except Exception as error:
        events.put(f"The download failed ({type(error).__name__}: {error}). Start it again; it goes on where it was.")
