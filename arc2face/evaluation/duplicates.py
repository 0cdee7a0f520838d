"""Pictures that are copies of one another, or nearly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.evaluation.figure import Figure, Figures, measured
from arc2face.evaluation.fingerprint import hamming
from arc2face.evaluation.scores import Int64

NEAR_BITS = 10
"""Differing bits of 256 up to which two pictures count as nearly the same."""
BLOCK = 1024
SHOWN = 20


def duplicates(
    hashes: NDArray[np.uint64], pixels: NDArray[np.uint64], people: Int64, drawn: NDArray[np.bool_], keys: Sequence[str]
) -> Figures:
    """How many pictures are copies.

    `hashes`: (n, 4) prints of pictures that could be opened. `pixels`: (n,) hash of the pixels. `people`: (n,), -1
    unknown. `drawn`: (n,) whether a model made it. `keys`: (n,) names for the list of examples.

    Returns:
        Share of pictures with an exact and a near copy, how many near copies show another person, how many drawn
        pictures are near copies of a photograph, and examples.
    """
    count = len(hashes)
    _, group, sizes = np.unique(pixels, return_inverse=True, return_counts=True)
    exact = sizes[group] > 1
    near, other, memorised = (np.zeros(count, bool) for _ in range(3))
    examples: list[dict[str, Any]] = []
    for top in range(0, count, BLOCK):
        rows = slice(top, top + BLOCK)
        for left in range(top, count, BLOCK):
            columns = slice(left, left + BLOCK)
            bits = hamming(hashes[rows], hashes[columns])
            a, b = np.nonzero(bits <= NEAR_BITS)
            a, b = a + top, b + left
            kept = a < b
            a, b = a[kept], b[kept]
            near[a], near[b] = True, True
            apart = people[a] != people[b]
            other[a[apart]], other[b[apart]] = True, True
            mixed = drawn[a] != drawn[b]
            memorised[np.where(drawn[a[mixed]], a[mixed], b[mixed])] = True
            for i, j in zip(a[: SHOWN - len(examples)], b, strict=False):
                examples.append({"first": keys[i], "second": keys[j], "bits": int(bits[i - top, j - left])})
    figures: Figures = {
        "exact": _share(exact, count),
        "near": _share(near, count),
        "near_of_another_person": _share(other, count),
        "bits": NEAR_BITS,
        "examples": examples,
    }
    if drawn.any() and not drawn.all():
        figures["drawn_near_a_photo"] = _share(memorised, int(drawn.sum()))
    return figures


def _share(mask: NDArray[np.bool_], whole: int) -> Figure:
    return measured(float(mask.sum() / max(whole, 1)), pictures=int(mask.sum()), of=whole)
