"""Which jobs belong to which visitor, so that one visitor can stop their own and nobody else's."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from arc2face.errors import CancelledError


class Cancellable(Protocol):
    """What this module needs of a job."""

    def cancel(self) -> None:
        """Ask the job to stop within one step."""
        ...


class Ticket:
    """One run of one visitor, from the click to the last picture. Cancelling works before the job exists, too."""

    def __init__(self, lane: str = "") -> None:
        """`lane`: the part of the page that it belongs to, such as a tab."""
        self.lane = lane
        self.replaced = False
        """A newer run of the same lane has taken its place."""
        self.before: tuple[Ticket, ...] = ()
        """Tickets whose place it takes."""
        self._closed = threading.Event()
        self._cancelled = threading.Event()
        self._jobs: list[Cancellable] = []

    def attach(self, job: Cancellable) -> None:
        """Tie a submitted job to this ticket; it is stopped at once if the ticket was cancelled meanwhile."""
        self._jobs.append(job)
        if self._cancelled.is_set():
            job.cancel()

    def cancel(self) -> None:
        """Stop what belongs to this ticket; harmless when it has finished."""
        self._cancelled.set()
        for job in tuple(self._jobs):
            job.cancel()

    def close(self) -> None:
        """Its run has ended, and has said its last word."""
        self._closed.set()

    def await_turn(self, seconds: float = 10.0) -> None:
        """Wait until the runs whose place it takes have ended, so that none of their words come after its own."""
        for other in self.before:
            other._closed.wait(seconds)

    @property
    def stopped(self) -> bool:
        """Whether it was cancelled."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise CancelledError when the ticket was cancelled."""
        if self._cancelled.is_set():
            raise CancelledError("Stopped. Nothing was kept.")


class JobBook:
    """Open tickets per session. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets: dict[str, list[Ticket]] = {}

    @contextmanager
    def ticket(self, session: str, lane: str = "") -> Generator[Ticket]:
        """A ticket that is open during the block and cancelled when the block is left, in whatever way.

        In a named lane it takes the place of the tickets that are open there.

        Gradio closes an event's generator when its browser tab goes away; that leaves this block too.
        """
        ticket = Ticket(lane)
        with self._lock:
            before = [other for other in self._tickets.get(session, ()) if lane and other.lane == lane]
            self._tickets.setdefault(session, []).append(ticket)
        ticket.before = tuple(before)
        for other in before:
            other.replaced = True
            other.cancel()
        try:
            yield ticket
        finally:
            ticket.cancel()
            ticket.close()
            with self._lock:
                self._tickets[session].remove(ticket)
                if not self._tickets[session]:
                    del self._tickets[session]

    def cancel(self, session: str, lane: str = "") -> int:
        """Cancel the open tickets of one session, in one lane or in all of them; returns how many there were."""
        with self._lock:
            tickets = tuple(one for one in self._tickets.get(session, ()) if lane in ("", one.lane))
        for ticket in tickets:
            ticket.cancel()
        return len(tickets)

    def cancel_all(self) -> None:
        """Cancel every open ticket: the server ends."""
        with self._lock:
            sessions = tuple(self._tickets)
        for session in sessions:
            self.cancel(session)

    def __len__(self) -> int:
        with self._lock:
            return sum(len(tickets) for tickets in self._tickets.values())
