"""What each visitor has made, kept until their page closes. The page shows what stands here.

Runs of two tabs may finish at once: each is added under a lock, so neither overwrites the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from arc2face_app.runs.pictures import Picture, Run

MAX_RUNS = 50
"""Runs remembered per visitor; the oldest goes first."""


@dataclass(slots=True)
class _Book:
    """`runs`: with removed pictures, so that it can be undone. `cleared`: in their tab still, not in the history.
    `superseded`: pictures that became part of a later run. `since`: milliseconds since 1970.
    """

    runs: dict[str, Run] = field(default_factory=dict[str, Run])
    removed: set[str] = field(default_factory=set[str])
    cleared: set[str] = field(default_factory=set[str])
    superseded: set[str] = field(default_factory=set[str])
    favourites: set[str] = field(default_factory=set[str])
    bin: dict[str, Path] = field(default_factory=dict[str, Path])
    revision: int = 0
    since: int = field(default_factory=lambda: int(time.time() * 1000))


class RunStore:
    """Runs by visitor. Thread-safe. Every change gives the visitor's list a new revision number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._books: dict[str, _Book] = {}

    def put(self, session: str, run: Run) -> int:
        """Add a run, or replace it by its later form with more pictures; returns the revision."""
        with self._lock:
            book = self._books.setdefault(session, _Book())
            book.runs[run.id] = run
            while len(book.runs) > MAX_RUNS:
                del book.runs[next(iter(book.runs))]
            return self._changed(book)

    def remove(self, session: str, ids: Iterable[str]) -> int:
        """Take pictures out of the list; returns the revision."""
        return self._mark(session, ids, "removed", True)

    def supersede(self, session: str, ids: Iterable[str]) -> int:
        """Take pictures out for good, because a later run holds what they showed; returns the revision."""
        chosen = list(ids)
        self._mark(session, chosen, "superseded", True)
        return self.remove(session, chosen)

    def superseded(self, session: str) -> list[str]:
        """Pictures that a browser is to forget, too."""
        with self._lock:
            book = self._books.get(session)
            return sorted(book.superseded) if book is not None else []

    def clear(self, session: str, ids: Iterable[str]) -> int:
        """Take pictures out of the history; their tab goes on showing them. Returns the revision."""
        return self._mark(session, ids, "cleared", True)

    def restore(self, session: str, ids: Iterable[str]) -> int:
        """Undo `remove` and `clear`; returns the revision."""
        chosen = list(ids)
        self._mark(session, chosen, "cleared", False)
        return self._mark(session, chosen, "removed", False)

    def favour(self, session: str, ids: Iterable[str], on: bool) -> int:
        """Mark pictures as favourites, or no longer; returns the revision."""
        return self._mark(session, ids, "favourites", on)

    def runs(self, session: str) -> tuple[Run, ...]:
        """The visitor's runs, oldest first, removed pictures included."""
        with self._lock:
            book = self._books.get(session)
            return tuple(book.runs.values()) if book is not None else ()

    def run(self, session: str, run_id: str) -> Run | None:
        """One run, or None when it is not there (any more)."""
        with self._lock:
            book = self._books.get(session)
            return book.runs.get(run_id) if book is not None else None

    def find(self, session: str, picture_id: str) -> Picture | None:
        """One picture of the visitor's own, removed or not; None when there is no such picture."""
        pictures = (picture for run in self.runs(session) for picture in run.pictures)
        return next((picture for picture in pictures if picture.id == picture_id), None)

    def is_cleared(self, session: str, picture_id: str) -> bool:
        """Whether the visitor cleared it from the history."""
        with self._lock:
            book = self._books.get(session)
            return book is not None and picture_id in book.cleared

    def is_favourite(self, session: str, picture_id: str) -> bool:
        """Whether the visitor marked it."""
        with self._lock:
            book = self._books.get(session)
            return book is not None and picture_id in book.favourites

    def shown(self, session: str) -> list[tuple[Run, Picture]]:
        """What is not removed, the newest run first."""
        with self._lock:
            book = self._books.get(session)
            gone = frozenset(book.removed) if book is not None else frozenset[str]()
        runs = reversed(self.runs(session))
        return [(run, picture) for run in runs for picture in run.pictures if picture.id not in gone]

    def bin(self, session: str) -> dict[str, Path]:
        """Copies of files that were deleted from the outputs folder, by the names they had there, for the undo."""
        with self._lock:
            return self._books.setdefault(session, _Book()).bin

    def hand_over(self, before: str, now: str) -> None:
        """What one session has made is another's from now on, which goes on counting where that one was."""
        with self._lock:
            old, new = self._books.pop(before, None), self._books.get(now)
            if old is None:
                return
            if new is not None:  # the new page was quick
                old.runs |= new.runs
                old.revision, old.since = max(old.revision, new.revision), max(old.since, new.since)
                for mark in ("removed", "cleared", "superseded", "favourites", "bin"):
                    getattr(old, mark).update(getattr(new, mark))
            self._books[now] = old
            self._changed(old)

    def revision(self, session: str) -> int:
        """The number of the visitor's list as it stands."""
        with self._lock:
            book = self._books.get(session)
            return 0 if book is None else book.revision

    def stamp(self, session: str) -> int:
        """A number that only grows, also where the list was forgotten and begun anew: of two answers the greater is
        the newer. 0 without a list.
        """
        with self._lock:
            book = self._books.get(session)
            return 0 if book is None else book.since + book.revision

    def forget(self, session: str) -> None:
        """Drop everything of one visitor."""
        with self._lock:
            self._books.pop(session, None)

    def __len__(self) -> int:
        with self._lock:
            return len(self._books)

    def _mark(self, session: str, ids: Iterable[str], mark: str, on: bool) -> int:
        with self._lock:
            book = self._books.setdefault(session, _Book())
            known = {picture.id for run in book.runs.values() for picture in run.pictures}
            marked: set[str] = getattr(book, mark)
            chosen = known.intersection(ids)  # what a browser sends may name anything
            marked.update(chosen) if on else marked.difference_update(chosen)
            return self._changed(book)

    @staticmethod
    def _changed(book: _Book) -> int:
        book.revision += 1
        return book.revision
