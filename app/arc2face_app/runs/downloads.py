"""Model files fetched from the page: one download per server, in a process of its own, watched by whoever looks.

A process, because it can be ended at any moment: inside a stalled connection, or inside a library that goes on whatever
its progress callback says. What has come stays on the disk, and the next download goes on there.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from arc2face.errors import Arc2FaceError, DownloadError
from arc2face.weights.download import Options, Plan, make_plan
from arc2face.weights.download.process import start_process
from arc2face.weights.folder import ModelsFolder
from arc2face_app.runs.backend import Backend
from arc2face_app.runs.errors import explain

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face_app.settings import ServerSettings

Planner = Callable[[Sequence[str], Path, Options], Plan]
WATCHING = 0.4
"""Seconds between two looks of a watcher."""
BUSY = "A download is under way already; it is shown here."


@dataclass(frozen=True, slots=True)
class Transfer:
    """How far a download is. `file`, `number` of `count`; `done` of `total` bytes over all files, as far as known.

    `message`: a sentence, for what has ended. `left`: seconds, None when unknown.
    """

    state: Literal["idle", "running", "loading", "done", "stopped", "failed"] = "idle"
    file: str = ""
    number: int = 0
    count: int = 0
    done: int = 0
    total: int = 0
    left: float | None = None
    message: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state not in ("running", "loading")


class Downloads:
    """The downloads of one server. Thread-safe.

    `root`: where files go. `planner`: says what is missing, and is for tests to replace. `options`: mirror, precision.
    """

    def __init__(
        self,
        backend: Backend,
        root: Path,
        *,
        planner: Planner = make_plan,
        options: Options | None = None,
        open_engine: Callable[[], Engine] | None = None,
    ) -> None:
        """`open_engine`: opens the models anew once files have come."""
        self.root = root
        self._backend = backend
        self._planner = planner
        self._options = options or Options(verify=False)
        self._open_engine = open_engine
        self._lock = threading.Lock()
        self._transfer = Transfer()
        self._process: Any = None

    @property
    def transfer(self) -> Transfer:
        """How far it is now."""
        return self._transfer

    def plan(self, feature: str, accepted: Sequence[str] = ()) -> Plan:
        """What a feature still needs. Asks servers for sizes that are not known. Raises Arc2FaceError."""
        return self._planner([feature], self.root, replace(self._options, accepted=frozenset(accepted)))

    def start(self, plan: Plan) -> None:
        """Begin to fetch; returns at once.

        Raises:
            DownloadError: one is under way already, or there is nothing to fetch.
        """
        if not plan.jobs:
            raise DownloadError("There is nothing to fetch: every file that may be fetched is there.")
        with self._lock:
            if not self._transfer.ended:
                raise DownloadError(BUSY)
            self._transfer = Transfer("running", count=len(plan.jobs), total=plan.known_bytes)
        self._process, events = start_process(plan)
        threading.Thread(target=self._watch, args=(plan, events), name="downloads", daemon=True).start()

    def stop(self) -> None:
        """End the download; what has come is kept. Harmless when nothing runs."""
        with self._lock:
            if self._transfer.state != "running":
                return
            self._transfer = replace(
                self._transfer,
                state="stopped",
                message="Stopped. What has come is kept; the next download goes on there.",
            )
        self._process.terminate()

    def follow(self) -> Iterator[Transfer]:
        """The transfer as it changes, until it has ended."""
        shown: Transfer | None = None
        while True:
            now = self._transfer
            if now != shown:
                yield now
                shown = now
            if now.ended:
                return
            time.sleep(WATCHING)

    def close(self) -> None:
        """The server ends."""
        self.stop()

    def _watch(self, plan: Plan, events: Any) -> None:
        sizes = [job.bytes or 0 for job in plan.jobs]
        began, finished = time.monotonic(), 0
        first: int | None = None
        while True:
            try:
                told = events.get(timeout=0.5)
            except queue.Empty:
                if self._process.is_alive():
                    continue
                self._end("failed", "The download ended unexpectedly. Start it again; it goes on where it was.")
                return
            if isinstance(told, str):
                self._end("failed", told)
                return
            if told is None:
                self._reload()
                return
            finished += told.kind == "done"
            done = sum(sizes[:finished]) + (told.done if told.kind in ("bytes", "verify") else 0)
            first = done if first is None and told.kind == "bytes" else first
            with self._lock:
                if self._transfer.ended:
                    return
                self._transfer = replace(
                    self._transfer,
                    file=told.title,
                    number=min(finished + 1, len(sizes)),
                    done=done,
                    total=max(self._transfer.total, done),
                    left=_left(done - (first or 0), sum(sizes) - done, time.monotonic() - began),
                )

    def _reload(self) -> None:
        """Use the new files: a fresh engine takes the old one's place, which finishes what it was asked for."""
        with self._lock:
            if self._transfer.ended:
                return
            self._transfer = replace(self._transfer, state="loading", message="Opening the models", left=None)
        try:
            self._backend.reload(self._opener())
        except Exception as error:
            self._end("failed", f"The files are there, but the models could not be opened. {explain(error)}")
            return
        self._end("done", "Fetched and verified; the models are in use now. Nothing on this page was lost.")

    def _opener(self) -> Callable[[], Engine] | None:
        """The folder that was filled, once it is complete; else the models that were in use before."""
        return self._open_engine if not ModelsFolder(self.root).missing() else None

    def _end(self, state: Literal["done", "failed"], message: str) -> None:
        with self._lock:
            if not self._transfer.ended:
                self._transfer = replace(self._transfer, state=state, message=message, left=None)


def downloads_of(settings: ServerSettings, backend: Backend, open_engine: Callable[[Path], Engine]) -> Downloads | None:
    """Downloads for a page that only this machine reaches; None for others, whose visitors do not own the machine.

    `open_engine`: opens the models of a folder.
    """
    if not settings.alone:
        return None
    root = settings.models or Path("models")
    if settings.models is not None and _is_small(settings.models):
        root = Path("models")  # the full weights must not lie among the small models
    return Downloads(backend, root, open_engine=lambda: open_engine(root))


def _is_small(folder: Path) -> bool:
    try:
        return ModelsFolder(folder).kind != "full"
    except Arc2FaceError:
        return False


def _left(come: int, missing: int, seconds: float) -> float | None:
    return missing / (come / seconds) if come > 0 and seconds > 2 else None
