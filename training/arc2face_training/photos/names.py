"""Millions of file names in one array of bytes, and what can be read off them all at once.

A name lies at `blob[ends[k - 1]:ends[k]]`. Folders are compared by a 64-bit hash of their bytes; for a million folders
the chance that two of them share one is below one in a hundred thousand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Int64 = NDArray[np.int64]
Flags = NDArray[np.bool_]
Hashes = NDArray[np.uint64]

SLASH, DOT = ord("/"), ord(".")
FOLDER_DIGITS = 5
MOST_LETTERS = 4096
BLOCK = 1 << 16
_WEIGHTS = np.random.default_rng(0x0A2CFACE).integers(1, 1 << 63, MOST_LETTERS, np.uint64) * 2 + 1


@dataclass(frozen=True)
class Names:
    """`blob` (bytes,) uint8 and `ends` (n,) int64: where each name ends in it."""

    blob: Bytes
    ends: Int64

    @classmethod
    def of(cls, texts: Iterable[bytes]) -> Names:
        """From single names."""
        texts = list(texts)
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        return cls(np.frombuffer(b"".join(texts), np.uint8), np.cumsum(lengths))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, place: int) -> str:
        start = int(self.ends[place - 1]) if place else 0
        return bytes(self.blob[start : int(self.ends[place])]).decode("utf-8", "replace")

    @property
    def starts(self) -> Int64:
        """(n,) where each name begins."""
        return np.concatenate([np.zeros(1, np.int64), self.ends[:-1]]) if len(self) else self.ends

    def take(self, chosen: Int64 | Flags) -> Names:
        """The chosen names, in that order."""
        starts, lengths = self.starts[chosen], (self.ends - self.starts)[chosen]
        ends = np.cumsum(lengths)
        places = np.repeat(starts - (ends - lengths), lengths) + np.arange(int(lengths.sum()))
        return Names(self.blob[places], ends)

    def tail(self, letters: int) -> Bytes:
        """(n, letters) uint8: the last letters in lower case, zeros where a name is shorter."""
        places = self.ends[:, None] - np.arange(letters, 0, -1)
        inside = places >= self.starts[:, None]
        found = np.where(inside, self.blob[np.where(inside, places, 0)], 0) if len(self.blob) else inside
        upper = (found >= ord("A")) & (found <= ord("Z"))
        return (found + upper * np.uint8(32)).astype(np.uint8)

    def last(self, letter: int) -> Int64:
        """(n,) place in the blob of the last such letter of each name; one before the start if there is none."""
        starts, ends = self.starts, self.ends
        places = np.flatnonzero(self.blob == letter)
        if not len(places):
            return starts - 1
        before = np.searchsorted(places, ends, "left") - 1
        found = np.where(before >= 0, places[np.maximum(before, 0)], -1)
        return np.maximum(found, starts - 1)

    def hashes(self, until: Int64) -> Hashes:
        """(n,) uint64 hash of each name's bytes before the place `until` in the blob (a multilinear hash)."""
        starts = self.starts
        lengths = np.minimum(np.maximum(until - starts, 0), MOST_LETTERS)
        blocks = [slice(k, k + BLOCK) for k in range(0, len(self), BLOCK)]  # letters take twenty bytes each meanwhile
        found = [_sums(self.blob, starts[block], lengths[block]) for block in blocks]
        return _mixed(np.concatenate([np.zeros(0, np.uint64), *found]))


def _sums(blob: Bytes, starts: Int64, lengths: Int64) -> Hashes:
    offsets = np.cumsum(lengths) - lengths
    within = np.arange(int(lengths.sum())) - np.repeat(offsets, lengths)
    letters = blob[np.repeat(starts, lengths) + within].astype(np.uint64) + np.uint64(1)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(letters * _WEIGHTS[within])])
    return sums[offsets + lengths] - sums[offsets] + lengths.astype(np.uint64) * _WEIGHTS[-1]


def text_hash(text: str) -> np.uint64:
    """The hash of one text, as `Names.hashes` of a whole name."""
    names = Names.of([text.encode("utf-8", "surrogateescape")])
    return names.hashes(names.ends)[0]


def thousands(names: Names, slashes: Int64, dots: Int64) -> Flags:
    """(n,) whether a name lies in FFHQ's folders of a thousand pictures: 05000/05123.png.

    Such a folder shows a thousand people, not one. All False where any folder of five digits holds something else,
    because then the numbers name people. `slashes`, `dots`: last ones of each name.
    """
    digits = FOLDER_DIGITS
    whole = (slashes - names.starts >= digits) & (dots - slashes == digits + 1)
    folder = _digits(names, slashes - digits, whole)
    above = slashes - digits - 1  # a sixth letter of the folder's name
    outside = above < names.starts
    numbered = folder.ok & (outside | (names.blob[np.maximum(above, 0)] == SLASH)) if len(names) else folder.ok
    picture = _digits(names, slashes + 1, whole)
    fits = numbered & picture.ok & (folder.value % 1000 == 0) & (picture.value // 1000 * 1000 == folder.value)
    others = _numbered_folder(names, slashes) & ~fits
    return np.zeros(len(names), bool) if others.any() else fits


@dataclass(frozen=True)
class _Numbers:
    ok: Flags
    value: Int64


def _digits(names: Names, starts: Int64, where: Flags) -> _Numbers:
    if not len(names.blob):
        return _Numbers(where & False, np.zeros(len(where), np.int64))
    places = np.where(where, starts, 0)[:, None] + np.arange(FOLDER_DIGITS)
    letters = names.blob[np.minimum(places, len(names.blob) - 1)].astype(np.int64) - ord("0")
    ok = where & ((letters >= 0) & (letters <= 9)).all(1)
    value: Any = letters @ 10 ** np.arange(FOLDER_DIGITS)[::-1]
    return _Numbers(ok, value)


def _numbered_folder(names: Names, slashes: Int64) -> Flags:
    """Whether the last folder of a name consists of exactly five digits."""
    long = slashes - names.starts >= FOLDER_DIGITS
    found = _digits(names, slashes - FOLDER_DIGITS, long)
    above = slashes - FOLDER_DIGITS - 1
    alone = (above < names.starts) | (names.blob[np.maximum(above, 0)] == SLASH) if len(names.blob) else long
    return found.ok & alone


def _mixed(values: Hashes) -> Hashes:
    """The finishing steps of MurmurHash3: every bit of the sum reaches every bit of the hash."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        values = (values ^ (values >> np.uint64(33))) * np.uint64(factor)
    return values ^ (values >> np.uint64(33))
