"""Several sets of photos as one source, drawn by weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arc2face_training.common.errors import TrainingError
from arc2face_training.common.session import Session
from arc2face_training.common.sources import DataConfig, Latents, Source
from arc2face_training.photos.source import PhotoSource


class MixedSource(Source):
    """Photo numbers of the parts one after the other; each row of a batch comes from a part drawn by weight."""

    def __init__(self, parts: Sequence[PhotoSource], weights: Sequence[float]) -> None:
        """Raises TrainingError for weights that are negative, not finite or all zero."""
        values = np.array(weights, np.float64)
        if not np.isfinite(values).all() or (values < 0).any() or values.sum() <= 0:
            raise TrainingError(f"The weights of several photo sets must be positive numbers, not {list(weights)}.")
        self.parts, self.share = list(parts), values / values.sum()
        self.starts = np.cumsum([0, *(part.count for part in parts)])
        self.count, self.size, self.flip = int(self.starts[-1]), parts[0].size, parts[0].flip
        self.people = MixedPeople([part.people for part in parts], self.starts)

    def choose(self, rng: np.random.Generator, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """See Source."""
        first, second = np.empty(n, np.int64), np.empty(n, np.int64)
        which = rng.choice(len(self.parts), n, p=self.share)
        for k, part in enumerate(self.parts):
            rows = np.flatnonzero(which == k)
            one, other = part.choose(rng, len(rows))
            first[rows], second[rows] = one + self.starts[k], other + self.starts[k]
        return first, second

    def pictures(
        self, rng: np.random.Generator, first: NDArray[np.int64], second: NDArray[np.int64], want: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """See Source; a broken photo is replaced by a draw from its own set."""
        found: dict[str, Tensor] = {}
        which = np.searchsorted(self.starts, first, side="right") - 1
        for k in np.unique(which):
            part, rows = self.parts[k], np.flatnonzero(which == k)
            one, other = first[rows] - self.starts[k], second[rows] - self.starts[k]
            for key, values in part.pictures(rng, one, other, want).items():
                found.setdefault(key, values.new_empty(len(first), *values.shape[1:]))[rows] = values
            first[rows], second[rows] = one + self.starts[k], other + self.starts[k]
        return found

    def pixels(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        return self._gathered(numbers, lambda part, own: part.pixels(own))

    def readable(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """See Source."""
        which = np.searchsorted(self.starts, numbers, side="right") - 1
        parts = zip(self.parts, self.starts, strict=False)
        own = [part.readable(numbers[which == k] - start) + start for k, (part, start) in enumerate(parts)]
        return np.intersect1d(numbers, np.concatenate(own))

    def identities(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        return self._gathered(numbers, lambda part, own: part.identities(own))

    def expressions(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        return self._gathered(numbers, lambda part, own: part.expressions(own))

    def normals(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        return self._gathered(numbers, lambda part, own: part.normals(own))

    def _gathered(self, numbers: NDArray[np.int64], read: Callable[[PhotoSource, NDArray[np.int64]], Tensor]) -> Tensor:
        return gathered(numbers, self.starts, lambda k, own, _: read(self.parts[k], own))


class MixedPeople(Sequence[NDArray[np.int64]]):
    """The people of several sets one after the other."""

    def __init__(self, parts: Sequence[Sequence[NDArray[np.int64]]], starts: NDArray[np.int64]) -> None:
        self.parts, self.starts = parts, starts
        self.ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    @overload
    def __getitem__(self, place: int) -> NDArray[np.int64]: ...
    @overload
    def __getitem__(self, place: slice) -> list[NDArray[np.int64]]: ...
    def __getitem__(self, place: int | slice) -> NDArray[np.int64] | list[NDArray[np.int64]]:
        if isinstance(place, slice):
            return [self[k] for k in range(*place.indices(len(self)))]
        at = range(len(self))[place]
        part = int(np.searchsorted(self.ends, at, side="right"))
        before = int(self.ends[part - 1]) if part else 0
        return self.parts[part][at - before] + self.starts[part]


class MixedLatents(Latents):
    """Latents of several sets."""

    def __init__(self, parts: Sequence[Latents], starts: NDArray[np.int64]) -> None:
        self.parts, self.starts = parts, starts

    def take(self, numbers: NDArray[np.int64], mirrored: Tensor) -> Tensor:
        """See Latents."""
        return gathered(numbers, self.starts, lambda k, own, rows: self.parts[k].take(own, mirrored[rows]))


def gathered(
    numbers: NDArray[np.int64],
    starts: NDArray[np.int64],
    read: Callable[[int, NDArray[np.int64], NDArray[np.int64]], Tensor],
) -> Tensor:
    """Rows of several sets in the order of `numbers`; `read(set, its own numbers, their rows)`."""
    which = np.searchsorted(starts, numbers, side="right") - 1
    order = np.argsort(which, kind="stable")
    parts = [read(int(k), numbers[which == k] - starts[k], np.flatnonzero(which == k)) for k in np.unique(which)]
    found = torch.cat(parts)
    return found[torch.from_numpy(np.argsort(order))]


def open_photos(config: DataConfig, session: Session | None, needs: tuple[str, ...]) -> Source:
    """The photos of a config: one set, or several by weight."""
    first = PhotoSource(config, session, needs)
    if not config.more:
        return first
    further = [
        dataclasses.replace(
            config, path=one.path, people=one.people, person_key=one.person_key, annotations=one.annotations, more=()
        )
        for one in config.more
    ]
    parts = [first, *(PhotoSource(each, session, needs) for each in further)]
    return MixedSource(parts, [config.weight, *(one.weight for one in config.more)])
