"""One worker thread owns the device; everybody else enqueues.

A `Job` is one submitted request: its progress can be watched, its result awaited, and it can be cancelled. Jobs run
strictly one after the other in the order of submission, so nothing of one can meet another on the device.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from arc2face.errors import CancelledError
from arc2face.types import GenerationRequest, GenerationResult, Progress

T = TypeVar("T")


class Job:
    """A submitted generation request."""

    def __init__(self, request: GenerationRequest, on_cancel: Callable[[Job], None] = lambda job: None) -> None:
        """`on_cancel`: called once a stop is asked for; the engine takes a waiting job out of the queue there."""
        self.request = request
        self._on_cancel = on_cancel
        self._events: queue.Queue[Progress | None] = queue.Queue()
        self._future: Future[GenerationResult] = Future()
        self._cancel = threading.Event()

    def cancel(self) -> None:
        """Stop: at once while waiting, within one denoising step while running. Harmless when repeated or late."""
        self._cancel.set()
        self._on_cancel(self)

    @property
    def cancelled(self) -> bool:
        """Whether a stop was asked for."""
        return self._cancel.is_set()

    @property
    def done(self) -> bool:
        """Whether a result or an error is there."""
        return self._future.done()

    def events(self) -> Iterator[Progress]:
        """Progress as it happens; ends when the job has finished, failed or stopped."""
        while True:
            event = self._events.get()
            if event is None:
                self._events.put(None)  # a second reader ends as well
                return
            yield event

    def result(self, timeout: float | None = None) -> GenerationResult:
        """Wait for the result. Raises what the run raised (an Arc2FaceError), or TimeoutError."""
        return self._future.result(timeout)

    def report(self, progress: Progress) -> None:
        """Used by the engine: publish progress."""
        self._events.put(progress)

    def finish(self, outcome: GenerationResult | BaseException) -> None:
        """Used by the engine: publish the outcome, once."""
        if isinstance(outcome, BaseException):
            self._future.set_exception(outcome)
        else:
            self._future.set_result(outcome)
        self._events.put(None)


class _Task(Generic[T]):
    def __init__(self, run: Callable[[], T], job: Job | None) -> None:
        self.run = run
        self.job = job
        self.future: Future[T] = Future()


class DeviceWorker:
    """A thread that runs tasks one by one. `inline=True` runs them in the calling thread instead.

    Inline is for ZeroGPU, where the call itself already runs in a process that owns the device.
    """

    def __init__(self, inline: bool = False) -> None:
        self._inline = inline
        self._lock = threading.RLock()
        self._wake = threading.Condition(threading.Lock())
        self._waiting: deque[_Task[Any]] = deque()
        self._closed = False
        self._thread: threading.Thread | None = None

    def call(self, run: Callable[[], T]) -> T:
        """Run something on the device's thread and wait for it. Raises what it raises."""
        if self._inline or threading.current_thread() is self._thread:
            with self._lock:
                return run()
        return self._put(_Task(run, None)).future.result()

    def submit(self, run: Callable[[], None], job: Job) -> None:
        """Enqueue a job's run; it reports its own outcome through the job."""
        if self._inline:
            with self._lock:
                run()
            return
        self._put(_Task(run, job))

    def withdraw(self, job: Job) -> bool:
        """Take a waiting job out of the queue. False when it runs already or is not there."""
        with self._wake:
            for task in self._waiting:
                if task.job is job:
                    self._waiting.remove(task)
                    self._announce_positions()
                    return True
        return False

    def close(self) -> None:
        """Finish what runs, fail what waits, stop the thread."""
        with self._wake:
            self._closed = True
            waiting, self._waiting = list(self._waiting), deque()
            self._wake.notify_all()
        for task in waiting:
            error = CancelledError("The engine was closed before this request ran.")
            if task.job is not None:
                task.job.finish(error)
            task.future.set_exception(error)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=60)

    def _put(self, task: _Task[T]) -> _Task[T]:
        with self._wake:
            if self._closed:
                raise CancelledError("The engine is closed.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="arc2face-device", daemon=True)
                self._thread.start()
            self._waiting.append(task)
            self._announce_positions()
            self._wake.notify_all()
        return task

    def _announce_positions(self) -> None:
        for position, task in enumerate(self._waiting, start=1):
            if task.job is not None:
                task.job.report(Progress("queued", queue_position=position, message=f"Waiting, place {position}"))

    def _loop(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closed:
                    self._wake.wait()
                if not self._waiting:
                    return
                task = self._waiting.popleft()
                self._announce_positions()
            try:
                task.future.set_result(task.run())
            except BaseException as error:  # handed to the waiting caller, whatever it is
                task.future.set_exception(error)
