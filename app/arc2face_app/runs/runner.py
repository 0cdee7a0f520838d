"""From a click to results: submit to the engine and follow the progress.

`follow` is the one path that the tabs and the API take, so that both behave alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from arc2face.errors import CancelledError
from arc2face.types import GenerationRequest, GenerationResult, Progress
from arc2face_app.runs import zerogpu
from arc2face_app.runs.shell import Shell
from arc2face_app.runs.tickets import Ticket

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.jobs import Job

MIN_INTERVAL = 0.1
"""Seconds between two progress updates of the same stage; a browser needs no more."""

Prepare = Callable[["Engine"], Sequence[GenerationRequest]]
"""Makes the requests of one run; called once the engine is open, and allowed to raise Arc2FaceError."""
Results = tuple[GenerationResult, ...]
Events = Iterator[Progress | GenerationResult]


class ReplacedError(CancelledError):
    """A newer run of the same part of the page took this one's place; nobody waits for it any more."""


def follow(shell: Shell, session: str, prepare: Prepare, lane: str = "") -> Iterator[Progress | Results]:
    """Run one request, or several one after the other; yields progress over all of them and, last, the results.

    A series queues once: its requests stand in the queue one behind the other. Everything is stopped when the
    iterator is closed or the session's tickets are cancelled. `lane`: a run takes the place of the one before it in
    the same lane, such as a tab.

    Raises:
        Arc2FaceError: a request is invalid, or generation failed; CancelledError when it was stopped, ReplacedError
            when a newer run of its lane took its place.
    """
    with shell.jobs.ticket(session, lane) as ticket:
        ticket.await_turn()
        try:
            yield from _run(shell, ticket, prepare)
        except CancelledError as error:
            raise ReplacedError(str(error)) if ticket.replaced else error from None


def _run(shell: Shell, ticket: Ticket, prepare: Prepare) -> Iterator[Progress | Results]:
    engine = yield from opened(shell, ticket)
    yield Progress("encoding")
    requests = prepare(engine)
    results: list[GenerationResult] = []
    for number, events in enumerate(computed(engine, requests, ticket)):
        ticket.check()
        for event in thinned(events):
            if ticket.replaced:  # not a word more: the newer run has the screen
                ticket.check()
            if isinstance(event, Progress):
                yield overall(event, number, len(requests))
            else:
                results.append(event)
    if ticket.replaced:
        ticket.check()
    yield tuple(results)


def computed(engine: Engine, requests: Sequence[GenerationRequest], ticket: Ticket) -> list[Events]:
    """Submit all requests at once; per request what is to be seen of it, the result last."""
    if zerogpu.available():
        return zerogpu.run(engine, requests, ticket)
    jobs: list[Job] = []
    for request in requests:
        jobs.append(engine.submit(request))
        ticket.attach(jobs[-1])
    return [_followed(job, waits=number == 0) for number, job in enumerate(jobs)]


def _followed(job: Job, waits: bool) -> Events:
    """`waits`: places in the queue are worth telling; a later picture of a series stands behind its own series."""
    for event in job.events():
        if waits or event.stage != "queued":
            yield event
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


def opened(shell: Shell, ticket: Ticket) -> Generator[Progress, None, Engine]:
    """The engine, waiting for it where necessary; yields progress. Raises CancelledError, or why there is none."""
    while not shell.backend.wait(0):
        yield Progress("loading", message="Loading the models")
        shell.backend.wait(0.25)
        ticket.check()
    return shell.backend.engine()
