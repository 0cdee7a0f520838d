"""Hugging Face ZeroGPU: there the part that needs the device runs in a booked process of its own.

Only the request travels to that process and only progress and pictures come back, since nothing else of the page can
be pickled; the engine is reached through the copy of this module that the process inherits.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from arc2face.types import GenerationRequest, GenerationResult, Progress

if TYPE_CHECKING:
    from arc2face.engine import Engine

Events = Iterator[Progress | GenerationResult]
_engines: list[Any] = []


def available() -> bool:
    """True inside a Space that runs on ZeroGPU."""
    asked = os.environ.get("SPACES_ZERO_GPU", "").lower() in {"1", "true"}
    return asked and importlib.util.find_spec("spaces") is not None


def run(engine: Engine, request: GenerationRequest) -> Events:
    """Generate within a booking that is as long as the request needs."""
    _engines[:] = [engine]
    return _booked()(request)


def seconds_needed(request: GenerationRequest) -> int:
    """A generous estimate on a data-centre GPU. A short booking waits less."""
    per_step = 0.06 * (1.0 if request.guidance <= 1.0 else 1.6)
    return int(9.0 + request.num_images * (request.denoising_steps * per_step + 0.5))


def _on_device(request: GenerationRequest) -> Events:
    engine: Engine = _engines[0]
    job = engine.submit(request)
    yield from job.events()
    yield job.result()


@functools.cache
def _booked() -> Callable[[GenerationRequest], Events]:
    spaces: Any = importlib.import_module("spaces")
    return spaces.GPU(duration=seconds_needed)(_on_device)
