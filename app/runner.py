"""From a click to pictures: submit to the engine, follow the progress, save what comes back.

`follow` is the one path that the tabs and the API take, so that both behave alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app import zerogpu
from app.files import zip_files
from app.history import Picture
from app.jobs import Ticket
from app.shell import Shell
from arc2face.types import GenerationRequest, GenerationResult, Progress

if TYPE_CHECKING:
    from arc2face.engine import Engine

MIN_INTERVAL = 0.1
"""Seconds between two progress updates of the same stage; a browser needs no more."""

Prepare = Callable[["Engine"], GenerationRequest]


def follow(shell: Shell, session: str, prepare: Prepare) -> Iterator[Progress | GenerationResult]:
    """Run one request; yields progress and, last, the result.

    The job is stopped when the iterator is closed or the session's tickets are cancelled.

    Raises:
        Arc2FaceError: the request is invalid, or generation failed; CancelledError when it was stopped.
    """
    with shell.jobs.ticket(session) as ticket:
        engine = yield from _opened(shell, ticket)
        yield Progress("encoding")
        request = prepare(engine)
        ticket.check()
        yield from thinned(zerogpu.on_gpu(compute, cost=seconds_needed)(shell, request, ticket))


def compute(shell: Shell, request: GenerationRequest, ticket: Ticket) -> Iterator[Progress | GenerationResult]:
    """The part that needs the device."""
    job = shell.backend.engine().submit(request)
    ticket.attach(job)
    yield from job.events()
    yield job.result()


def seconds_needed(shell: Shell, request: GenerationRequest, ticket: Ticket) -> float:
    """A generous estimate on a data-centre GPU, for ZeroGPU's booking."""
    del shell, ticket  # the booking is made with the same arguments as the call
    per_step = 0.06 * (1.0 if request.guidance_scale <= 1.0 else 1.6)
    return 8.0 + request.num_images * (request.steps * per_step + 0.5)


def thinned(events: Iterator[Progress | GenerationResult]) -> Iterator[Progress | GenerationResult]:
    """Drop progress that follows too soon on progress of the same stage."""
    stage, sent = "", 0.0
    for event in events:
        if isinstance(event, Progress):
            now = time.monotonic()
            if event.stage == stage and now - sent < MIN_INTERVAL:
                continue
            stage, sent = event.stage, now
        yield event


def save_pictures(shell: Shell, session: str, result: GenerationResult, prefix: str) -> list[Picture]:
    """Write every picture of a result as a PNG that carries its recipe.

    Raises:
        StorageError: the disk is full or not writable; nothing of this run is left behind.
    """
    from arc2face.recipes import save_png

    folder = shell.files.new_run(session)
    pictures: list[Picture] = []
    for image in result.images:
        path = folder / f"{prefix}-{image.seed}.png"
        save_png(image, result, path)
        pictures.append(Picture(str(path), image.seed, image.similarity, image.face_found))
    return pictures


def pack(pictures: Sequence[Picture], name: str = "pictures.zip") -> Path:
    """A zip of the pictures, beside them."""
    paths = [Path(picture.path) for picture in pictures]
    return zip_files(paths, paths[0].parent / name)


def _opened(shell: Shell, ticket: Ticket) -> Generator[Progress, None, Engine]:
    while not shell.backend.wait(0):
        yield Progress("loading", message="Loading the models")
        shell.backend.wait(0.25)
        ticket.check()
    return shell.backend.engine()
