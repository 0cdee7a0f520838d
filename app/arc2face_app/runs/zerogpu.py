"""Hugging Face ZeroGPU: what needs the device runs in a booked process of its own (`arc2face_app.runs.booked`).

Everything else stays here, on the CPU: reading photos, comparing pictures, saving. Waiting for a device is waiting for
a platform, so it is done by a thread, and Stop does not wait along.
"""

from __future__ import annotations

import contextvars
import functools
import importlib
import importlib.util
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from arc2face.errors import Arc2FaceError, DeviceError
from arc2face.types import GenerationRequest, GenerationResult, Progress
from arc2face_app.runs import booked, quota
from arc2face_app.runs.booked import Failure, Sent

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face_app.runs.tickets import Ticket

logger = logging.getLogger("arc2face.app")
Events = Iterator[Progress | GenerationResult]
LOOK_SECONDS = 0.25
"""Between two looks at Stop while nothing comes."""


def available() -> bool:
    """True inside a Space that runs on ZeroGPU."""
    asked = os.environ.get("SPACES_ZERO_GPU", "").lower() in {"1", "t", "true"}
    return asked and importlib.util.find_spec("spaces") is not None


def announce() -> None:
    """Before the page starts: make the GPU function known. ZeroGPU ends a Space that has none."""
    _booked()


def prepare(engine: Engine) -> None:
    """Before the page starts: what every booked process would do anew is done once, and inherited."""
    from arc2face.doctor.status import hashes

    booked.leave_to_forks(engine)
    try:
        hashes(engine.registry, engine.registry.adapters)  # recipes name the files' hashes, which are kept on the disk
    except Arc2FaceError as error:
        logger.warning("the model files' hashes are not known yet: %s", error)


def run(engine: Engine, requests: Sequence[GenerationRequest], ticket: Ticket) -> list[Events]:
    """Per request what is to be seen of it, its result last; they are looked at in this order.

    What follows on one another is booked together, for as long as it needs. The events raise Arc2FaceError: what the
    run raised, or why there is no device; CancelledError when the ticket was cancelled. What is wrong with a request
    is raised here, before anything is booked.
    """
    for request in requests:
        engine.check_files(request)
    booked.leave_to_forks(engine)
    events: list[Events] = []
    for part in quota.booked_together(requests):
        booking = Booking(engine, part, ticket)
        events += [booking.events() for _ in part]
    return events


class Booking:
    """One booking. `events` is called once per request; what the first call yields begins with the wait."""

    def __init__(self, engine: Engine, requests: Sequence[GenerationRequest], ticket: Ticket) -> None:
        self._engine = engine
        self._requests = list(requests)
        self._ticket = ticket
        self._came: queue.SimpleQueue[Sent | None] = queue.SimpleQueue()
        self._all = self._follow()
        # Whose request it is, and where messages go, is known to Gradio, and so to `spaces`, by context.
        self._context = contextvars.copy_context()

    def events(self) -> Events:
        """Of the next request, its result last."""
        for event in self._all:
            yield event
            if isinstance(event, GenerationResult):
                return
        raise DeviceError(quota.ABORTED)

    def _follow(self) -> Events:
        from arc2face.scoring import scored

        stop = _Stop()
        self._ticket.attach(stop)
        fetching = threading.Thread(target=self._context.run, args=(self._fetch, stop), name="zerogpu", daemon=True)
        fetching.start()
        yield Progress("queued", message="Waiting for a GPU")
        while (event := self._next()) is not None:
            if isinstance(event, Failure):
                raise event.error
            if isinstance(event, GenerationResult):
                if event.request.score:
                    yield Progress("scoring", message="Comparing the faces")
                event = scored(event, self._engine.perception)
                yield Progress("done", message="Done")
            yield event

    def _next(self) -> Sent | None:
        while True:
            try:
                return self._came.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                self._ticket.check()

    def _fetch(self, stop: _Stop) -> None:
        """In a thread: book, and hand over what comes; None at the end."""
        try:
            for event in _booked()(self._requests, stop.number):
                self._came.put(event)
        except BaseException as error:  # whatever it is, somebody waits for it
            told = quota.in_words(error)
            logger.info("the booking ended: %r", error)
            self._came.put(Failure(told))
        finally:
            stop.over()
            self._came.put(None)


class _Stop:
    """What a ticket cancels; harmless once the booking is over, when its byte is somebody else's."""

    def __init__(self) -> None:
        self.number = booked.stops.take()
        self._lock = threading.Lock()
        self._over = False

    def cancel(self) -> None:
        with self._lock:
            if not self._over:
                booked.stops.ask(self.number)

    def over(self) -> None:
        with self._lock:
            if not self._over:
                self._over = True
                booked.stops.give_back(self.number)


@functools.cache
def _booked() -> Callable[[list[GenerationRequest], int], Iterator[Sent]]:
    spaces: Any = importlib.import_module("spaces")
    return spaces.GPU(duration=quota.seconds_needed)(booked.draw)
