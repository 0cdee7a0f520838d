"""A few pictures per person that differ as much as the person's pictures do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["balanced"]

YAW_STEP, PITCH_STEP = 20.0, 15.0
"""Degrees within which two poses count as one."""


def balanced(table: Any, places: NDArray[np.int32], most: int) -> NDArray[np.int32]:
    """At most `most` rows per identity, spread evenly over poses and expressions, the most similar of each first.

    `table`: a manifest's columns identity_number, similarity, yaw, pitch, expression_name. `places`: rows to choose
    from. A person with fewer rows keeps all. Rows come back in ascending order.

    Round by round each kind of picture (pose bin and expression) gives its best picture that is left; kinds whose pose
    or expression was chosen least come first, so that 6 of 30 pictures are not 6 profiles.
    """
    rows = table.take(places).to_pylist() if len(places) else []
    people: dict[int, dict[tuple[Any, ...], list[tuple[float, int]]]] = {}
    for row, place in zip(rows, places.tolist(), strict=True):
        kinds = people.setdefault(row["identity_number"], {})
        score = row["similarity"] if row["similarity"] is not None else -2.0
        kinds.setdefault(_kind(row), []).append((-score, place))
    chosen = [place for kinds in people.values() for place in _pick(kinds, most)]
    return np.array(sorted(chosen), np.int32)


def _kind(row: dict[str, Any]) -> tuple[Any, ...]:
    yaw, pitch = row["yaw"] or 0.0, row["pitch"] or 0.0
    return round(yaw / YAW_STEP), round(pitch / PITCH_STEP), row["expression_name"] or ""


def _pick(kinds: dict[tuple[Any, ...], list[tuple[float, int]]], most: int) -> list[int]:
    left = {kind: sorted(found, reverse=True) for kind, found in kinds.items()}  # the best is last
    poses: dict[Any, int] = {}
    faces: dict[Any, int] = {}
    taken: dict[Any, int] = {}
    chosen: list[int] = []
    while left and len(chosen) < most:
        kind = min(
            left,
            key=lambda k: (
                taken.get(k, 0),
                poses.get(k[:2], 0) + faces.get(k[2], 0),
                left[k][-1],
            ),
        )
        chosen.append(left[kind].pop()[1])
        poses[kind[:2]] = poses.get(kind[:2], 0) + 1
        faces[kind[2]] = faces.get(kind[2], 0) + 1
        taken[kind] = taken.get(kind, 0) + 1
        if not left[kind]:
            del left[kind]
    return chosen
