"""Which vertices are the 68 landmarks (iBUG order) and how 5 points and a box follow from them.

The places are given on the reference person and snapped to its vertices, the subject's right side first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people.head import HeadModel

Float32 = NDArray[np.float32]
Points = list[tuple[float, float]]
JAW = (
    (0.70, 7.20),
    (0.70, 7.03),
    (0.685, 6.87),
    (0.64, 6.72),
    (0.57, 6.58),
    (0.475, 6.44),
    (0.36, 6.305),
    (0.20, 6.20),
)
BROW = ((0.60, 7.46), (0.51, 7.525), (0.40, 7.545), (0.28, 7.525), (0.15, 7.48))
BRIDGE = ((0.0, 7.27), (0.0, 7.155), (0.0, 7.04), (0.0, 6.93))
BASE = ((0.155, 6.865), (0.08, 6.845), (0.0, 6.83))
EYE = ((0.437, 7.265), (0.355, 7.325), (0.255, 7.325), (0.165, 7.243), (0.25, 7.24), (0.355, 7.24))
OUTER = ((0.26, 6.613), (0.165, 6.655), (0.06, 6.685), (0.0, 6.672), (0.185, 6.55), (0.09, 6.512), (0.0, 6.505))
INNER = ((0.245, 6.613), (0.09, 6.618), (0.0, 6.618), (0.09, 6.606), (0.0, 6.605))


def landmark_vertices(head: HeadModel) -> NDArray[np.int64]:
    """Fine vertices (68,) that belong to the FLAME head."""
    ears = head.assets.masks["ears"][head.flame_vertices] > 0.3
    own = head.flame_vertices[(head.weights[head.flame_vertices, 3:].max(1) == 0) & ~ears]
    outward = own[_front(head, own)]
    points = _template_points()
    at = head.rest[outward]
    out = []
    for k, (x, y) in enumerate(points):
        d = (at[:, 0] - x) ** 2 + (at[:, 1] - y) ** 2
        if k < 17:
            d = d + 0.15 * (at[:, 2] < 0.25)
        out.append(outward[int(np.argmin(d))])
    return np.array(out)


def _front(head: HeadModel, own: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Vertices that are seen from the front: nearest of all in a small window."""
    at = head.rest[own]
    out = np.zeros(len(own), bool)
    for k, point in enumerate(at):
        beside = (np.abs(at[:, :2] - point[:2]) < 0.02).all(1)
        out[k] = point[2] > at[beside, 2].max() - 0.06
    return out


def _template_points() -> Points:
    def mirrored(points: tuple[tuple[float, float], ...]) -> Points:
        return [(-x, y) for x, y in points]

    jaw = [*mirrored(JAW), (0.0, 6.16), *reversed(JAW)]
    brows = [*mirrored(BROW), *reversed(BROW)]
    nose = [*BRIDGE, *mirrored(BASE[:2]), BASE[2], *reversed(BASE[:2])]
    right = mirrored(EYE)
    left = [EYE[k] for k in (3, 2, 1, 0, 5, 4)]
    outer = [*mirrored(OUTER[:3]), OUTER[3], *reversed(OUTER[:3]), *OUTER[4:6], OUTER[6], *mirrored(OUTER[4:6])[::-1]]
    inner = [*mirrored(INNER[:2]), INNER[2], *reversed(INNER[:2]), INNER[3], INNER[4], *mirrored(INNER[3:4])]
    return jaw + brows + nose + right + left + outer + inner


def five_points(landmarks: Float32) -> Float32:
    """(5, 2) in the recogniser's order: eye, eye, nose tip, mouth corner, mouth corner; the image's left first."""
    eyes = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    return np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]]).astype(np.float32)


def face_box(landmarks: Float32) -> Float32:
    """(4,) x0 y0 x1 y1 of the face: the landmarks, with half of the forehead on top."""
    low, high = landmarks.min(0), landmarks.max(0)
    up = landmarks[27] - landmarks[8]
    crown = landmarks[27] + 0.62 * up
    low, high = np.minimum(low, crown), np.maximum(high, crown)
    return np.concatenate([low, high]).astype(np.float32)
