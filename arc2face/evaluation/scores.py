"""Many similarity scores in little memory: a histogram fine enough for every figure that is read off it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
BINS = 20_000
"""Bins over -1 to 1; 0.0001 wide, which is the resolution of all thresholds and rates."""
EDGES: Float64 = np.linspace(-1.0, 1.0, BINS + 1)


def bins_of(scores: NDArray[Any]) -> Int64:
    """Bin number of each cosine; values outside -1 to 1 (rounding) go to the outermost bin."""
    numbers = np.floor((np.asarray(scores, np.float64) + 1.0) * (BINS / 2))
    return np.clip(numbers, 0, BINS - 1).astype(np.int64)


@dataclass(slots=True)
class Scores:
    """Cosines seen so far: (BINS,) int64 `counts`, and sums for the exact mean and deviation."""

    counts: Int64 = field(default_factory=lambda: np.zeros(BINS, np.int64))
    total: int = 0
    sum: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, scores: NDArray[Any]) -> Scores:
        """All scores of one array."""
        found = cls()
        found.add(scores)
        return found

    def add(self, scores: NDArray[Any]) -> None:
        """Count an array of any shape. Raises ValueError when one is not finite."""
        flat = np.asarray(scores).ravel()
        if not len(flat):
            return
        exact = flat.astype(np.float64)
        if not np.isfinite(exact).all():
            raise ValueError("scores must be finite")
        self.counts += np.bincount(bins_of(flat), minlength=BINS)
        self.total += len(flat)
        self.sum += float(exact.sum())
        self.squares += float(exact @ exact)

    @property
    def mean(self) -> float:
        """Arithmetic mean, NaN when empty."""
        return self.sum / self.total if self.total else float("nan")

    @property
    def deviation(self) -> float:
        """Standard deviation (of the scores as a population), NaN when empty."""
        if not self.total:
            return float("nan")
        return float(np.sqrt(max(self.squares / self.total - self.mean**2, 0.0)))

    def coarse(self, bins: int = 100) -> list[int]:
        """The histogram in `bins` equal bins over -1 to 1, for plots and reports; `bins` divides BINS."""
        return [int(count) for count in self.counts.reshape(bins, -1).sum(1)]
