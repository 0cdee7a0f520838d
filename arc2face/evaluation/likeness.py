"""Drawn pictures: how like the person they were drawn from, how unlike everybody else, and whom they resemble."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.evaluation import pairs
from arc2face.evaluation.bootstrap import mean_figure
from arc2face.evaluation.features import Features
from arc2face.evaluation.figure import Figures, absent, measured
from arc2face.evaluation.pairs import Float32
from arc2face.evaluation.protocol import Protocol
from arc2face.evaluation.scores import Float64, Int64, Scores
from arc2face.evaluation.verification import across_sets

NO_PHOTOS = "there are no photographs of these people in the set"


def cosine_columns(features: Features, name: str = "recogniser") -> dict[str, Float64]:
    """Per picture, NaN where there is none: cosine to the asked embedding (`to_asked`), to the photo it was drawn

    from (`to_input`), and the mean cosine to the person's other photos (`to_others`).
    """
    vectors = features.vectors(name)
    count = len(features)
    columns = {key: np.full(count, np.nan) for key in ("to_asked", "to_input", "to_others")}
    if vectors is None:
        return columns
    drawn = np.flatnonzero(features.drawn & np.isfinite(vectors[:, 0]))
    if name == "recogniser":
        columns["to_asked"][drawn] = np.einsum("nd,nd->n", vectors[drawn], features.asked[drawn])
    given = drawn[features.input[drawn] >= 0]
    columns["to_input"][given] = np.einsum("nd,nd->n", vectors[given], vectors[features.input[given]])
    real = features.usable(False, name)
    if len(real) and len(drawn):
        sums = np.zeros((len(features.people), vectors.shape[1]))
        np.add.at(sums, features.person[real], vectors[real].astype(np.float64))
        sizes = np.bincount(features.person[real], minlength=len(features.people)).astype(np.float64)
        known = drawn[features.person[drawn] >= 0]
        total = np.einsum("nd,nd->n", vectors[known].astype(np.float64), sums[features.person[known]])
        count_of = sizes[features.person[known]]
        own = columns["to_input"][known]
        counted = np.isfinite(own)
        total, count_of = total - np.where(counted, own, 0.0), count_of - counted
        with np.errstate(invalid="ignore", divide="ignore"):
            columns["to_others"][known] = np.where(count_of > 0, total / count_of, np.nan)
    return columns


def likeness(features: Features, protocol: Protocol, name: str = "recogniser") -> Figures:
    """Figures of the drawn pictures with one recogniser; empty when nothing was drawn."""
    if not features.drawn.any():
        return {}
    columns = cosine_columns(features, name)
    reasons = {
        "to_asked": "cosine to an embedding that was asked for",
        "to_input": "cosine to a photograph that it was drawn from",
        "to_others": "cosine to another photograph of the person",
    }
    figures: Figures = {}
    for key, what in reasons.items():
        if key == "to_asked" and name != "recogniser":
            figures[key] = absent("the asked embedding is one of the first recogniser")
            continue
        figures[key] = mean_figure(columns[key], features.person, protocol.replicates, protocol.seed, what)
        known = columns[key][np.isfinite(columns[key])]
        figures[key]["histogram"] = Scores.of(known).coarse()
    real, drawn = features.usable(False, name), features.usable(True, name)
    vectors = features.vectors(name)
    asked, whose = asked_people(features)
    if vectors is not None and name == "recogniser" and len(asked) > 1 and len(drawn):
        figures["first_rank_asked"] = _first_rank(vectors[drawn], features.person[drawn], asked, whose, protocol)
    if vectors is None or not len(real) or not len(drawn):
        figures["against_photos"] = {"eer": absent(NO_PHOTOS)}
        return figures
    where = np.full(len(features), -1, np.int64)
    where[real] = np.arange(len(real))
    left_out = np.where(features.input[drawn] >= 0, where[features.input[drawn]], -1)
    figures["against_photos"] = across_sets(
        vectors[drawn], features.person[drawn], vectors[real], features.person[real], left_out, protocol
    )
    figures["first_rank"] = _first_rank(vectors[drawn], features.person[drawn], vectors[real], features.person[real],
                                        protocol)  # fmt: skip
    return figures


def asked_people(features: Features) -> tuple[Float32, Int64]:
    """(m, d) the embedding that was asked for of each person who has one, and (m,) whose it is."""
    places = np.flatnonzero(np.isfinite(features.asked[:, 0]) & (features.person >= 0))
    people, first = np.unique(features.person[places], return_index=True)
    return features.asked[places[first]], people.astype(np.int64)


def leakage(
    vectors: Float32, person: Int64, sources: Float32, source_person: Int64, threshold: float | None
) -> Figures:
    """How near drawn faces come to people whom they should not show.

    `vectors`: (n, d) unit rows of drawn pictures, `person` (n,) whom each should show (-1: nobody in the sources).
    `sources`: (m, d) unit rows of photographs or source embeddings, `source_person` (m,) whose they are.
    `threshold`: cosine from which two count as one person, None when unknown.

    Returns:
        Nearest cosine to another person's source: mean, 95th percentile, most; share above the threshold.
    """
    if not len(vectors) or not len(sources):
        return {"nearest": absent("there is nobody to compare with")}
    value, _ = pairs.nearest(vectors, sources, person, source_person)
    known = value[np.isfinite(value)].astype(np.float64)
    if not len(known):
        return {"nearest": absent("all sources are of the same person")}
    figures: Figures = {
        "nearest": measured(
            float(known.mean()),
            p95=float(np.quantile(known, 0.95)),
            most=float(known.max()),
            pictures=len(known),
            histogram=Scores.of(known).coarse(),
        )
    }
    if threshold is None:
        figures["taken_for_another"] = absent("no threshold could be measured on the photographs")
    else:
        above = int((known >= threshold).sum())
        figures["taken_for_another"] = measured(above / len(known), pictures=above, threshold=threshold)
    return figures


def _first_rank(
    vectors: Float32, person: NDArray[Any], real: Float32, real_person: NDArray[Any], protocol: Protocol
) -> Figures:
    """Share of drawn pictures whose nearest person (mean of the photographs) is the one who was asked for."""
    present, index = np.unique(real_person, return_inverse=True)
    means = np.zeros((len(present), real.shape[1]))
    np.add.at(means, index, real.astype(np.float64))
    _, place = pairs.nearest(vectors, pairs.unit(means))
    right = np.where(np.isin(person, present), present[place] == person, np.nan).astype(np.float64)
    return mean_figure(right, person, protocol.replicates, protocol.seed, "person among the photographs") | {
        "among": len(present)
    }
