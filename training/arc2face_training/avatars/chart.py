"""The skin mesh's topology: points on the unit sphere, dense where a face moves, joined by their convex hull."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from arc2face_training.avatars.columns import EYE_HALF_H, EYE_HALF_W, EYE_U, EYE_V, MOUTH_HALF_W, MOUTH_V

Array = NDArray[np.float64]
IntArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]

EYE_RINGS = (0.82, 1.0, 1.12, 1.27, 1.45, 1.66, 1.9)
EYE_RING_POINTS = 36
MOUTH_RINGS = (
    (MOUTH_HALF_W * 0.93, 0.008), (MOUTH_HALF_W, 0.02), (MOUTH_HALF_W + 0.012, 0.04), (MOUTH_HALF_W + 0.026, 0.062),
    (MOUTH_HALF_W + 0.042, 0.086), (MOUTH_HALF_W + 0.062, 0.112), (MOUTH_HALF_W + 0.09, 0.145),
    (MOUTH_HALF_W + 0.125, 0.18),
)  # fmt: skip
MOUTH_RING_POINTS = 56
BACK_POINTS = 1500


def ramp(low: float, high: float, x: Array | float) -> Array:
    """Smooth step from 0 at `low` to 1 at `high` (which may be the smaller one)."""
    t = np.clip((np.asarray(x, np.float64) - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bump(x: Array, centre: float, width: float) -> Array:
    """Gaussian of height 1."""
    return np.exp(-0.5 * ((x - centre) / width) ** 2)


@dataclass(frozen=True)
class Chart:
    """Directions (n, 3) of the skin vertices, its triangles, and the folded-in rims of the three holes."""

    directions: Array
    faces: IntArray
    eye_rim: BoolArray
    mouth_rim: BoolArray

    @property
    def u(self) -> Array:
        """Subject's left."""
        return self.directions[:, 0]

    @property
    def v(self) -> Array:
        """Up."""
        return self.directions[:, 1]

    @property
    def w(self) -> Array:
        """Front."""
        return self.directions[:, 2]

    def nearest(self, u: float, v: float) -> int:
        """Index of the front vertex closest to (u, v)."""
        return int(np.argmin((self.u - u) ** 2 + (self.v - v) ** 2 + 9.0 * (self.w < 0)))


def eye_radius(u: Array, v: Array) -> Array:
    """Elliptic distance to the nearer eye centre; 1 on the lid's edge."""
    return np.sqrt(((np.abs(u) - EYE_U) / EYE_HALF_W) ** 2 + ((v - EYE_V) / EYE_HALF_H) ** 2)


def make_chart() -> Chart:
    """Build the mesh; takes about 0.1 s and is the same every time."""
    points = np.concatenate([_rings(), _front_fill(), _back_fill()])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    faces = _outward(points, np.asarray(ConvexHull(points).simplices))
    u, v, w = points.T
    eye_rim = (eye_radius(u, v) < 0.83) & (w > 0)
    half_width, half_height = MOUTH_RINGS[0]
    mouth_rim = (np.hypot(u / half_width, (v - MOUTH_V) / half_height) < 1.02) & (w > 0)
    hole = eye_rim[faces].all(1) | mouth_rim[faces].all(1)
    return Chart(points, faces[~hole].astype(np.int32), eye_rim, mouth_rim)


def _outward(points: Array, faces: IntArray) -> IntArray:
    faces = faces.copy()
    a, b, c = (points[faces[:, k]] for k in range(3))
    inward = (np.cross(b - a, c - a) * (a + b + c)).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    return faces


def _rings() -> Array:
    rings: list[Array] = []
    angle = np.arange(EYE_RING_POINTS) / EYE_RING_POINTS * 2 * np.pi
    for side in (1, -1):
        for s in EYE_RINGS:
            rings.append(np.c_[side * (EYE_U + s * EYE_HALF_W * np.cos(angle)), EYE_V + s * EYE_HALF_H * np.sin(angle)])
    angle = np.arange(MOUTH_RING_POINTS) / MOUTH_RING_POINTS * 2 * np.pi
    rings += [np.c_[a * np.cos(angle), MOUTH_V + b * np.sin(angle)] for a, b in MOUTH_RINGS]
    flat = np.concatenate(rings)
    return np.c_[flat, np.sqrt(np.clip(1 - (flat**2).sum(1), 0, 1))]


def _hexagonal(spacing: float) -> Array:
    rows: list[Array] = []
    for j, v in enumerate(np.arange(-1.0, 1.0, spacing * 0.866)):
        half = np.arange(0, 1.0, spacing) + (spacing / 2 if j % 2 else 0)
        u = np.unique(np.r_[-half, half])
        rows.append(np.c_[u, np.full_like(u, v)])
    return np.concatenate(rows)


def _front_fill() -> Array:
    fine, coarse = _hexagonal(0.027), _hexagonal(0.047)
    fine = fine[(np.abs(fine[:, 0]) < 0.2) & (fine[:, 1] < 0.1) & (fine[:, 1] > -0.46)]
    coarse = coarse[np.hypot(coarse[:, 0], coarse[:, 1]) < 0.93]
    nose = (np.abs(coarse[:, 0]) < 0.22) & (coarse[:, 1] < 0.12) & (coarse[:, 1] > -0.48)
    flat = np.concatenate([fine, coarse[~nose]])
    mouth = np.hypot(flat[:, 0] / (MOUTH_HALF_W + 0.145), (flat[:, 1] - MOUTH_V) / 0.2)
    flat = flat[(eye_radius(flat[:, 0], flat[:, 1]) > 2.05) & (mouth > 1.0)]
    return np.c_[flat, np.sqrt(1 - (flat**2).sum(1))]


def _back_fill() -> Array:
    index = np.arange(BACK_POINTS)
    z = 1 - 2 * (index + 0.5) / BACK_POINTS
    turn = np.pi * (3 - np.sqrt(5)) * index
    radius = np.sqrt(1 - z * z)
    points = np.c_[radius * np.cos(turn), radius * np.sin(turn), z]
    points = points[(points[:, 2] < 0.33) & (points[:, 0] >= 0.02)]
    return np.concatenate([points, points * [-1, 1, 1]])
