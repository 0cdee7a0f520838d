"""Handing shards to workers, whoever they are: in order, again where a worker died, and never for ever."""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from arc2face import errors
from arc2face.dataset.drawing import never
from arc2face.dataset.shards import ShardDone
from arc2face.errors import Arc2FaceError, CancelledError, DeviceError

__all__ = ["Crew", "Outcome", "RunDone", "RunProgress", "Tally", "dispatch", "error_from", "words_of"]

MAX_ATTEMPTS = 3
"""How often a shard is handed out before it is given up: one that kills its workers must not kill all of them."""
WAIT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class RunProgress:
    """`shards` of `total` of this run are finished. `pictures`, `left_out`, `failed`: rows of them. `seconds_left`:

    an estimate, None until a shard was drawn. `note`: a sentence, such as that a worker died.
    """

    shards: int
    total: int
    pictures: int
    left_out: int
    failed: int
    seconds_left: float | None = None
    note: str = ""


OnProgress = Callable[[RunProgress], None]


@dataclass(frozen=True, slots=True)
class RunDone:
    """What a run did. `shards`: of its part, all finished; `drawn`: in this run. `notes`: what went wrong meanwhile.

    `cpu_seconds`: of all workers while they drew. `cpu_per_picture`: median over the shards, so that loading the models
    does not count; 0 where nothing was drawn.
    """

    shards: int
    drawn: int
    pictures: int
    left_out: int
    failed: int
    seconds: float
    cpu_seconds: float = 0.0
    cpu_per_picture: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a shard: `done`, or an `error`, or neither where the worker died. `text`: about the death.

    `shard` None: the worker has become ready, for the first time or again.
    """

    worker: int
    shard: int | None
    done: ShardDone | None = None
    error: BaseException | None = None
    text: str = ""


class Crew(Protocol):
    """Workers that draw shards."""

    def ready(self) -> list[int]:
        """Numbers of the workers that can be given work at once."""
        ...

    def expecting(self) -> bool:
        """Whether other workers are starting; `wait` tells when they are ready."""
        ...

    def hand(self, worker: int, shard: int) -> None:
        """Give a shard to a worker that has none."""
        ...

    def wait(self, seconds: float) -> list[Outcome]:
        """What has come back within that time; may be nothing. Raises DeviceError where all workers are gone."""
        ...

    def revive(self, worker: int, others: int) -> bool:
        """After a death or a failure of its device: whether the worker can be used at once. `others`: still there."""
        ...

    def close(self) -> None:
        """End all workers at once."""
        ...


@dataclass
class Tally:
    """Counts of a run, and its progress."""

    total: int
    on_progress: OnProgress
    started: float = field(default_factory=time.monotonic)
    shards: int = 0
    drawn: int = 0
    pictures: int = 0
    left_out: int = 0
    failed: int = 0
    cpu: list[tuple[float, int]] = field(default_factory=list["tuple[float, int]"])
    notes: list[str] = field(default_factory=list[str])

    def add(self, done: ShardDone) -> None:
        """One more shard."""
        self.shards += 1
        self.drawn += done.drawn
        self.pictures += done.pictures
        self.left_out += done.left_out
        self.failed += done.failed
        if done.drawn:
            self.cpu.append((done.cpu_seconds, done.pictures))
        self.tell()

    def note(self, sentence: str) -> None:
        """Something that went wrong and is taken care of."""
        self.notes.append(sentence)
        self.tell(sentence)

    def tell(self, note: str = "") -> None:
        """Say how far it is."""
        left = None
        if self.drawn:
            left = (time.monotonic() - self.started) / self.drawn * (self.total - self.shards)
        self.on_progress(RunProgress(self.shards, self.total, self.pictures, self.left_out, self.failed, left, note))

    def finished(self) -> RunDone:
        """The end."""
        each = [seconds / pictures for seconds, pictures in self.cpu if pictures]
        return RunDone(
            shards=self.shards,
            drawn=self.drawn,
            pictures=self.pictures,
            left_out=self.left_out,
            failed=self.failed,
            seconds=time.monotonic() - self.started,
            cpu_seconds=sum(seconds for seconds, _ in self.cpu),
            cpu_per_picture=statistics.median(each) if each else 0.0,
            notes=tuple(self.notes),
        )


def dispatch(crew: Crew, shards: Sequence[int], tally: Tally, stop: Callable[[], bool] = never) -> None:
    """Have all shards drawn; the crew is closed afterwards, whatever happens.

    Raises:
        CancelledError: `stop` said so. DeviceError: no worker is left, or a shard ended its workers MAX_ATTEMPTS times.
        InputError, WeightsError, StorageError: as soon as a worker meets one, because all would.
    """
    waiting, attempts, idle = deque(shards), Counter[int](), deque(crew.ready())
    busy: dict[int, int] = {}
    given_up: dict[int, str] = {}
    last: BaseException | None = None
    try:
        while waiting or busy:
            while waiting and idle:
                worker = idle.popleft()
                busy[worker] = waiting.popleft()
                crew.hand(worker, busy[worker])
            if not busy and not crew.expecting():
                raise _nobody_left(last, tally)
            if stop():
                raise CancelledError("Stopped as you asked.")
            for outcome in crew.wait(WAIT_SECONDS):
                if outcome.shard is None:
                    idle.append(outcome.worker)
                    continue
                shard = busy.pop(outcome.worker)
                if outcome.done is not None:
                    tally.add(outcome.done)
                    idle.append(outcome.worker)
                    continue
                if outcome.error is not None and not isinstance(outcome.error, DeviceError):
                    raise outcome.error
                last = outcome.error
                why = str(outcome.error) if outcome.error is not None else outcome.text
                attempts[shard] += 1
                if attempts[shard] < MAX_ATTEMPTS:
                    waiting.appendleft(shard)
                    tally.note(f"Shard {shard} is drawn again: {why}")
                else:
                    given_up[shard] = why
                if crew.revive(outcome.worker, len(busy) + len(idle)):
                    idle.append(outcome.worker)
    finally:
        crew.close()
    if given_up:
        first, why = next(iter(given_up.items()))
        raise DeviceError(
            f"{len(given_up)} of {tally.total} shards could not be drawn in {MAX_ATTEMPTS} attempts (shard {first}: "
            f"{why}). The others are finished; the same command tries again."
        )


def words_of(error: BaseException) -> tuple[str, str]:
    """An error in two words that travel between processes: name and text."""
    return type(error).__name__, str(error)


def error_from(name: str, text: str) -> BaseException:
    """The error that `words_of` took apart; one that is none of ours becomes a RuntimeError that names it."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, Arc2FaceError):
        return kind(text)
    return RuntimeError(f"{name}: {text}")


def _nobody_left(last: BaseException | None, tally: Tally) -> BaseException:
    if last is not None:
        return last
    finished = f"{tally.shards} of {tally.total} shards are finished"
    return DeviceError(f"All workers died; {finished}. The same command goes on. {' '.join(tally.notes[-1:])}")
