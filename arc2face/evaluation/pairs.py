"""Comparing every picture with every other, block by block, so that 100,000 pictures need no more memory than 100."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.evaluation.scores import Int64, Scores

Float32 = NDArray[np.float32]
BLOCK = 2048
"""Pictures per side of a block: 2048 x 2048 float32 scores are 16 MB."""


@dataclass(slots=True)
class PairScores:
    """Scores of pairs that show one person (`mated`) and two people (`nonmated`)."""

    mated: Scores = field(default_factory=Scores)
    nonmated: Scores = field(default_factory=Scores)


def unit(vectors: NDArray[Any]) -> Float32:
    """(n, d) rows of length 1; rows of NaN stay NaN."""
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.maximum(length, 1e-12)).astype(np.float32)


def within(vectors: Float32, people: Int64) -> PairScores:
    """Every pair of pictures of one set once.

    Args:
        vectors: (n, d) unit rows.
        people: (n,) number of the person of each; all of them known, that is not negative.
    """
    found = PairScores()
    for rows, columns, scores in _blocks(vectors, vectors, triangle=True):
        same = people[rows][:, None] == people[columns][None]
        if rows.start == columns.start:
            upper = np.triu(np.ones(scores.shape, bool), 1)
            found.mated.add(scores[same & upper])
            found.nonmated.add(scores[~same & upper])
        else:
            found.mated.add(scores[same])
            found.nonmated.add(scores[~same])
    return found


def across(
    vectors: Float32, people: Int64, others: Float32, other_people: Int64, left_out: Int64 | None = None
) -> PairScores:
    """Every picture of one set with every picture of another.

    `left_out`: (n,) place in `others` that is not compared with each picture (the photo it was drawn from), -1 for
    none.
    """
    found = PairScores()
    for rows, columns, scores in _blocks(vectors, others):
        same = people[rows][:, None] == other_people[columns][None]
        counted = np.ones(scores.shape, bool)
        if left_out is not None:
            place = left_out[rows] - columns.start
            inside = np.flatnonzero((place >= 0) & (place < scores.shape[1]))
            counted[inside, place[inside]] = False
        found.mated.add(scores[same & counted])
        found.nonmated.add(scores[~same & counted])
    return found


def nearest(
    vectors: Float32, others: Float32, own: Int64 | None = None, other_people: Int64 | None = None
) -> tuple[Float32, Int64]:
    """The largest cosine of each row to any row of `others`, and that row's place (NaN and -1 where there is none).

    `own` with `other_people`: rows of the same person are not looked at.
    """
    best = np.full(len(vectors), -np.inf, np.float32)
    place = np.full(len(vectors), -1, np.int64)
    for rows, columns, scores in _blocks(vectors, others):
        if own is not None and other_people is not None:
            scores = np.where(own[rows][:, None] == other_people[columns][None], np.float32(-np.inf), scores)
        at = scores.argmax(1)
        value = scores[np.arange(len(at)), at]
        better = value > best[rows]
        best[rows] = np.where(better, value, best[rows])
        place[rows] = np.where(better, at + columns.start, place[rows])
    return np.where(place >= 0, best, np.float32(np.nan)).astype(np.float32), place


def drawn_pairs(people: Int64, most: int, seed: int) -> tuple[Int64, Int64]:
    """Places i < j of pairs of different people, all of them or about `most` drawn evenly with `seed`."""
    count = len(people)
    if count * (count - 1) // 2 <= max(most, 1):
        first, second = np.triu_indices(count, 1)
    else:
        rng = np.random.default_rng([seed, 1])
        first, second = rng.integers(0, count, most), rng.integers(0, count, most)
    kept = people[first] != people[second]
    return first[kept].astype(np.int64), second[kept].astype(np.int64)


def mated_pairs(people: Int64, most: int, seed: int) -> tuple[Int64, Int64]:
    """Places of pairs of one person, all of them or `most` drawn evenly with `seed`."""
    order = np.argsort(people, kind="stable")
    _, starts, sizes = np.unique(people[order], return_index=True, return_counts=True)
    total = int((sizes.astype(np.int64) * (sizes - 1) // 2).sum())
    if total <= max(most, 1):
        pairs = [np.triu_indices(size, 1) for size in sizes]
        first = np.concatenate([start + a for start, (a, _) in zip(starts, pairs, strict=True)] or [starts])
        second = np.concatenate([start + b for start, (_, b) in zip(starts, pairs, strict=True)] or [starts])
        return order[first], order[second]
    rng = np.random.default_rng([seed, 2])
    chances = sizes * (sizes - 1.0)
    group = rng.choice(len(sizes), most, p=chances / chances.sum())
    a = (rng.random(most) * sizes[group]).astype(np.int64)
    b = (rng.random(most) * (sizes[group] - 1)).astype(np.int64)
    b += b >= a
    return order[starts[group] + a], order[starts[group] + b]


def cosines(vectors: Float32, first: Int64, others: Float32, second: Int64) -> Float32:
    """Cosine of row `first[k]` of one array to row `second[k]` of another, in pieces."""
    pieces = [
        np.einsum("nd,nd->n", vectors[first[k : k + 65536]], others[second[k : k + 65536]])
        for k in range(0, len(first), 65536)
    ]
    return np.concatenate(pieces).astype(np.float32) if pieces else np.zeros(0, np.float32)


def _blocks(left: Float32, right: Float32, triangle: bool = False) -> Iterator[tuple[slice, slice, Float32]]:
    for top in range(0, len(left), BLOCK):
        rows = slice(top, min(top + BLOCK, len(left)))
        for start in range(top if triangle else 0, len(right), BLOCK):
            columns = slice(start, min(start + BLOCK, len(right)))
            yield rows, columns, left[rows] @ right[columns].T
