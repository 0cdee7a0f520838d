"""Mated against non-mated scores: how well people are told apart, with intervals over people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arc2face.evaluation import curves, pairs
from arc2face.evaluation.bootstrap import histogram_statistics, percentiles
from arc2face.evaluation.figure import Figure, Figures, absent, measured
from arc2face.evaluation.pairs import Float32, PairScores
from arc2face.evaluation.protocol import Protocol
from arc2face.evaluation.scores import EDGES, Float64, Int64

NO_MATED = "nobody has two pictures with a face, so there is no pair of one person"
NO_NONMATED = "there is one person only, so there is no pair of two people"


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Scores for the bootstrap: all pairs, or a part drawn evenly where there are too many."""

    mated: Float32
    mated_people: Int64
    nonmated: Float32
    first: Int64
    second: Int64
    people: int


def within_set(vectors: Float32, people: Int64, protocol: Protocol) -> Figures:
    """Figures of all pairs of one set.

    `vectors`: (n, d) unit rows, every one with a face. `people`: (n,) numbers from 0, all known.
    """
    scores = pairs.within(vectors, people)
    a, b = pairs.mated_pairs(people, protocol.bootstrap_pairs, protocol.seed)
    c, d = pairs.drawn_pairs(people, protocol.bootstrap_pairs, protocol.seed)
    drawn = Drawn(
        pairs.cosines(vectors, a, vectors, b), people[a],
        pairs.cosines(vectors, c, vectors, d), people[c], people[d], int(people.max(initial=-1)) + 1,
    )  # fmt: skip
    return figures_of(scores, drawn, protocol)


def across_sets(
    vectors: Float32, people: Int64, others: Float32, other_people: Int64, left_out: Int64 | None, protocol: Protocol
) -> Figures:
    """Figures of drawn pictures against real photos; `left_out` as for `pairs.across`."""
    scores = pairs.across(vectors, people, others, other_people, left_out)
    rng = np.random.default_rng([protocol.seed, 4])
    total = len(vectors) * len(others)
    if total <= protocol.bootstrap_pairs:
        first, second = (grid.ravel() for grid in np.indices((len(vectors), len(others))))
    else:
        first = rng.integers(0, len(vectors), protocol.bootstrap_pairs)
        second = rng.integers(0, len(others), protocol.bootstrap_pairs)
    a, b = _mated_across(people, other_people, protocol)
    if left_out is not None:
        kept = left_out[first] != second
        first, second = first[kept], second[kept]
        kept = left_out[a] != b
        a, b = a[kept], b[kept]
    apart = people[first] != other_people[second]
    first, second = first[apart], second[apart]
    count = int(max(people.max(initial=-1), other_people.max(initial=-1))) + 1
    drawn = Drawn(
        pairs.cosines(vectors, a, others, b), people[a],
        pairs.cosines(vectors, first, others, second), people[first], other_people[second], count,
    )  # fmt: skip
    return figures_of(scores, drawn, protocol)


def figures_of(scores: PairScores, drawn: Drawn, protocol: Protocol) -> Figures:
    """Counts, means, EER, AUC and TAR at each FAR of the protocol that the pairs can support."""
    mated, nonmated = scores.mated, scores.nonmated
    figures: Figures = {
        "mated_pairs": mated.total,
        "nonmated_pairs": nonmated.total,
        "mated_histogram": mated.coarse(),
        "nonmated_histogram": nonmated.coarse(),
    }
    reason = NO_MATED if not mated.total else NO_NONMATED if not nonmated.total else ""
    replicates = protocol.replicates if drawn.people > 1 else 0
    table: Float64 = np.zeros((0, 4 + len(protocol.fars)))
    if not reason and replicates:
        table = histogram_statistics(
            drawn.mated, drawn.mated_people, drawn.nonmated, drawn.first, drawn.second, drawn.people,
            lambda m, n: _statistics(m, n, protocol.fars), replicates, protocol.seed,
        )  # fmt: skip
    intervals = [percentiles(column) for column in table.T]
    figures["mated_mean"] = _mean(mated, intervals[0], NO_MATED)
    figures["nonmated_mean"] = _mean(nonmated, intervals[1], NO_NONMATED)
    if reason:
        return figures | {name: absent(reason) for name in ("eer", "auc", "tar_at_far")}
    rate, threshold = curves.eer(mated.counts, nonmated.counts)
    figures["eer"] = measured(rate, intervals[2], threshold=threshold)
    figures["curve"] = _curve(scores, protocol.least_impostors)
    figures["auc"] = measured(curves.auc(mated.counts, nonmated.counts), intervals[3])
    figures["tar_at_far"] = {
        f"{far:g}": _tar(scores, far, interval, protocol.least_impostors)
        for far, interval in zip(protocol.fars, intervals[4:], strict=True)
    }
    return figures


def _statistics(mated: Float64, nonmated: Float64, fars: Sequence[float]) -> list[float]:
    middle = (EDGES[:-1] + EDGES[1:]) / 2
    first = float(mated @ middle / mated.sum()) if mated.sum() else float("nan")
    second = float(nonmated @ middle / nonmated.sum()) if nonmated.sum() else float("nan")
    rest = [curves.tar_at_far(mated, nonmated, far)[0] for far in fars]
    return [first, second, curves.eer(mated, nonmated)[0], curves.auc(mated, nonmated), *rest]


def _tar(scores: PairScores, far: float, interval: Any, least: int) -> Figure:
    need = int(np.ceil(least / far))
    if scores.nonmated.total < need:
        return absent(f"it needs {need} pairs of two people ({least} above the threshold); there are "
                      f"{scores.nonmated.total}")  # fmt: skip
    tar, threshold = curves.tar_at_far(scores.mated.counts, scores.nonmated.counts, far)
    return measured(tar, interval, threshold=threshold)


def _curve(scores: PairScores, least: int) -> list[list[float]]:
    """[FAR, TAR] at ten FARs per decade, down to what the pairs support."""
    wanted = 10.0 ** (-np.arange(0, 61) / 10)
    wanted = wanted[wanted * scores.nonmated.total >= least]
    return [
        [float(far), curves.tar_at_far(scores.mated.counts, scores.nonmated.counts, float(far))[0]] for far in wanted
    ]


def _mean(scores: Any, interval: Any, reason: str) -> Figure:
    return measured(scores.mean, interval, deviation=scores.deviation) if scores.total else absent(reason)


def _mated_across(people: Int64, other_people: Int64, protocol: Protocol) -> tuple[Int64, Int64]:
    """Pairs of one person across two sets, all or an even part."""
    order = np.argsort(other_people, kind="stable")
    ranked = other_people[order]
    start, stop = np.searchsorted(ranked, people, "left"), np.searchsorted(ranked, people, "right")
    sizes = (stop - start).astype(np.int64)
    total = int(sizes.sum())
    first = np.repeat(np.arange(len(people)), sizes)
    offset = np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    second = order[np.repeat(start, sizes) + offset] if total else np.zeros(0, np.int64)
    if total > protocol.bootstrap_pairs:
        kept = np.random.default_rng([protocol.seed, 5]).choice(total, protocol.bootstrap_pairs, replace=False)
        first, second = first[kept], second[kept]
    return first.astype(np.int64), second.astype(np.int64)
