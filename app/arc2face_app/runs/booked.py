"""What happens in a process that ZeroGPU has booked: it is a fork of the page's, and it alone has the device.

Requests come in and progress, pictures and errors go out pickled; the engine is the one that the fork inherits, and
Stop is a byte of memory that both share. The process serves one booking after the other, so nothing of a request may
stay.
"""

from __future__ import annotations

import mmap
import os
import pickle
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arc2face.errors import Arc2FaceError, CancelledError
from arc2face.types import GenerationRequest, GenerationResult, Progress

if TYPE_CHECKING:
    from arc2face.engine import Engine

MOST_BOOKINGS = 4096
"""At the same time; far more than may wait."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error on its way back; raised over there it would arrive as the name of its class, without its sentence."""

    error: BaseException

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The error itself, or its text where it cannot travel."""
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return cls(Arc2FaceError(str(error)))
        return cls(error)


Sent = Progress | GenerationResult | Failure


class StopBytes:
    """One byte per booking: 1 asks its run to stop. Forks share the memory, whenever they were made."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, MOST_BOOKINGS)
        self._free = deque(range(MOST_BOOKINGS))

    def take(self) -> int:
        """The number of a byte that nobody uses, set to 0."""
        number = self._free.popleft()
        self._memory[number] = 0
        return number

    def give_back(self, number: int) -> None:
        """The booking is over."""
        self._free.append(number)

    def ask(self, number: int) -> None:
        """Ask the run to stop within one step."""
        self._memory[number] = 1

    def asked(self, number: int) -> bool:
        """Whether it was asked to."""
        return self._memory[number] == 1


stops = StopBytes()
_engines: list[Engine] = []
"""The engine that forks inherit. It knows nobody: a request holds all that is about a person."""
_at_home = os.getpid()


def leave_to_forks(engine: Engine) -> None:
    """From the next fork on, this engine draws."""
    _engines[:] = [engine]


def draw(requests: list[GenerationRequest], stop: int) -> Iterator[Sent]:
    """The requests one after the other; the first error is the last that comes. `stop`: a number of `stops`.

    Takes the requests out of the list: the caller's loop, which is not ours, keeps the list until the next booking.
    """
    engine = _engine_here()
    try:
        while requests:
            yield from _drawn(engine, requests.pop(0), stop)
    except Exception as error:
        yield Failure.of(error)
    finally:
        requests.clear()


def _drawn(engine: Engine, request: GenerationRequest, stop: int) -> Iterator[Sent]:
    if stops.asked(stop):
        raise CancelledError("Stopped. Nothing was kept.")
    # Scores come from a network on the CPU, for which nobody should hold a device.
    job = engine.submit(request, score=False)
    try:
        for event in job.events():
            if stops.asked(stop):
                job.cancel()
            if event.stage not in ("queued", "done"):  # the wait was elsewhere, and more is to be done
                yield event
        yield job.result()
    finally:
        job.cancel()  # whoever booked this has gone: the iterator was closed


def _engine_here() -> Engine:
    """The inherited engine, whose work is done by a thread of this process, so that progress comes while it is done."""
    global _at_home
    from arc2face.jobs import DeviceWorker

    engine = _engines[0]
    if os.getpid() != _at_home:
        _at_home = os.getpid()
        engine.worker = DeviceWorker()
    return engine
