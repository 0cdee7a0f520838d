"""Who gets which shard when workers die, fail, or come late. The workers here are lists; real ones die in
tests/faults/test_dataset_kill.py.
"""

from __future__ import annotations

from collections import Counter, deque

import pytest

from arc2face.dataset.dispatch import MAX_ATTEMPTS, Outcome, RunProgress, Tally, dispatch, error_from, words_of
from arc2face.dataset.shards import ShardDone
from arc2face.errors import CancelledError, DeviceError, InvalidNumbersError, StorageError


class Hands:
    """Workers that answer in turn. `deadly`: shards that kill their worker. `late`: workers that become ready later."""

    def __init__(self, count: int, deadly: tuple[int, ...] = (), late: int = 0, revived: int = 0) -> None:
        self.early, self.deadly, self.late, self.revived = (
            count - late,
            deadly,
            deque(range(count - late, count)),
            revived,
        )
        self.given: list[tuple[int, int]] = []
        self.handed: Counter[int] = Counter()
        self.errors: dict[int, BaseException] = {}
        self.closed = 0

    def ready(self) -> list[int]:
        return list(range(self.early))

    def expecting(self) -> bool:
        return bool(self.late)

    def hand(self, worker: int, shard: int) -> None:
        self.given.append((worker, shard))
        self.handed[shard] += 1

    def wait(self, seconds: float) -> list[Outcome]:
        if self.late:
            return [Outcome(self.late.popleft(), None)]
        worker, shard = self.given.pop(0)
        if shard in self.errors:
            return [Outcome(worker, shard, error=self.errors.pop(shard))]
        if shard in self.deadly:
            return [Outcome(worker, shard, text="its worker died.")]
        return [Outcome(worker, shard, done=ShardDone(shard, 4, 0, 1, drawn=True, cpu_seconds=2.0))]

    def revive(self, worker: int, others: int) -> bool:
        self.revived -= 1
        return self.revived >= 0

    def close(self) -> None:
        self.closed += 1


def test_all_shards_are_drawn_once_by_early_and_late_workers() -> None:
    crew, heard = Hands(3, late=2), list[RunProgress]()
    tally = Tally(10, heard.append)
    dispatch(crew, range(10), tally)
    done = tally.finished()
    assert crew.handed == Counter(range(10)) and crew.closed == 1
    assert (done.shards, done.drawn, done.pictures, done.failed) == (10, 10, 40, 10)
    assert done.cpu_seconds == 20.0 and done.cpu_per_picture == 0.5
    assert heard[-1].shards == 10 and heard[-1].seconds_left == 0.0


def test_a_shard_that_kills_its_workers_is_given_up_and_the_others_are_drawn() -> None:
    crew, tally = Hands(2, deadly=(3,), revived=9), Tally(6, lambda progress: None)
    with pytest.raises(DeviceError, match=r"1 of 6 shards could not be drawn in 3 attempts \(shard 3: its worker died"):
        dispatch(crew, range(6), tally)
    assert crew.handed == Counter({shard: MAX_ATTEMPTS if shard == 3 else 1 for shard in range(6)})
    assert tally.shards == 5 and len(tally.notes) == MAX_ATTEMPTS - 1 and crew.closed == 1


def test_without_workers_the_run_ends_with_what_was_wrong() -> None:
    crew, tally = Hands(2, deadly=(0, 1)), Tally(6, lambda progress: None)
    with pytest.raises(DeviceError, match="All workers died; 0 of 6 shards"):
        dispatch(crew, range(6), tally)
    crew = Hands(1)
    crew.errors[0] = DeviceError("cuda:0 ran out of memory.")
    with pytest.raises(DeviceError, match="cuda:0 ran out of memory"):
        dispatch(crew, range(6), tally)
    assert crew.closed == 1


def test_what_all_would_meet_ends_the_run_at_once() -> None:
    crew, tally = Hands(2), Tally(6, lambda progress: None)
    crew.errors[1] = StorageError("The disk is full.")
    with pytest.raises(StorageError, match="The disk is full"):
        dispatch(crew, range(6), tally)
    assert crew.closed == 1 and sum(crew.handed.values()) <= 4
    crew = Hands(2)
    with pytest.raises(CancelledError):
        dispatch(crew, range(6), tally, stop=lambda: True)
    assert crew.closed == 1


def test_errors_travel_between_processes_as_words() -> None:
    again = error_from(*words_of(InvalidNumbersError("nothing was kept")))
    assert type(again) is InvalidNumbersError and str(again) == "nothing was kept"
    assert str(error_from(*words_of(KeyError("x")))) == "KeyError: 'x'"
    assert type(error_from("os", "x")) is RuntimeError
