"""Stored pictures of a dataset: JPEG or raw bytes in one file per shard, read like an array."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

U8 = NDArray[np.uint8]


def encode(picture: U8, quality: int) -> bytes:
    """Bytes of an RGB picture (S, S, 3): JPEG without colour subsampling, or raw for quality 0."""
    if not quality:
        return np.ascontiguousarray(picture).tobytes()
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


def decode(content: bytes, size: int, quality: int) -> U8:
    """The picture (S, S, 3) that `encode` made."""
    if not quality:
        return np.frombuffer(content, np.uint8).reshape(size, size, 3)
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)


@functools.lru_cache(maxsize=256)
def _blob(path: Path) -> NDArray[np.uint8]:
    return np.memmap(path, np.uint8, "r")


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures (n, size, size, 3) uint8 RGB, decoded when indexed by a number, a slice or an array of numbers.

    `files`: the blob of every shard, `per_shard`: rows in each. `places` (n, 2) int64: first byte and length in the
    blob; length 0 where the picture is not written yet.
    """

    files: tuple[Path, ...]
    per_shard: int
    places: NDArray[np.int64]
    size: int
    quality: int

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As of an array."""
        return len(self), self.size, self.size, 3

    def __getitem__(self, index: int | slice | NDArray[np.generic] | list[int]) -> U8:
        numbers = np.arange(len(self))[index]
        if np.ndim(numbers) == 0:
            return self._read(int(numbers))
        if not len(numbers):
            return np.zeros((0, self.size, self.size, 3), np.uint8)
        return np.stack([self._read(int(k)) for k in numbers])

    def _read(self, row: int) -> U8:
        start, length = (int(n) for n in self.places[row])
        if not length:
            raise IndexError(f"Picture {row} of {self.files[0].parent} is not written yet.")
        content = _blob(self.files[row // self.per_shard])[start : start + length].tobytes()
        return decode(content, self.size, self.quality)
