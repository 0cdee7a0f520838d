"""The engine as the page sees it: opened in the background, so that the page is reachable before the models are.

Importing this module, and building the whole page, pulls in neither torch nor diffusers; the loader thread does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from arc2face.errors import Arc2FaceError
from arc2face_app.runs.errors import explain

if TYPE_CHECKING:
    from arc2face.engine import Engine

logger = logging.getLogger("arc2face.app")
QUIET_SECONDS = 30.0
"""A series asks for its next picture long before this has passed."""


class Backend:
    """Holds one engine that may still be opening.

    `kind`: full, starter or tiny when known before the engine is open, else an empty string. `note`: what visitors
    should know about the models, such as why they are not those that were asked for.
    """

    def __init__(self, open_engine: Callable[[], Engine], *, kind: str = "", note: str = "") -> None:
        self._open = open_engine
        self._kind = kind
        self.note = note
        self._engine: Engine | None = None
        self._error: Exception | None = None
        self._finished = threading.Event()
        self._started = threading.Lock()
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, engine: Engine, note: str = "") -> Backend:
        """A backend around an engine that is already open."""
        backend = cls(lambda: engine, note=note)
        backend._engine = engine
        backend._finished.set()
        return backend

    @classmethod
    def without(cls, error: Exception) -> Backend:
        """A backend whose engine could not be opened: the page comes up and says why."""

        def fail() -> Engine:
            raise error

        backend = cls(fail)
        backend._error = error
        backend._finished.set()
        return backend

    def start(self) -> None:
        """Begin opening the engine in the background; later calls do nothing."""
        with self._started:
            if self._thread is None and not self._finished.is_set():
                self._thread = threading.Thread(target=self._run, name="engine-loader", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        try:
            self._engine = self._open()
        except Exception as error:
            expected = isinstance(error, Arc2FaceError)
            logger.error("The models could not be opened: %s", error, exc_info=None if expected else error)
            self._error = error
        finally:
            self._finished.set()

    @property
    def ready(self) -> bool:
        """True once the engine is open and usable."""
        return self._engine is not None

    @property
    def problem(self) -> str:
        """Why the engine could not be opened, fit for the user; empty while all is well."""
        return explain(self._error) if self._error is not None else ""

    @property
    def kind(self) -> str:
        """full, starter or tiny; an empty string while unknown."""
        return self._engine.models.kind if self._engine is not None else self._kind

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until opening has finished, well or not; returns False when `timeout` seconds ran out first."""
        self.start()
        return self._finished.wait(timeout)

    def engine(self) -> Engine:
        """The engine, waiting for it where necessary.

        Raises:
            Arc2FaceError: what opening raised, again on every call.
        """
        self.wait()
        if self._engine is None:
            raise self._error or RuntimeError("the engine finished opening without a result")
        return self._engine

    def reload(self, open_engine: Callable[[], Engine] | None = None) -> None:
        """Open the models anew and use them from now on; the engine before finishes what it was asked for.

        `open_engine`: how, from now on; as before when None. Raises what opening raises; then all stays as it was.
        """
        opened = (open_engine or self._open)()
        before, self._engine, self._error = self._engine, opened, None
        self._open = open_engine or self._open
        self._finished.set()
        if before is not None:
            threading.Thread(target=_retire, args=(before,), name="engine-retirement", daemon=True).start()

    def close(self) -> None:
        """Release the engine's memory and its worker."""
        if self._engine is not None:
            self._engine.close()


def _retire(engine: Engine) -> None:
    """Close an engine that nobody gets any more, once nothing was asked of it for a while."""
    quiet = 0.0
    while quiet < QUIET_SECONDS:
        time.sleep(1.0)
        quiet = 0.0 if engine.worker.busy else quiet + 1.0
    engine.close()
