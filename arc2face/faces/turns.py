"""Photos that lie on their side: quarter turns of pictures, points and faces.

A turn is a number of counterclockwise quarter turns, as in `numpy.rot90`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.faces.face import Face

__all__ = ["quarter_turns", "turn_face", "turn_picture", "turn_points"]


def quarter_turns(face: Face) -> int:
    """Counterclockwise quarter turns, 0 to 3, that bring the eyes above the mouth, by the five points."""
    across, down = face.points[3:].mean(axis=0) - face.points[:2].mean(axis=0)
    if not (math.isfinite(across) and math.isfinite(down)) or (across == 0 and down == 0):
        return 0
    return round(math.degrees(math.atan2(-across, down)) / 90.0) % 4


def turn_picture(picture: NDArray[Any], turns: int) -> NDArray[Any]:
    """(H, W, C) turned, contiguous; the same array for no turn."""
    return picture if turns % 4 == 0 else np.ascontiguousarray(np.rot90(picture, turns % 4))


def turn_points(points: NDArray[Any], turns: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """(n, 2) x, y in pixels of a (height, width) picture, in pixels of the turned picture."""
    height, width = size
    x, y = points[:, 0], points[:, 1]
    turned = {
        0: (x, y),
        1: (y, width - 1 - x),
        2: (width - 1 - x, height - 1 - y),
        3: (height - 1 - y, x),
    }[turns % 4]
    return np.stack(turned, axis=1).astype(np.float32)


def turn_face(face: Face, turns: int, size: tuple[int, int]) -> Face:
    """A face found in a (height, width) picture, in pixels of the turned picture."""
    if turns % 4 == 0:
        return face
    corners = turn_points(face.box.reshape(2, 2), turns, size)
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)]).astype(np.float32)
    landmarks = face.landmarks68
    return replace(
        face,
        box=box,
        points=turn_points(face.points, turns, size),
        landmarks68=None if landmarks is None else turn_points(landmarks, turns, size),
    )
