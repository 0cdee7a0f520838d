"""Who is there: what a visitor keeps on the server, how much they may ask for at once, and when all of it goes.

A visitor is a Gradio session. Open pages (and `gradio_client`) hold a heartbeat; sessions without one are plain HTTP
clients, which leave without saying so and are forgotten when they have been idle for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arc2face_app.runs.memory import give_back
from arc2face_app.runs.requests import file_paths

if TYPE_CHECKING:
    import gradio as gr

GRACE = 10.0
"""Seconds that a closed page may take to come back (a lost connection) before its files go."""
IDLE = 1800.0
"""Seconds after which a client without a heartbeat is forgotten."""
STATE_IDLE = 30.0
"""Seconds after which the component values (about 1 MB) of such a client go; no endpoint reads those of an earlier
call."""
MAX_STATES = 200
"""Sessions whose component values are kept. Beyond it the longest idle without a page go first."""
TIDY_EVERY = 15.0
MAX_STREAMS = 2000
WAITING = 64
"""Requests that may wait in one queue; heavy and light work have a queue each, so neither fills the other's."""
PER_SESSION = 16
PER_ADDRESS = 48
"""Requests, waiting or running, of one session and of one network address."""


class Streams(OrderedDict[str, Any]):
    """Message streams by session. Gradio drops the longest unused; this drops only those with nothing under way.

    That way nobody ends another visitor's stream by opening many of their own.
    """

    def __init__(self, queue: Any) -> None:
        super().__init__()
        self._queue = queue

    def __setitem__(self, session: str, messages: Any) -> None:
        super().__setitem__(session, messages)
        for other in list(self)[:-1]:
            if len(self) <= MAX_STREAMS:
                return
            if not self.busy(other):
                del self[other]
                self._queue.pending_event_ids_session.pop(other, None)

    def busy(self, session: str) -> bool:
        """Whether a request of this session waits or runs."""
        ids = self._queue.pending_event_ids_session.get(session, ())
        return any(one in self._queue.event_ids_to_events for one in ids)


class Visitors:
    """Books of one running page. Thread-safe.

    `uploads`: the folder that Gradio puts uploaded files into. `forgets`: whatever else keeps things by session.
    `hand_overs`: what gives things of one session to another.
    """

    def __init__(
        self,
        page: gr.Blocks,
        uploads: Path,
        forgets: Iterable[Callable[[str], None]],
        hand_overs: Iterable[Callable[[str, str], None]] = (),
    ) -> None:
        self._page = page
        self._forgets = tuple(forgets)
        self._hand_overs = tuple(hand_overs)
        self._uploads = uploads.resolve()
        self._lock = threading.Lock()
        self._open: defaultdict[str, int] = defaultdict(int)
        self._seen: dict[str, float] = {}
        self._claims: defaultdict[str, set[Path]] = defaultdict(set)
        # The page's own pictures lie among the uploads; one that a visitor taps is still everybody's.
        self._own = {Path(path) for path in file_paths(page.config["components"])}
        self._queue: Any = page._queue  # pyright: ignore[reportPrivateUsage] - Gradio has no public way to its queue
        self.streams = Streams(self._queue)
        self._queue.pending_messages_per_session = self.streams

    def opened(self, session: str) -> None:
        """A page or client connected."""
        with self._lock:
            self._open[session] += 1
            self._seen[session] = time.monotonic()

    def closed(self, session: str) -> None:
        """A connection of a page or client ended."""
        with self._lock:
            self._open[session] -= 1
            if self._open[session] <= 0:
                del self._open[session]

    def is_open(self, session: str) -> bool:
        """Whether the session has a page or client connected."""
        return session in self._open

    def claim(self, session: str, paths: Iterable[str]) -> None:
        """Note which uploaded files a session works with; they go with the last session that claimed them."""
        with self._lock:
            self._seen[session] = time.monotonic()
            for path in map(Path, paths):
                if path not in self._own and self._is_upload(path):
                    self._claims[session].add(path)

    def refusal(self, session: str, address: str, fn: Any) -> str:
        """Why this request may not queue now; empty when it may. `fn`: the Gradio function asked for."""
        if fn is None or not fn.queue:
            return ""
        waiting = self._queue.event_queue_per_concurrency_id.get(fn.concurrency_id)
        if waiting is not None and len(waiting.queue) >= WAITING:
            return f"{WAITING} requests are waiting already. Try again in a moment."
        events = list(self._queue.event_ids_to_events.values())
        if sum(event.session_hash == session for event in events) >= PER_SESSION:
            return f"{PER_SESSION} of your requests are waiting already. Let some finish, or stop them."
        if sum(_address(event) == address for event in events) >= PER_ADDRESS:
            return f"{PER_ADDRESS} requests from your address are waiting already. Try again in a moment."
        return ""

    def tidy(self, now: float | None = None) -> None:
        """Forget clients that left without saying so; what they typed goes first."""
        now = time.monotonic() if now is None else now
        holder = self._page.app.state_holder
        with self._lock:
            for session in list(holder.session_data):
                self._seen.setdefault(session, now)  # a client that never said who it is
            gone = [one for one, seen in self._seen.items() if now - seen > IDLE and not self._in_use(one)]
        for session in gone:
            self.forget(session)
        many = len(holder.session_data) - MAX_STATES
        dropped = 0
        for session in list(holder.session_data):
            idle = now - self._seen.get(session, now)
            if (dropped < many or idle > STATE_IDLE) and not self._in_use(session):
                self._drop_state(session)
                dropped += 1
        if dropped:
            give_back()

    async def keep_tidy(self) -> None:
        """Tidy now and then, also while nobody asks for anything; ends when it is cancelled."""
        while True:
            await asyncio.sleep(TIDY_EVERY)
            await asyncio.to_thread(self.tidy)

    def succeed(self, before: str, now: str) -> bool:
        """Give what a session without a page has to the one opened in its place; False while it has one."""
        with self._lock:
            if self._in_use(before):
                return False
            self._claims[now] |= self._claims.pop(before, set())
            self._seen.pop(before, None)
            self._seen.setdefault(now, time.monotonic())  # gone again, perhaps: then it is forgotten in its time
        for hand_over in self._hand_overs:
            hand_over(before, now)
        return True

    def forget(self, session: str) -> None:
        """Remove what a session has uploaded, made and typed, unless it is connected or has something under way."""
        with self._lock:
            if self._in_use(session):
                return
            self._seen.pop(session, None)
            mine = self._claims.pop(session, set())
            others: set[Path] = set().union(*self._claims.values()) if self._claims else set()
        for path in mine - others:
            with contextlib.suppress(OSError):  # gone already, or the folder holds another name of the same picture
                path.unlink()
                path.parent.rmdir()
        for forget in self._forgets:
            forget(session)
        self._drop_state(session)
        self.streams.pop(session, None)
        self._queue.pending_event_ids_session.pop(session, None)
        give_back()

    def _in_use(self, session: str) -> bool:
        return session in self._open or self.streams.busy(session)

    def _drop_state(self, session: str) -> None:
        holder = self._page.app.state_holder
        with holder.lock:
            holder.session_data.pop(session, None)
            holder.time_last_used.pop(session, None)

    def _is_upload(self, path: Path) -> bool:
        """Only what Gradio's upload route makes: a file in a folder of its own, directly below the uploads."""
        return path.resolve().parent.parent == self._uploads and path.is_file() and path.parent.name != "results"


def _address(event: Any) -> str:
    client = event.request.client
    return client.host if client is not None else ""
