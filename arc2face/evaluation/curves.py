"""Error rates of verification, read off the histograms of mated and non-mated scores.

A pair is accepted when its score reaches the threshold. FAR (false match rate): share of non-mated pairs accepted.
TAR (1 - false non-match rate): share of mated pairs accepted. Names as in ISO/IEC 19795-1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.evaluation.scores import EDGES, Float64

Counts = NDArray[Any]
"""(BINS,) counts or weights per bin, lowest score first."""


def rates(mated: Counts, nonmated: Counts) -> tuple[Float64, Float64]:
    """(BINS + 1,) TAR and FAR at the threshold EDGES[k]; the last threshold accepts nothing."""
    return _accepted(mated), _accepted(nonmated)


def auc(mated: Counts, nonmated: Counts) -> float:
    """Chance that a mated score exceeds a non-mated one, ties counted half. NaN when one side is empty."""
    both = float(mated.sum()) * float(nonmated.sum())
    if both <= 0:
        return float("nan")
    below = np.cumsum(nonmated, dtype=np.float64) - nonmated
    return float((mated * (below + 0.5 * nonmated)).sum() / both)


def eer(mated: Counts, nonmated: Counts) -> tuple[float, float]:
    """The rate at which FAR equals 1 - TAR, interpolated between two thresholds, and the threshold. NaN when empty."""
    if mated.sum() <= 0 or nonmated.sum() <= 0:
        return float("nan"), float("nan")
    tar, far = rates(mated, nonmated)
    gap = far - (1.0 - tar)  # falls from 1 to -1 as the threshold rises
    last = int(np.flatnonzero(gap >= 0)[-1])
    if gap[last] == 0:  # the rates are equal over a range of thresholds: its middle
        first = int(np.flatnonzero(gap == 0)[0])
        return float(far[last]), float(EDGES[first] + EDGES[last]) / 2
    share = gap[last] / (gap[last] - gap[last + 1])
    rate = far[last] + share * (far[last + 1] - far[last])
    return float(rate), float(EDGES[last] + share * (EDGES[last + 1] - EDGES[last]))


def tar_at_far(mated: Counts, nonmated: Counts, far: float) -> tuple[float, float]:
    """TAR at the lowest threshold whose FAR is at most `far`, and that threshold. NaN when one side is empty."""
    if mated.sum() <= 0 or nonmated.sum() <= 0:
        return float("nan"), float("nan")
    tar, false = rates(mated, nonmated)
    place = int(np.argmax(false <= far))
    return float(tar[place]), float(EDGES[place])


def rates_at(mated: Counts, nonmated: Counts, threshold: float) -> tuple[float, float]:
    """FAR and 1 - TAR at a threshold; NaN for an empty side."""
    tar, far = rates(mated, nonmated)
    place = int(np.searchsorted(EDGES, threshold, side="left"))
    place = min(place, len(EDGES) - 1)
    false = float(far[place]) if nonmated.sum() > 0 else float("nan")
    return false, 1.0 - float(tar[place]) if mated.sum() > 0 else float("nan")


def _accepted(counts: Counts) -> Float64:
    total = max(float(counts.sum()), 1e-300)
    above = np.cumsum(counts[::-1], dtype=np.float64)[::-1] / total
    return np.append(above, 0.0)
