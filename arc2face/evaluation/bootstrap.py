"""Intervals: people are drawn again with replacement, never pictures, for the pictures of one person hang together.

Percentile bootstrap (Efron and Tibshirani, 1993); for comparison scores as in Bolle, Ratha and Pankanti, "Error
analysis of pattern recognition systems: the subsets bootstrap", CVIU 2004. A non-mated pair counts as often as both
its people were drawn, as products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.evaluation.figure import Figure, absent, measured
from arc2face.evaluation.scores import BINS, Float64, Int64, bins_of

LEVEL = 0.95
Interval = tuple[float, float]


def resamples(people: int, replicates: int, seed: int) -> Iterator[Float64]:
    """(people,) how often each was drawn, once per replicate. The same seed gives the same draws."""
    rng = np.random.default_rng([seed, 3])
    for _ in range(replicates):
        yield np.bincount(rng.integers(0, people, people), minlength=people).astype(np.float64)


def percentiles(values: Sequence[float] | Float64) -> Interval | None:
    """The middle 95 % of replicates; None when fewer than half of them gave a number."""
    array = np.asarray(values, np.float64)
    finite = array[np.isfinite(array)]
    if len(finite) * 2 < len(array) or len(finite) < 2:
        return None
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mean_figure(values: NDArray[Any], people: Int64, replicates: int, seed: int, what: str = "value") -> Figure:
    """Mean over all values that are not NaN, with the interval over people, deviation and counts.

    `values`: (n,); NaN where it could not be measured. `people`: (n,) person of each, -1 for unknown; all of those
    count as one person for the interval. `what`: what is measured, for the reason when there is none.
    """
    known = np.isfinite(values)
    if not known.any():
        return absent(f"there is no {what} to average", pictures=0)
    kept = np.asarray(values, np.float64)[known]
    _, person = np.unique(people[known], return_inverse=True)
    sums, counts = np.bincount(person, kept), np.bincount(person)
    interval = None
    if len(counts) > 1 and replicates:
        drawn = [float((w @ sums) / (w @ counts)) for w in resamples(len(counts), replicates, seed)]
        interval = percentiles(drawn)
    return measured(kept.mean(), interval, deviation=float(kept.std()), pictures=len(kept), people=len(counts))


def histogram_statistics(
    mated: NDArray[Any],
    mated_people: Int64,
    nonmated: NDArray[Any],
    first: Int64,
    second: Int64,
    people: int,
    statistic: Callable[[NDArray[Any], NDArray[Any]], Sequence[float]],
    replicates: int,
    seed: int,
) -> Float64:
    """(replicates, k) of `statistic(mated histogram, nonmated histogram)`, each on people drawn again.

    `mated`: (m,) scores, and `mated_people` (m,) whose they are. `nonmated`: (n,) scores, of the people `first` and
    `second` (n,). `people`: how many there are; their numbers run from 0.
    """
    mated_bins, nonmated_bins = bins_of(mated), bins_of(nonmated)
    rows = [
        statistic(
            np.bincount(mated_bins, drawn[mated_people], BINS),
            np.bincount(nonmated_bins, drawn[first] * drawn[second], BINS),
        )
        for drawn in resamples(people, replicates, seed)
    ]
    return np.asarray(rows, np.float64)
