"""Figures of what goes out, added up row by row: for the card, and so without a second pass over the set."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Cosines", "Figures"]

BINS = 400
"""Histogram cells of a cosine, -1 to 1: quantiles are right to 0.005."""
MOST_MODELS = 100


@dataclass(slots=True)
class Cosines:
    """Count, mean, smallest, largest and a histogram of cosines."""

    count: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    cells: Counter[int] = field(default_factory=Counter[int])

    def add(self, value: float | None) -> None:
        """One more; None is not counted."""
        if value is None:
            return
        self.count += 1
        self.total += value
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.cells[int((min(max(value, -1.0), 1.0) + 1.0) / 2.0 * (BINS - 1))] += 1

    def quantile(self, share: float) -> float:
        """The value below which a share of them lies."""
        left = share * self.count
        for cell in sorted(self.cells):
            left -= self.cells[cell]
            if left <= 0:
                return (cell + 0.5) / (BINS - 1) * 2.0 - 1.0
        return self.high

    @property
    def sentence(self) -> str:
        """Their distribution in words; "not measured" without any."""
        if not self.count:
            return "not measured"
        middle = self.quantile(0.5)
        return (
            f"mean {self.total / self.count:.3f}, median {middle:.2f}, 5 % below {self.quantile(0.05):.2f}, "
            f"lowest {self.low:.3f}, highest {self.high:.3f} ({self.count:,} pictures)"
        )


@dataclass(slots=True)
class Figures:
    """What the manifest says of the pictures that went out.

    `similarity`, `second`: cosine to the asked identity, by the recogniser and by an independent one. `tries`: pictures
    drawn for them. `angles`: axis -> smallest and largest degrees asked for. `expressions`: name -> pictures.
    """

    pictures: int = 0
    similarity: Cosines = field(default_factory=Cosines)
    second: Cosines = field(default_factory=Cosines)
    tries: int = 0
    angles: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    expressions: Counter[str] = field(default_factory=Counter[str])
    _models: set[str] = field(default_factory=set[str])

    @property
    def models(self) -> dict[str, str]:
        """Model file -> SHA-256."""
        return {name: digest for words in sorted(self._models) for name, digest in json.loads(words).items()}

    def add(self, row: Mapping[str, Any]) -> None:
        """One more picture, as a manifest row."""
        self.pictures += 1
        self.similarity.add(row["similarity"])
        self.second.add(row["second_similarity"])
        self.tries += row["tries"]
        for axis in ("yaw", "pitch", "roll"):
            value = row[axis]
            if value is not None:
                low, high = self.angles.get(axis, (value, value))
                self.angles[axis] = min(low, value), max(high, value)
        if row["expression_name"] is not None:
            self.expressions[row["expression_name"]] += 1
        if len(self._models) < MOST_MODELS:
            self._models.add(row["models"])
