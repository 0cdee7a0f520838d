"""Growing strands: they leave the skin, bend to comb and gravity, and stay outside of the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from arc2face_training.people.strands import Roots, unit

Float32 = NDArray[np.float32]
CENTRE = np.array([0.0, 7.35, 0.15], np.float32)
ROWS, COLUMNS = 40, 80


class Skull:
    """Distance of the skin from the middle of the head by direction, to keep hair outside."""

    def __init__(self, vertices: Float32, own: NDArray[np.bool_]) -> None:
        d = vertices[own] - CENTRE
        radius = np.linalg.norm(d, axis=1)
        row, column = self._place(d)
        grid = np.zeros((ROWS, COLUMNS))
        np.maximum.at(grid, (row.astype(int) % ROWS, column.astype(int) % COLUMNS), radius)
        known = gaussian_filter((grid > 0).astype(float), 1.2, mode=("nearest", "wrap"))
        self.grid = gaussian_filter(grid, 1.2, mode=("nearest", "wrap")) / np.maximum(known, 1e-3)

    @staticmethod
    def _place(d: Float32) -> tuple[Float32, Float32]:
        radius = np.sqrt(np.einsum("...k,...k->...", d, d)) + 1e-9
        row = np.arccos(np.clip(d[..., 1] / radius, -1, 1)) / np.pi * (ROWS - 1)
        column = (np.arctan2(d[..., 0], d[..., 2]) / (2 * np.pi) % 1.0) * COLUMNS
        return row, column

    def push_out(self, points: Float32, margin: Float32) -> Float32:
        """Move points (n, 3) to at least `margin` (n,) outside of the head; below the jaw they only leave the neck."""
        d = points - CENTRE
        radius = np.sqrt(np.einsum("ij,ij->i", d, d))
        row, column = self._place(d)
        skin = map_coordinates(self.grid, [row, column], order=1, mode="grid-wrap")
        wanted = np.where(d[:, 1] > -1.15, skin + margin, 0)
        factor = np.maximum(wanted / np.maximum(radius, 1e-6), 1)
        out = CENTRE + d * factor[:, None]
        low = out[:, 1] < CENTRE[1] - 0.75
        axis = np.array([0.0, 0.10])
        flat = out[:, [0, 2]] - axis
        reach = np.hypot(flat[:, 0], flat[:, 1])
        neck = 0.60 + 0.25 * np.clip((6.0 - out[:, 1]) / 0.5, 0, 3) + margin
        scale = np.where(low, np.maximum(neck / np.maximum(reach, 1e-6), 1), 1)
        out[:, [0, 2]] = axis + flat * scale[:, None]
        return out.astype(np.float32)


@dataclass
class Groom:
    """How strands grow. Arrays are (n, ...) or broadcast to it.

    `direction` (n, 3): first direction. `length` (n,). `gravity`, `stiffness` per step. `margin` (n,): distance
    from the skin that strands keep. `comb` (n, 3) or None: a pull in every step. `face`: keep out of the face.
    """

    direction: Float32
    length: Float32
    points: int = 10
    gravity: float = 0.25
    stiffness: float = 1.0
    margin: Float32 | float = 0.03
    comb: Float32 | None = None
    face: bool = True
    lift: float = 0.5


def grow(roots: Roots, groom: Groom, skull: Skull) -> Float32:
    """Points (n, k, 3) of strands from their roots."""
    n, k = len(roots), groom.points
    out = np.empty((n, k, 3), np.float32)
    p = roots.points - 0.01 * roots.normals
    direction = unit(groom.direction)
    step = (np.broadcast_to(groom.length, (n,)) / (k - 1))[:, None]
    margin = np.broadcast_to(np.asarray(groom.margin, np.float32), (n,))
    out[:, 0] = p
    down = np.array([0, -1, 0], np.float32)
    for i in range(1, k):
        s = i / (k - 1)
        if groom.comb is not None:
            direction = direction + groom.comb * (1 - s) * 0.6
        direction = unit(groom.stiffness * direction + groom.gravity * s**0.5 * down)
        p = p + direction * step
        p = skull.push_out(p, margin * min(1.0, s * 4 * groom.lift))
        if groom.face:
            p = _leave_face(p)
        direction = unit(p - out[:, i - 1])
        out[:, i] = p
    return out


def _leave_face(p: Float32) -> Float32:
    """Strands that hang in front of the face move to its sides."""
    x, y, z = p.T
    inside = (z > 0.62) & (y < 7.72) & (np.abs(x) < 0.70)
    side = np.where(x >= 0, 1.0, -1.0)
    share = 0.5 * np.clip((7.72 - y) / 0.35, 0, 1) * np.clip((z - 0.62) / 0.2, 0, 1)
    p[:, 0] = np.where(inside, x * (1 - share) + side * 0.70 * share, x)
    return p


def clump(rng: np.random.Generator, points: Float32, share: float, per: int = 24, strength: float = 1.0) -> Float32:
    """Pull strands to every `per`-th of them, more towards the tips: locks."""
    n, k = points.shape[:2]
    if n < 2 * per or share <= 0:
        return points
    guides = rng.choice(n, n // per, replace=False)
    nearest = guides[cKDTree(points[guides, 0]).query(points[:, 0])[1]]
    s = (np.arange(k) / (k - 1))[None, :, None] ** 1.2
    weight = share * s * strength * rng.uniform(0.5, 1, (n, 1, 1))
    offset = points[:, :1] - points[nearest, :1]
    return (points * (1 - weight) + (points[nearest] + offset * 0.35) * weight).astype(np.float32)


def curl(rng: np.random.Generator, points: Float32, radius: float, turns: float, together: int = 0) -> Float32:
    """Add helices of `radius` decimetres and `turns` per strand, growing from the root; locks of `together` agree."""
    n, k = points.shape[:2]
    tangent = unit(np.gradient(points, axis=1))
    side = unit(np.cross(tangent, np.array([0.31, 0.2, 0.93])))
    up = np.cross(tangent, side)
    if together:
        guides = rng.choice(n, max(n // together, 1), replace=False)
        lock = cKDTree(points[guides, 0]).query(points[:, 0])[1]
        phase = rng.uniform(0, 6.283, len(guides))[lock] + rng.normal(0, 0.25, n)
        rate = (turns * np.exp(rng.normal(0, 0.15, len(guides))))[lock]
    else:
        phase, rate = rng.uniform(0, 6.283, n), turns * np.exp(rng.normal(0, 0.2, n))
    s = np.arange(k) / (k - 1)
    angle = phase[:, None] + 6.283 * rate[:, None] * s
    amount = (radius * np.minimum(1, 3.5 * s) * np.exp(rng.normal(0, 0.2, (n, 1))))[..., None]
    return (points + amount * (np.cos(angle)[..., None] * side + np.sin(angle)[..., None] * up)).astype(np.float32)


def frizz(rng: np.random.Generator, points: Float32, amount: float) -> Float32:
    """Random wandering of single strands, growing from the root."""
    n, k = points.shape[:2]
    walk = np.cumsum(rng.normal(0, 1, (n, k, 3)), axis=1) / np.sqrt(k)
    walk -= walk[:, :1]
    return (points + amount * walk).astype(np.float32)
