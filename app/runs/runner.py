"""From a click to pictures: submit to the engine, follow the progress, save what comes back.

`follow` is the one path that the tabs and the API take, so that both behave alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.page.tabs.history import Picture
from app.runs import zerogpu
from app.runs.files import zip_files
from app.runs.shell import Shell
from app.runs.tickets import Ticket
from arc2face.types import GenerationRequest, GenerationResult, Progress

if TYPE_CHECKING:
    from arc2face.engine import Engine

MIN_INTERVAL = 0.1
"""Seconds between two progress updates of the same stage; a browser needs no more."""

Prepare = Callable[["Engine"], Sequence[GenerationRequest]]
"""Makes the requests of one run; called once the engine is open, and allowed to raise Arc2FaceError."""
Results = tuple[GenerationResult, ...]


def follow(shell: Shell, session: str, prepare: Prepare) -> Iterator[Progress | Results]:
    """Run one request, or several one after the other; yields progress over all of them and, last, the results.

    Each request queues anew, so that other visitors get their turn in between. Everything is stopped when the
    iterator is closed or the session's tickets are cancelled.

    Raises:
        Arc2FaceError: a request is invalid, or generation failed; CancelledError when it was stopped.
    """
    with shell.jobs.ticket(session) as ticket:
        engine = yield from _opened(shell, ticket)
        yield Progress("encoding")
        requests = prepare(engine)
        results: list[GenerationResult] = []
        for number, request in enumerate(requests):
            ticket.check()
            for event in thinned(compute(engine, request, ticket)):
                if isinstance(event, Progress):
                    yield overall(event, number, len(requests))
                else:
                    results.append(event)
        yield tuple(results)


def compute(engine: Engine, request: GenerationRequest, ticket: Ticket) -> Iterator[Progress | GenerationResult]:
    """Submit one request and follow it to its result."""
    if zerogpu.available():
        yield from zerogpu.run(engine, request)
        return
    job = engine.submit(request)
    ticket.attach(job)
    yield from job.events()
    yield job.result()


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


def overall(event: Progress, number: int, count: int) -> Progress:
    """Progress within request `number` (from 0) of `count`, as progress of the whole series."""
    if count == 1 or event.stage != "denoising" or not event.total:
        return event
    left = None
    if event.seconds_left is not None and event.step < event.total:
        left = event.seconds_left * (1 + (count - number - 1) * event.total / (event.total - event.step))
    step, total = number * event.total + event.step, count * event.total
    return replace(event, step=step, total=total, seconds_left=left, message=f"Picture {number + 1} of {count}")


def save_pictures(
    shell: Shell, session: str, results: Results, prefix: str, names: Sequence[str] = ()
) -> list[Picture]:
    """Write every picture of the results as a PNG that carries its recipe. `names`: one per picture, or none.

    Raises:
        StorageError: the disk is full or not writable.
    """
    from arc2face.pictures.recipes import save_png

    folder = shell.files.new_run(session)
    pictures: list[Picture] = []
    for result in results:
        for image in result.images:
            number = len(pictures)
            path = folder / f"{prefix}-{number + 1}-seed-{image.seed}.png"
            save_png(image, result, path)
            name = names[number] if number < len(names) else ""
            pictures.append(Picture(str(path), image.seed, image.similarity, image.face_found, name))
    return pictures


def pack(paths: Sequence[Path | str], name: str = "pictures.zip") -> Path:
    """A zip of files, beside the first of them."""
    return zip_files(paths, Path(paths[0]).parent / name)


def _opened(shell: Shell, ticket: Ticket) -> Generator[Progress, None, Engine]:
    while not shell.backend.wait(0):
        yield Progress("loading", message="Loading the models")
        shell.backend.wait(0.25)
        ticket.check()
    return shell.backend.engine()
