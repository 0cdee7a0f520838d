"""Who is on which photo, for millions of photos: two arrays instead of a list of lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from arc2face_training.photos.names import Hashes, Int64


class People(Sequence[NDArray[np.int64]]):
    """Photo numbers by person, without an object for each: person p has `order[start[p]:start[p + 1]]`."""

    def __init__(self, order: NDArray[np.uint32], start: Int64) -> None:
        self.order, self.start = order, start

    @classmethod
    def of(cls, person: NDArray[np.uint32], kept: Int64 | None = None) -> People:
        """Groups of the photos `kept` (all), in the order of each person's first photo."""
        numbers = np.arange(len(person), dtype=np.uint32) if kept is None else kept.astype(np.uint32)
        own = person[numbers]
        order = np.argsort(own, kind="stable")
        start = np.flatnonzero(np.diff(own[order], prepend=np.iinfo(np.int64).min))
        return cls(numbers[order], np.append(start, len(own)).astype(np.int64))

    def __len__(self) -> int:
        return len(self.start) - 1

    @overload
    def __getitem__(self, place: int) -> NDArray[np.int64]: ...
    @overload
    def __getitem__(self, place: slice) -> list[NDArray[np.int64]]: ...
    def __getitem__(self, place: int | slice) -> NDArray[np.int64] | list[NDArray[np.int64]]:
        if isinstance(place, slice):
            return [self[k] for k in range(*place.indices(len(self)))]
        at = range(len(self))[place]
        return np.array(self.order[int(self.start[at]) : int(self.start[at + 1])], np.int64)

    def sizes(self) -> Int64:
        """(people,) photos of each."""
        return np.diff(self.start)


def grouped(owner: Hashes) -> dict[str, NDArray[Any]]:
    """Person numbers in the order of their first photos, and the photos of each."""
    _, first, person = np.unique(owner, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.uint32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.uint32)
    numbers = rank[person]
    people = People.of(numbers)
    return {"person": numbers, "order": people.order, "start": people.start}
