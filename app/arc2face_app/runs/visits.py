"""A page that is loaded anew goes on with what it had: the browser tab shows a secret of the visit before.

The secret stands in the tab's own storage (`assets/visit.js`), so that another tab, or another person, starts afresh.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

PATIENCE = 10.0
"""Seconds within which a busy server notices that the page before has gone."""


def _nobody(before: str, now: str) -> bool:
    return False


class Visits:
    """Secrets by session. Thread-safe. `succeed`: hands over what one session has to another; False while it is in use.

    A server sets `succeed` (`arc2face_app.runs.visitors`); without it every page starts afresh.
    """

    def __init__(self) -> None:
        self.succeed: Callable[[str, str], bool] = _nobody
        self._lock = threading.Lock()
        self._sessions: dict[str, str] = {}

    def secret(self, session: str) -> str:
        """A new secret of this session, in place of the one before."""
        made = secrets.token_urlsafe(18)
        with self._lock:
            self._drop(session)
            self._sessions[made] = session
        return made

    def resume(self, secret: object, session: str, patience: float | None = None) -> bool:
        """Take over what the session of this secret has; returns whether there was one that had ended.

        `secret`: whatever a browser sends. `patience`: seconds to wait for that session to end,
        PATIENCE when None.
        """
        before = self._sessions.get(secret) if isinstance(secret, str) else None
        if before is None or before == session:
            return False
        end = time.monotonic() + (PATIENCE if patience is None else patience)
        while not self.succeed(before, session):
            if time.monotonic() >= end:
                return False
            time.sleep(0.1)
        self.forget(before)
        return True

    def forget(self, session: str) -> None:
        """Drop the secret of one session."""
        with self._lock:
            self._drop(session)

    def _drop(self, session: str) -> None:
        for known in [one for one, its in self._sessions.items() if its == session]:
            del self._sessions[known]
