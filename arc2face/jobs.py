"""Worker threads: one owns the device, everybody else enqueues.

A `Job` is one submitted request: its progress can be watched, its result awaited, and it can be cancelled. Jobs run
one after the other in the order of submission, so nothing of one can meet another on the device; where the engine is
told to, waiting jobs of the running one's kind run along with it, each on rows of its own. Light tasks
(reading a photo, drawing a preview) do not wait for jobs: a running job serves them between its steps.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from arc2face import forks
from arc2face.errors import CancelledError
from arc2face.types import GenerationRequest, GenerationResult, Progress

T = TypeVar("T")
CLOSED = "The engine is closed; open another one."
JOIN_SECONDS = 60.0
"""How long closing waits for what runs. It stops within one step, or once the part it is loading is there."""


class Job:
    """A submitted generation request."""

    def __init__(
        self,
        request: GenerationRequest,
        on_cancel: Callable[[Job], None] = lambda job: None,
        previews: bool = True,
    ) -> None:
        """`on_cancel`: called once a stop is asked for; the engine takes a waiting job out of the queue there.

        `previews`: whether somebody looks at the pictures in the making.
        """
        self.request = request
        self.previews = previews
        self.score = True
        """Whether its pictures are compared with the person, as its request asks; else somebody does so later."""
        self._on_cancel = on_cancel
        self._events: queue.Queue[Progress | None] = queue.Queue()
        self._future: Future[GenerationResult] = Future()
        self._cancel = threading.Event()
        self._finishing = threading.Lock()

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
        """Used by the engine: publish the outcome. Only the first one counts."""
        with self._finishing:
            if self._future.done():
                return
            if isinstance(outcome, BaseException):
                self._future.set_exception(outcome)
            else:
                self._future.set_result(outcome)
        self._events.put(None)

    def abandon(self, error: BaseException) -> None:
        """Used by the engine in a forked child, where nobody works on this and its locks may be held for ever."""
        if not self._future.done():
            self._events, self._future, self._finishing = queue.Queue(), Future(), threading.Lock()
            self.finish(error)


class _Task(Generic[T]):
    """Something to run. `threads`: how many the caller allows torch, which counts them per thread; 0 as they are."""

    def __init__(self, run: Callable[[], T], job: Job | None) -> None:
        self.run = run
        self.job = job
        self.others: list[Job] = []
        """Jobs that were taken out of the queue to run along."""
        self.fixed = False
        """Whether `job` and `others` are a batch that nobody joins or leaves."""
        self.future: Future[T] = Future()
        torch: Any = sys.modules.get("torch")
        self.threads = int(torch.get_num_threads()) if torch is not None else 0

    def execute(self) -> None:
        """Run and hand the outcome to whoever waits."""
        torch: Any = sys.modules.get("torch")
        if self.threads and torch is not None and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        try:
            self.future.set_result(self.run())
        except BaseException as error:  # handed to the waiting caller, whatever it is
            self.future.set_exception(error)

    def fail(self, error: BaseException) -> None:
        """Hand an error to whoever waits."""
        if self.job is not None:
            self.job.finish(error)
        self.future.set_exception(error)


class DeviceWorker:
    """A thread that runs tasks one by one. `inline=True` runs them in the calling thread instead.

    Inline is for ZeroGPU, where the call itself already runs in a process that owns the device. A forked child gets a
    thread of its own when it first asks for something; what waited in the parent stays there.
    """

    def __init__(self, inline: bool = False, name: str = "arc2face-device") -> None:
        self._inline = inline
        self._name = name
        self._closed = False
        self.cut_off = False
        """Whether this process was forked while something ran or waited."""
        self._start_over()
        forks.remake_in_child(self)

    def call(self, run: Callable[[], T]) -> T:
        """Run something after what was enqueued before, and wait for it. Raises what it raises."""
        return self._call(run, light=False)

    def light(self, run: Callable[[], T]) -> T:
        """Run something short before whatever waits, or between two steps of what runs, and wait for it."""
        return self._call(run, light=True)

    def serve(self) -> None:
        """Called by what runs, between its steps: run the light tasks that have come in meanwhile."""
        while threading.current_thread() is self._thread:
            with self._wake:
                if not self._light:
                    return
                task = self._light.popleft()
            task.execute()

    def submit(self, run: Callable[[], None], job: Job, batch: Sequence[Job] = ()) -> None:
        """Enqueue a job's run; it reports its own outcome through the job.

        `batch`: the run is of exactly these, `job` the first of them; none joins, and none is taken away.
        """
        if self._inline:
            with self._lock:
                run()
            return
        task = _Task(run, job)
        task.fixed, task.others = bool(batch), list(batch[1:])
        self._put(task, self._waiting)

    def withdraw(self, job: Job) -> bool:
        """Take a waiting job out of the queue. False when it runs already or is not there."""
        with self._wake:
            for task in self._waiting:
                if task.job is job and not task.fixed:  # in a batch it ends when its turn comes
                    self._waiting.remove(task)
                    self._announce_positions()
                    return True
        return False

    def take_along(self, fits: Callable[[Job], bool]) -> list[Job]:
        """Called by what runs: the waiting jobs that `fits` accepts, in their order, now belong to this run too."""
        with self._wake:
            running = self._running
            if running is None or threading.current_thread() is not self._thread or self._closed:
                return []
            free = [task for task in self._waiting if not task.fixed]
            taken = [task for task in free if task.job is not None and fits(task.job)]
            for task in taken:
                self._waiting.remove(task)
            if taken:
                running.others = [task.job for task in taken if task.job is not None]
                self._announce_positions()
            return running.others

    @property
    def busy(self) -> bool:
        """Whether something runs or waits."""
        return self._running is not None or bool(self._waiting) or bool(self._light)

    def close(self) -> None:
        """Stop the running job within a step, fail what waits, end the thread. Harmless when repeated."""
        with self._wake:
            self._closed = True
            waiting = [*self._light, *self._waiting]
            self._light.clear()
            self._waiting.clear()
            running = self._running
            self._wake.notify_all()
        for task in waiting:
            task.fail(CancelledError("The engine was closed before this request ran."))
        jobs = [] if running is None or running.job is None else [running.job, *running.others]
        for job in jobs:
            job.cancel()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=JOIN_SECONDS)
            for job in jobs if thread.is_alive() else ():
                job.finish(CancelledError("The engine was closed during this request."))

    def after_fork(self) -> None:
        """In a forked child: new locks, no thread yet, an empty queue."""
        self.cut_off = self.busy
        forks.abandon(self._waiting, self._light, self._running)
        self._start_over()

    def _start_over(self) -> None:
        self._lock = threading.RLock()
        self._wake = threading.Condition(threading.Lock())
        self._waiting: deque[_Task[Any]] = deque()
        self._light: deque[_Task[Any]] = deque()
        self._running: _Task[Any] | None = None
        self._thread: threading.Thread | None = None

    def _call(self, run: Callable[[], T], light: bool) -> T:
        if self._inline or threading.current_thread() is self._thread:
            with self._lock:
                return run()
        return self._put(_Task(run, None), self._light if light else self._waiting).future.result()

    def _put(self, task: _Task[T], line: deque[_Task[Any]]) -> _Task[T]:
        with self._wake:
            if self._closed:
                raise CancelledError(CLOSED)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
                self._thread.start()
            line.append(task)
            self._announce_positions()
            self._wake.notify_all()
        return task

    def _announce_positions(self) -> None:
        for position, task in enumerate(self._waiting, start=1):
            if task.job is not None:
                task.job.report(Progress("queued", queue_position=position, message=f"Waiting, place {position}"))

    def _loop(self) -> None:
        while (task := self._next()) is not None:
            task.execute()
            self._running = None
            del task  # an idle thread must not keep somebody's photos and embedding in memory

    def _next(self) -> _Task[Any] | None:
        """The next task, light ones first; None once closed."""
        with self._wake:
            while not self._waiting and not self._light and not self._closed:
                self._wake.wait()
            if self._closed:
                return None
            self._running = self._light.popleft() if self._light else self._waiting.popleft()
            self._announce_positions()
            return self._running
