"""A whole denoising run on captured steps: filled once, then one replay per step, at most two of them under way."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from arc2face.diffusion.device import is_out_of_memory
from arc2face.diffusion.graphs.backend import Backend, Fetched, Mark
from arc2face.diffusion.graphs.fastpath import Entry, FastPath
from arc2face.diffusion.graphs.step import Given, StepProgram

IN_FLIGHT = 2
"""Steps that may be under way: the device never idles, progress is honest, and Stop is heard within as many."""
PREVIEW_EVERY = 0.1
"""Seconds between two previews; nobody sees more."""

OnStep = Callable[[int, Tensor | None], None]
"""(steps done, clean estimate of the watched pictures (k, C, h, w) in host memory, or None when there is none yet)."""


class ReplayError(RuntimeError):
    """The captured work failed. Nothing of the run is kept; it can be done plainly from the start."""


@dataclass
class Watch:
    """Who looks on. `pictures`: numbers of the pictures whose previews are wanted, none when nobody watches.

    `check`: raises when the run is to be stopped; called before every step.
    """

    on_step: OnStep = lambda step, estimate: None
    check: Callable[[], None] = lambda: None
    pictures: Sequence[int] = ()
    clock: Callable[[], float] = time.perf_counter


@dataclass
class StepRun:
    """One run. `acts(number, step)`: whether a ControlNet of the run acts at a step.

    `unguided`: the same run for those steps at which `guides` is False; None when all are alike.
    """

    fast: FastPath
    given: Given
    acts: Callable[[int, int], bool] = lambda number, step: True
    watch: Watch = field(default_factory=Watch)
    unguided: Given | None = None
    guides: Sequence[bool] = ()
    _under_way: Fetched | None = None
    _looked: float = 0.0

    def __call__(self) -> Tensor | None:
        """The final latents (n, C, h, w) float32, on the device; None when the fast path is not for this run.

        Raises ReplayError, what `watch` raises, and out-of-memory errors as they are.
        """
        steps = len(self.given.table.rows)
        plan = [self._acting(step) for step in range(steps)]
        entries: dict[tuple[bool, tuple[int, ...]], Entry] = {}
        try:
            for one in dict.fromkeys(plan):
                given = self.given if one[0] or self.unguided is None else self.unguided
                entry = self._entry(replace(given, controls=tuple(given.controls[k] for k in one[1])))
                if entry is None:
                    return None
                entries[one] = entry
            with torch.no_grad():
                return self._walk([entries[one] for one in plan])
        finally:
            for entry in entries.values():
                entry.empty()

    def _acting(self, step: int) -> tuple[bool, tuple[int, ...]]:
        """Whether guidance acts at a step, and the numbers of the ControlNets that do."""
        guided = self.unguided is None or self.guides[step]
        return guided, tuple(number for number in range(len(self.given.controls)) if self.acts(number, step))

    def _entry(self, given: Given) -> Entry | None:
        """The captured step for this kind of run, filled with it."""
        entry = self.fast.entry(given.kind(), given.weights(), lambda: StepProgram(given))
        if entry is not None:
            entry.program.fill(given)
            self.fast.prepare(entry)
        return entry

    def _walk(self, entries: Sequence[Entry]) -> Tensor:
        backend = self.fast.backend
        assert backend is not None
        marks: deque[Mark] = deque()
        before, done = entries[0], 0
        self._looked = self.watch.clock()
        for entry in entries:
            self.watch.check()
            with _as_replay_error():
                entry.program.take_over(before.program)
                entry.step()
                self._look(backend, entry.program)
                marks.append(backend.mark())
            before = entry
            while len(marks) >= IN_FLIGHT:
                done = self._finished(marks.popleft(), done)
        while marks:
            done = self._finished(marks.popleft(), done)
        return before.program.latents.clone()

    def _look(self, backend: Backend, program: StepProgram) -> None:
        """Send previews on their way, when somebody watches and the last ones were long enough ago."""
        if self._under_way is not None or not self.watch.pictures:
            return
        now = self.watch.clock()
        if now - self._looked >= PREVIEW_EVERY:
            self._looked = now
            self._under_way = backend.fetch(torch.stack([program.estimate[k] for k in self.watch.pictures]))

    def _finished(self, mark: Mark, done: int) -> int:
        with _as_replay_error():
            mark.wait()
            estimate = self._under_way.take() if self._under_way is not None else None
        if estimate is not None:
            self._under_way = None
        self.watch.on_step(done + 1, estimate)
        return done + 1


@contextmanager
def _as_replay_error() -> Generator[None]:
    """What the device says within; a full one is another matter, for which smaller groups help."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise ReplayError(str(error)) from error
