"""The figures per group of people, where labels exist: sex, age, skin, whatever a list says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.errors import InputError
from arc2face.evaluation import curves, pairs
from arc2face.evaluation.bootstrap import mean_figure
from arc2face.evaluation.features import Features
from arc2face.evaluation.figure import Figure, Figures, absent, measured
from arc2face.evaluation.layouts.files import rows_of
from arc2face.evaluation.likeness import cosine_columns
from arc2face.evaluation.protocol import Protocol
from arc2face.evaluation.samples import FaceSet
from arc2face.evaluation.scores import Int64
from arc2face.evaluation.verification import NO_MATED, NO_NONMATED

MAX_GROUPS = 100
MAX_COLUMNS = 20


def with_groups(faces: FaceSet, path: Path | str) -> FaceSet:
    """The set with labels from a CSV: the column `person`, and a column per kind of group.

    Raises InputError for a list without columns, with a person twice, or none of whose people is in the set.
    """
    path = Path(path).expanduser()
    table: dict[str, dict[str, str]] = {}
    for row in rows_of(path, ("person",)):
        person = row.pop("person")
        if person in table:
            raise InputError(f"{path} names {person!r} twice; give each person one line.")
        table[person] = {name: value for name, value in row.items() if value}
    columns = {name for row in table.values() for name in row}
    if not columns or len(columns) > MAX_COLUMNS:
        raise InputError(f"{path} needs a column person and 1 to {MAX_COLUMNS} further columns with the groups.")
    if not any(person in table for person in faces.people):
        raise InputError(f"{path} names nobody of this set; the names must be those of the set's people.")
    left = sum(person not in table for person in faces.people)
    note = (f"{left} people are in no group of {path.name}.",) if left else ()
    samples = tuple(
        replace(sample, labels={**sample.labels, **table.get(sample.person or "", {})}) for sample in faces.samples
    )
    return replace(faces, samples=samples, notes=(*faces.notes, *note))


def breakdown(features: Features, protocol: Protocol, threshold: float | None) -> Figures:
    """Per kind of label and value: people, pictures, no-face rate, mated and non-mated means, errors, likeness.

    `threshold`: the whole set's, at which the error rates of each group are read.
    """
    kinds = sorted({name for labels in features.labels for name in labels})
    columns = cosine_columns(features)
    return {kind: _of_kind(features, kind, protocol, threshold, columns) for kind in kinds}


def _of_kind(
    features: Features, kind: str, protocol: Protocol, threshold: float | None, columns: Mapping[str, Any]
) -> Figures:
    values: Sequence[str | None] = [labels.get(kind) for labels in features.labels]
    names = sorted({value for value in values if value is not None})
    if len(names) > MAX_GROUPS:
        return {"absent": f"{len(names)} different values are no groups; at most {MAX_GROUPS} are shown"}
    array = np.array([value or "" for value in values])
    return {name: _group(features, array == name, protocol, threshold, columns) for name in names}


def _group(
    features: Features, inside: NDArray[np.bool_], protocol: Protocol, threshold: float | None,
    columns: Mapping[str, Any],
) -> Figures:  # fmt: skip
    opened = inside & features.opened
    lost = np.where(features.found[opened], 0.0, 1.0)

    def average(values: NDArray[Any], people: Int64, what: str) -> Figure:
        return mean_figure(values, people, protocol.replicates, protocol.seed, what)

    figures: Figures = {
        "people": len(np.unique(features.person[inside & (features.person >= 0)])),
        "pictures": int(inside.sum()),
        "no_face": average(lost, features.person[opened], "picture"),
    }
    real = features.usable(False)
    real = real[inside[real]]
    scores = pairs.within(features.embedding[real], features.person[real])
    for name, side, reason in (("mated", scores.mated, NO_MATED), ("nonmated", scores.nonmated, NO_NONMATED)):
        figures[f"{name}_mean"] = measured(side.mean, pairs=side.total) if side.total else absent(reason)
    if threshold is not None:
        false, missed = curves.rates_at(scores.mated.counts, scores.nonmated.counts, threshold)
        figures["false_match"] = measured(false, pairs=scores.nonmated.total) if scores.nonmated.total else absent(
            NO_NONMATED)  # fmt: skip
        figures["false_non_match"] = measured(missed, pairs=scores.mated.total) if scores.mated.total else absent(
            NO_MATED)  # fmt: skip
    for name in ("to_input", "to_asked"):
        chosen = columns[name][inside]
        if np.isfinite(chosen).any():
            figures[name] = average(chosen, features.person[inside], "cosine")
    return figures
