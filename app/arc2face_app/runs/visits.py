"""A page that is loaded anew goes on with what it had: the browser tab shows a secret of the visit before.

The secret stands in the tab's own storage (`assets/visit.js`), so that another tab, or another person, starts afresh.
It stays the same over all reloads: a page that is loaded anew twice, before the first answer, is not left without.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

PATIENCE = 10.0
"""Seconds within which a busy server notices that the page before has gone."""
MOST = 5000
"""Secrets that are remembered; the oldest goes first."""


def _nobody(before: str, now: str) -> bool:
    return False


@dataclass(slots=True)
class Before:
    """What a page has, for the one that is loaded in its place.

    `photos`, `picks`, `identity`: the person: files, the face of each, and a saved identity. `running`: tabs with a run
    under way. `gone`: the page has gone, and its runs with it.
    """

    photos: list[str] = field(default_factory=list[str])
    picks: dict[str, int] = field(default_factory=dict[str, int])
    identity: str | None = None
    running: set[str] = field(default_factory=set[str])
    gone: bool = False


class Visits:
    """Sessions by secret. Thread-safe. `succeed`: hands over what one session has to another; False while it is in use.

    A server sets `succeed` (`arc2face_app.runs.visitors`); without it every page starts afresh.
    """

    def __init__(self) -> None:
        self.succeed: Callable[[str, str], bool] = _nobody
        self._lock = threading.Lock()
        self._sessions: dict[str, str] = {}
        self._pages: dict[str, Before] = {}

    def enter(self, secret: object, session: str, patience: float | None = None) -> str:
        """Go on with the visit of this secret, as soon as the page before has gone; returns the visit's secret.

        It is another one where there is no such visit, or where its page is still open: a visit that starts afresh.
        `secret`: whatever a browser sends. `patience`: seconds to wait for the page before, PATIENCE when None.
        """
        end = time.monotonic() + (PATIENCE if patience is None else patience)
        while isinstance(secret, str) and secret in self._sessions:
            if self._take(secret, session):
                return secret
            if time.monotonic() >= end:
                break
            time.sleep(0.1)
        return self._begin(session)

    def page(self, session: str) -> Before:
        """What the page of a session has, or had."""
        with self._lock:
            return self._pages.setdefault(session, Before())

    def forget(self, session: str) -> None:
        """Drop the secret of one session, and what its page had."""
        with self._lock:
            self._pages.pop(session, None)
            for known in [one for one, its in self._sessions.items() if its == session]:
                del self._sessions[known]

    def _take(self, secret: str, session: str) -> bool:
        # Under one lock: of two pages that wait for the same visit, the second waits for the first.
        with self._lock:
            before = self._sessions.get(secret)
            if before is None or (before != session and not self.succeed(before, session)):
                return False
            self._sessions[secret] = session
            if before != session:
                self._pages[session] = replace(self._pages.pop(before, Before()), gone=False)
            return True

    def _begin(self, session: str) -> str:
        made = secrets.token_urlsafe(18)
        with self._lock:
            self._sessions[made] = session
            while len(self._sessions) > MOST:
                del self._sessions[next(iter(self._sessions))]
        return made
