"""From rest to a moment: expression, lids, jaw, eyes and head of the fine mesh, of strands, and of the FLAME head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people.columns import EXPRESSION_COLUMNS
from arc2face_training.people.head import HeadModel
from arc2face_training.people.state import State, rodrigues, rotation

if TYPE_CHECKING:
    from arc2face_training.people.person import Person

Float32 = NDArray[np.float32]
TRUNK_SHARE = 0.35
"""Share of the head's yaw and roll that the trunk follows."""


@dataclass(frozen=True)
class Posed:
    """`before` (W, 3): fine vertices before the head turns; `vertices` (W, 3) after. `turn` (3, 3) about `pivot`.

    `eyes`: centre (3,), rotation (3, 3) and radius of the left and the right ball.
    """

    before: Float32
    vertices: Float32
    turn: Float32
    pivot: Float32
    eyes: tuple[tuple[Float32, Float32, float], tuple[Float32, Float32, float]]

    def with_head(self, points: Float32) -> Float32:
        """Turn points (..., 3) that are fixed to the skull."""
        return (points - self.pivot) @ self.turn.T + self.pivot


def pose(head: HeadModel, person: Person, state: State) -> Posed:
    """Pose a person's fine mesh."""
    used = np.flatnonzero(state.expression[: len(EXPRESSION_COLUMNS)])
    v = person.rest.copy()
    for column in used:
        weight = float(state.expression[column])
        if EXPRESSION_COLUMNS[column].startswith(("eyeWide", "eyeSquint")):
            weight *= 1 - float(state.eyelids[int(EXPRESSION_COLUMNS[column].endswith("Right"))])
        v += weight * head.expression_dirs[column]
    for side in range(2):
        if state.eyelids[side]:
            v += min(float(state.eyelids[side]), 1.05) * person.lid_dirs[side]
    v += np.sin(float(state.jaw[0])) * head.jaw_dirs
    v += _lids_follow(head, state)
    joints = head.regressor @ v[head.flame_vertices]
    jaw = rodrigues(state.jaw).astype(np.float32)
    moved = person.jaw_vertices
    weight = head.weights[moved, 2:3]
    v[moved] += weight * ((v[moved] - joints[2]) @ (jaw - np.eye(3, dtype=np.float32)).T)
    gaze = rotation(float(state.gaze[0]), float(state.gaze[1]), 0.0).astype(np.float32)
    centres = (joints[3], joints[4])
    for ball, centre in zip(person.balls, centres, strict=True):
        v[ball] = (v[ball] - centre) @ gaze.T + centre
    _clear_of_eyes(v, person, centres)
    turn = rotation(state.yaw, state.pitch, state.roll).astype(np.float32)
    trunk = rotation(TRUNK_SHARE * state.yaw, 0.0, 0.2 * state.roll).astype(np.float32)
    weight = person.head_weight[:, None]
    relative = v - joints[0]
    out = weight * (relative @ turn.T) + (1 - weight) * (relative @ trunk.T) + joints[0]
    eyes = tuple(
        ((turn @ (c - joints[0]) + joints[0]).astype(np.float32), (turn @ gaze).astype(np.float32), r)
        for c, r in zip(centres, person.eye_radii, strict=True)
    )
    return Posed(v, out.astype(np.float32), turn, joints[0].astype(np.float32), eyes)  # type: ignore[arg-type]


def _lids_follow(head: HeadModel, state: State) -> Float32:
    yaw, pitch = float(state.gaze[0]), float(state.gaze[1])
    amounts = [
        max(pitch, 0),
        max(-pitch, 0),
        max(-yaw, 0),
        max(yaw, 0),
        max(pitch, 0),
        max(-pitch, 0),
        max(yaw, 0),
        max(-yaw, 0),
    ]
    open_ = 1 - np.repeat(np.clip(state.eyelids, 0, 1), 4)
    return np.tensordot((np.array(amounts) * open_).astype(np.float32), head.gaze_dirs, axes=1)


def _clear_of_eyes(v: Float32, person: Person, centres: tuple[Float32, Float32]) -> None:
    """Push lids out of the balls."""
    for own, centre, radius in zip(person.lid_vertices, centres, person.eye_radii, strict=True):
        offset = v[own] - centre
        distance = np.sqrt((offset**2).sum(1, keepdims=True))
        wanted = np.maximum(distance, 1.035 * radius)
        v[own] = centre + offset * (wanted / np.maximum(distance, 1e-6))


def flame_vertices(head: HeadModel, base: Float32, state: State, turn: NDArray[np.float64]) -> Float32:
    """Vertices (N, 3) in decimetres of the posed FLAME head: what the product draws, without lids and gaze.

    `base` (N, 3): the person at rest, by `HeadModel.decoded`.
    """
    v = base
    at = head.flame_vertices
    for column in np.flatnonzero(state.expression[: len(EXPRESSION_COLUMNS)]):
        v = v + state.expression[column] * head.expression_dirs[column, at]
    joints = head.regressor @ v
    jaw = rodrigues(state.jaw)
    v = v + head.jaw_dirs[at] * np.float32(jaw[2, 1])
    weight = head.weights[at, 2:3]
    v = v + weight * ((v - joints[2]) @ (jaw - np.eye(3)).T)
    return ((v - joints[0]) @ turn.T + joints[0]).astype(np.float32)
