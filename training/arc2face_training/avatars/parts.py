"""Eyeballs, ears and neck: the parts of the head beside the skin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from arc2face_training.avatars.chart import Array, IntArray, ramp
from arc2face_training.avatars.clay import skull_half_width
from arc2face_training.avatars.columns import EYEBALL_RADIUS
from arc2face_training.avatars.eyelids import eye_centre, eye_scale

Value = Callable[[str], float]
BALL_SEGMENTS, BALL_ROWS = 24, 14
NECK_SEGMENTS, NECK_ROWS = 28, 9


def ball() -> tuple[Array, Array, IntArray]:
    """A unit sphere with its pole in front: vertices (n, 3), polar chart (n, 2), triangles."""
    polar = np.linspace(0, np.pi, BALL_ROWS)[1:-1]
    around = np.arange(BALL_SEGMENTS) / BALL_SEGMENTS * 2 * np.pi
    a, b = (grid.ravel() for grid in np.meshgrid(polar, around, indexing="ij"))
    vertices = np.c_[np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), np.cos(a)]
    chart = np.c_[a * np.cos(b), a * np.sin(b)]
    vertices = np.r_[[[0.0, 0.0, 1.0]], vertices, [[0.0, 0.0, -1.0]]]
    chart = np.r_[[[0.0, 0.0]], chart, [[np.pi, 0.0]]]
    last, n = len(vertices) - 1, BALL_SEGMENTS
    faces = [(0, 1 + j, 1 + (j + 1) % n) for j in range(n)]
    for row in range(BALL_ROWS - 3):
        for j in range(n):
            p, q = 1 + row * n + j, 1 + row * n + (j + 1) % n
            faces += [(p, p + n, q), (q, p + n, q + n)]
    start = 1 + (BALL_ROWS - 3) * n
    faces += [(last, start + (j + 1) % n, start + j) for j in range(n)]
    return vertices, chart, np.asarray(faces, np.int32)


def eyeball(unit: Array, p: Value, side: int) -> Array:
    """Vertices of one eyeball."""
    return eye_centre(p, side) + unit * EYEBALL_RADIUS * eye_scale(p)


def ear(unit: Array, p: Value, side: int) -> Array:
    """A dished ellipsoid that stands off the skull."""
    size, flare = 1 + 0.16 * p("ear_size"), 0.45
    x, y, z = unit[:, 0] * 0.055, unit[:, 1] * 0.22 * size, unit[:, 2] * 0.13 * size
    z = z * (1 + 0.25 * unit[:, 1])
    radius = np.hypot(unit[:, 1], unit[:, 2])
    x = x - np.where(unit[:, 0] > 0, 0.075 * (1 - ramp(0.2, 0.75, radius)), 0)
    turned = np.c_[x * np.cos(flare) - z * np.sin(flare), y, x * np.sin(flare) + z * np.cos(flare)]
    root = skull_half_width(p) * 0.995 + 0.012 * p("cheekbone") + 0.019
    placed = turned + [root, -0.07 + 0.0135 * p("eye_height"), -0.06]
    return placed * [side, 1, 1]


def neck(p: Value) -> Array:
    """A slightly waisted tube from inside the skull to below the collar."""
    around = np.arange(NECK_SEGMENTS) / NECK_SEGMENTS * 2 * np.pi
    base = 0.37 + 0.02 * p("face_width") + 0.022 * p("jaw_width")
    rows: list[Array] = []
    for h in np.linspace(0, 1, NECK_ROWS):
        radius = base * (1 - 0.12 * np.sin(np.pi * np.clip(h * 1.1, 0, 1)) + 0.25 * ramp(0.7, 1, float(h)))
        z = -0.14 - 0.12 * h + radius * 0.95 * np.sin(around)
        rows.append(np.c_[radius * np.cos(around), np.full(NECK_SEGMENTS, -0.55 - 1.1 * h), z])
    return np.concatenate(rows)


def neck_faces() -> IntArray:
    """Triangles of `neck`, outward."""
    faces: list[tuple[int, int, int]] = []
    for row in range(NECK_ROWS - 1):
        for j in range(NECK_SEGMENTS):
            p, q = row * NECK_SEGMENTS + j, row * NECK_SEGMENTS + (j + 1) % NECK_SEGMENTS
            faces += [(p, q, p + NECK_SEGMENTS), (q, q + NECK_SEGMENTS, p + NECK_SEGMENTS)]
    return np.asarray(faces, np.int32)
