"""Which vertices are the 68 landmarks (iBUG order) and how 5 points and a box follow from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arc2face_training.avatars.chart import Chart
from arc2face_training.avatars.columns import EYE_HALF_H, EYE_HALF_W, EYE_U, EYE_V, MOUTH_HALF_W, MOUTH_V

Float32 = NDArray[np.float32]
_JAW_RADIUS = 0.93


def landmark_vertices(chart: Chart) -> NDArray[np.int64]:
    """Vertex numbers (68,); the first of each pair of groups is on the subject's right, as in iBUG's scheme."""
    points = _jaw() + _brows() + _nose() + _eyes() + _mouth()
    return np.array([chart.nearest(u, v) for u, v in points])


def five_points(landmarks: Float32) -> Float32:
    """(5, 2) in the recogniser's order: eye, eye, nose tip, mouth corner, mouth corner; the image's left first."""
    eyes = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    return np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]]).astype(np.float32)


Points = list[tuple[float, float]]


def _jaw() -> Points:
    angles = np.linspace(-0.02, np.pi + 0.02, 17)
    return [(-_JAW_RADIUS * float(np.cos(a)), -_JAW_RADIUS * float(np.sin(a))) for a in angles]


def _brows() -> Points:
    across = np.linspace(0.62, 0.20, 5)
    height = 0.26 + 0.03 * (1 - ((across - 0.41) / 0.21) ** 2)
    right = [(-float(u), float(v)) for u, v in zip(across, height, strict=True)]
    return right + [(-u, v) for u, v in reversed(right)]


def _nose() -> Points:
    bridge = [(0.0, float(v)) for v in np.linspace(0.06, -0.30, 4)]
    return bridge + [(float(u), -0.40 - 0.015 * (abs(u) < 0.01)) for u in np.linspace(-0.13, 0.13, 5)]


def _eyes() -> Points:
    def eye(side: int, degrees: tuple[int, ...]) -> Points:
        t = np.radians(degrees)
        return [(side * (EYE_U + EYE_HALF_W * float(np.cos(a))), EYE_V + EYE_HALF_H * float(np.sin(a))) for a in t]

    return eye(-1, (0, 60, 120, 180, 240, 300)) + eye(1, (180, 120, 60, 0, 300, 240))


def _mouth() -> Points:
    def ring(half_width: float, half_height: float, degrees: NDArray[np.float64]) -> Points:
        t = np.radians(degrees)
        return [(half_width * float(np.cos(a)), MOUTH_V + half_height * float(np.sin(a))) for a in t]

    outer = ring(MOUTH_HALF_W + 0.026, 0.062, 180.0 - 30.0 * np.arange(12))
    return outer + ring(MOUTH_HALF_W, 0.02, 180.0 - 45.0 * np.arange(8))
