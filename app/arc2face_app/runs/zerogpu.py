"""Hugging Face ZeroGPU: there the part that needs the device runs in a booked process of its own.

That process is a fork of this one. Only the request and the name of a stop file travel to it, and only progress,
pictures and errors come back, since nothing else of the page can be pickled; the engine is reached through the copy of
this module that the process inherits. Threads are not inherited, so the copy gets a worker of its own.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import pickle
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arc2face.errors import Arc2FaceError
from arc2face.types import GenerationRequest, GenerationResult, Progress

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face_app.runs.tickets import Ticket

Events = Iterator[Progress | GenerationResult]
_engines: list[Engine] = []
_own_worker: set[int] = set()
"""The processes whose engine has a worker of their own."""
_inherited: list[Any] = []
"""What must outlive a booked process: an ONNX session waits for ever for its threads, which the fork does not have."""


def available() -> bool:
    """True inside a Space that runs on ZeroGPU."""
    asked = os.environ.get("SPACES_ZERO_GPU", "").lower() in {"1", "true"}
    return asked and importlib.util.find_spec("spaces") is not None


def prepare(engine: Engine) -> None:
    """Before the page starts: make the GPU function known, which ZeroGPU insists on, and keep readers off the device.

    Outside a booking there is no device, so what reads photos runs on the CPU.
    """
    from arc2face.readers import Perception

    _engines[:] = [engine]
    runtime = replace(engine.runtime, device="cpu", dtype="fp32")
    engine.perception = Perception(engine.models, runtime, engine.worker)
    _booked()


def run(engine: Engine, request: GenerationRequest, ticket: Ticket) -> Events:
    """Generate within a booking that is as long as the request needs.

    Raises:
        Arc2FaceError: what the run raised in the other process; CancelledError when the ticket was cancelled.
    """
    _engines[:] = [engine]
    stop = StopFile()
    ticket.attach(stop)
    try:
        for event in _booked()(request, str(stop.path)):
            if isinstance(event, Failure):
                raise event.error
            yield event
    finally:
        stop.path.unlink(missing_ok=True)


class StopFile:
    """Something to cancel that another process can see."""

    def __init__(self) -> None:
        self.path = Path(tempfile.gettempdir()) / f"arc2face-stop-{uuid.uuid4().hex}"

    def cancel(self) -> None:
        """Ask the run to stop within one step."""
        self.path.touch()


@dataclass(frozen=True, slots=True)
class Failure:
    """An error on its way back; raised over there it would arrive as "worker error" without its sentence."""

    error: Exception

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The error itself, or its text where it cannot travel."""
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return cls(Arc2FaceError(str(error)))
        return cls(error)


def seconds_needed(request: GenerationRequest, stop: str = "") -> int:
    """A generous estimate on a data-centre GPU. A short booking waits less. `stop` is not looked at."""
    per_step = 0.06 * (1.0 if request.guidance <= 1.0 else 1.6)
    return int(9.0 + request.num_images * (request.denoising_steps * per_step + 0.5))


def _on_device(request: GenerationRequest, stop: str) -> Iterator[Progress | GenerationResult | Failure]:
    """In the booked process."""
    try:
        job = _engine_here().submit(request)
    except Exception as error:
        yield Failure.of(error)
        return
    try:
        for event in job.events():
            if os.path.exists(stop):
                job.cancel()
            yield event
        yield job.result()
    except Exception as error:
        yield Failure.of(error)
    finally:
        job.cancel()  # whoever booked this has gone: the iterator was closed


def _engine_here() -> Engine:
    """The inherited engine, with a worker thread of this process and readers that were never used in the other."""
    from arc2face.jobs import DeviceWorker
    from arc2face.readers import Perception

    engine = _engines[0]
    if os.getpid() not in _own_worker:
        _own_worker.add(os.getpid())
        _inherited.extend((engine.worker, engine.perception))
        engine.worker = DeviceWorker()
        engine.perception = Perception(engine.models, engine.perception.runtime, engine.worker)
    return engine


@functools.cache
def _booked() -> Callable[[GenerationRequest, str], Iterator[Progress | GenerationResult | Failure]]:
    spaces: Any = importlib.import_module("spaces")
    return spaces.GPU(duration=seconds_needed)(_on_device)
