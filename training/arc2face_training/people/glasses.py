"""Glasses: two rims, a bridge and two temples as thin tubes, fitted to the person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people.strands import unit

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
AROUND = 6


def tube(path: NDArray[np.floating], radius: float, closed: bool) -> tuple[Float32, Int32]:
    """Vertices and triangles of a tube along points (n, 3)."""
    n = len(path)
    if closed:
        ahead, behind = np.roll(path, -1, 0), np.roll(path, 1, 0)
    else:
        ahead, behind = path[np.minimum(np.arange(n) + 1, n - 1)], path[np.maximum(np.arange(n) - 1, 0)]
    tangent = unit(ahead - behind)
    side = unit(np.cross(tangent, np.array([0.05, 0.1, 1.0]) if closed else np.array([0.1, 1.0, 0.05])))
    up = np.cross(tangent, side)
    angles = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    rings = path[:, None] + radius * (
        np.cos(angles)[None, :, None] * side[:, None] + np.sin(angles)[None, :, None] * up[:, None]
    )
    last = n if closed else n - 1
    i, j = np.meshgrid(np.arange(last), np.arange(AROUND), indexing="ij")
    a, b = i * AROUND + j, i * AROUND + (j + 1) % AROUND
    c, d = ((i + 1) % n) * AROUND + j, ((i + 1) % n) * AROUND + (j + 1) % AROUND
    faces = np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)])
    return rings.reshape(-1, 3).astype(np.float32), faces.astype(np.int32)


@dataclass(frozen=True, eq=False)
class Eyewear:
    """`vertices` (n, 3) on the person at rest, triangles of `frame` and of both `lenses`."""

    vertices: Float32
    frame: Int32
    lenses: Int32


def make_glasses(kind: str, eyes: Float32, bridge: Float32, ears: Float32, thick: float) -> Eyewear:
    """Glasses of a shape ("round" or "square"). `eyes` (2, 3) ball centres left and right, `bridge` (3,), `ears` (2, 3)
    their tops.
    """
    power = 2.0 if kind == "round" else 4.0
    half = np.array([0.215, 0.185]) if kind == "round" else np.array([0.245, 0.165])
    pieces: list[tuple[Float32, Int32]] = []
    angle = np.linspace(0, 2 * np.pi, 44, endpoint=False)
    front = max(float(bridge[2]) + 0.03, float(eyes[:, 2].max()) + 0.30)
    ends, rims = [], []
    for eye in eyes:
        side = np.sign(eye[0])
        c, s = np.cos(angle), np.sin(angle)
        x = eye[0] + side * 0.012 + half[0] * np.sign(c) * np.abs(c) ** (2 / power)
        y = eye[1] - 0.035 + half[1] * np.sign(s) * np.abs(s) ** (2 / power)
        z = front - 0.35 * np.maximum(np.abs(x) - 0.12, 0) ** 1.6 + 0.06 * (y - eye[1])
        rims.append(np.stack([x, y, z], 1))
        pieces.append(tube(rims[-1], thick, True))
        outer = int(np.argmax(side * x + 0.4 * y))
        ends.append(np.array([x[outer], y[outer], z[outer]]))
    inner = abs(eyes[:, 0]).mean() + 0.012 - half[0]
    t = np.linspace(-1, 1, 7)
    arch = np.stack([t * inner * 1.02, eyes[:, 1].mean() + 0.03 + 0.03 * (1 - t**2), np.full(7, front + 0.012)], 1)
    pieces.append(tube(arch, thick, False))
    for end, ear in zip(ends, ears, strict=True):
        t = np.linspace(0, 1, 10)[:, None]
        out = np.array([np.sign(end[0]) * 0.07, 0, 0]) * np.sin(np.pi * np.clip(t * 1.2, 0, 1))
        pieces.append(tube(end * (1 - t) + ear * t + out, thick * 0.9, False))
    start, faces = 0, []
    for vertices, triangles in pieces:
        faces.append(triangles + start)
        start += len(vertices)
    lenses, n = [], len(angle)
    for rim in rims:
        middle = rim.mean(0)[None] + [0, 0, 0.03]
        pieces.append((np.concatenate([rim, middle]).astype(np.float32), np.zeros((0, 3), np.int32)))
        k = np.arange(n)
        lenses.append(np.stack([k, (k + 1) % n, np.full(n, n)], 1) + start)
        start += n + 1
    vertices = np.concatenate([v for v, _ in pieces])
    return Eyewear(vertices, np.concatenate(faces).astype(np.int32), np.concatenate(lenses).astype(np.int32))
