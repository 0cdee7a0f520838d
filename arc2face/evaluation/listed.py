"""A published list of pairs, such as LFW's, by its own protocol: ten folds, the threshold of the other nine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.evaluation import pairs
from arc2face.evaluation.figure import Figures, absent, measured
from arc2face.evaluation.pairs import Float32, PairScores
from arc2face.evaluation.protocol import Protocol
from arc2face.evaluation.samples import Pair
from arc2face.evaluation.verification import Drawn, figures_of


def listed_pairs(vectors: Float32, places: dict[str, int], published: Sequence[Pair], protocol: Protocol) -> Figures:
    """Figures of a published list of pairs: accuracy with the threshold of the other folds, and the error rates.

    `vectors`: (n, d) unit rows. `places`: row of each key that has a face. A pair with a picture without a face counts
    as an error of the accuracy.
    """
    seen = [pair for pair in published if pair.first in places and pair.second in places]
    lost = len(published) - len(seen)
    a, b = (np.array([places[getattr(pair, side)] for pair in seen], np.int64) for side in ("first", "second"))
    scores, same = pairs.cosines(vectors, a, vectors, b), np.array([pair.same for pair in seen], bool)
    found = PairScores()
    found.mated.add(scores[same])
    found.nonmated.add(scores[~same])
    nobody = np.zeros(0, np.int64)
    empty = np.zeros(0, np.float32)
    figures = figures_of(found, Drawn(empty, nobody, empty, nobody, nobody, 0), protocol)
    folds = np.array([pair.fold for pair in seen], np.int64)
    all_folds = np.array([pair.fold for pair in published], np.int64)
    accuracies = [
        _fold_accuracy(scores, same, folds == fold, int((all_folds == fold).sum())) for fold in set(all_folds)
    ]
    if len(accuracies) > 1:
        error = float(np.std(accuracies) / np.sqrt(len(accuracies)))
        figures["accuracy"] = measured(float(np.mean(accuracies)), standard_error=error, folds=len(accuracies))
    else:
        figures["accuracy"] = absent("the list has one fold, and its threshold must come from another")
    return figures | {"pairs": len(published), "pairs_without_a_face": lost}


def _fold_accuracy(scores: Float32, same: NDArray[Any], inside: NDArray[Any], size: int) -> float:
    """Share of right answers in a fold of `size` pairs, with the threshold that is best on the others."""
    others, wanted = scores[~inside], same[~inside]
    if not len(others):
        return float("nan")
    order = np.argsort(others, kind="stable")[::-1]
    # accepting the k highest: the mated among them are right, and so are the non-mated below
    right = np.concatenate([[0], np.cumsum(np.where(wanted[order], 1, -1))]) + int((~wanted).sum())
    best = int(right.argmax())
    ranked = others[order]
    low = ranked[best] if best < len(ranked) else -1.0
    high = ranked[best - 1] if best else 1.0
    accepted = scores[inside] >= (float(low) + float(high)) / 2
    return float((accepted == same[inside]).sum() / size)
