"""Hair as strands: rows of points that grow from the skin, with colour and opacity at every point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people.posing import Posed

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Roots:
    """Places on the skin: vertices (n, 3) and barycentric weights (n, 3), points and normals (n, 3)."""

    corners: Int64
    weights: Float32
    points: Float32
    normals: Float32

    def __len__(self) -> int:
        return len(self.points)

    def at(self, values: Float32) -> Float32:
        """Values (W,) or (W, c) of the vertices at the roots."""
        own = values[self.corners]
        weights = self.weights if values.ndim == 1 else self.weights[..., None]
        return (own * weights).sum(1)

    def pick(self, chosen: NDArray[np.generic]) -> Roots:
        """Some of them."""
        return Roots(self.corners[chosen], self.weights[chosen], self.points[chosen], self.normals[chosen])


@dataclass(frozen=True)
class Strands:
    """`points` (n, k, 3) at rest. `colour` (n, 3) linear albedo, `alpha` (n, k). `roots` None: fixed to the skull.

    `shine`: strength of the highlights. `soft` (n, 3) normals that light is softened with.
    """

    points: Float32
    colour: Float32
    alpha: Float32
    soft: Float32
    roots: Roots | None
    shine: float

    def posed(self, posed: Posed, rest: Float32) -> Float32:
        """Points (n, k, 3) in space at a moment; `rest`: the person's vertices at rest."""
        points = self.points
        if self.roots is not None:
            points = points + self.roots.at(posed.before - rest)[:, None]
        return posed.with_head(points)


def sample_roots(
    rng: np.random.Generator,
    vertices: Float32,
    normals: Float32,
    triangles: NDArray[np.int32],
    density: Float32,
    count: int,
) -> Roots:
    """`count` places drawn by area times `density` (W,) at the vertices."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) * density[triangles].mean(1)
    total = np.cumsum(area.astype(np.float64))
    if total[-1] <= 0:
        count = 0
    chosen = np.searchsorted(total, rng.random(count) * (total[-1] if len(total) else 0))
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - u, u * (1 - v), u * v], 1).astype(np.float32)
    corners = triangles[np.minimum(chosen, len(triangles) - 1)].astype(np.int64)
    points = (vertices[corners] * weights[..., None]).sum(1)
    out = (normals[corners] * weights[..., None]).sum(1)
    out /= np.linalg.norm(out, axis=1, keepdims=True) + 1e-9
    return Roots(corners, weights, points.astype(np.float32), out.astype(np.float32))


def tones(rng: np.random.Generator, colour: Float32, grey: float, n: int, spread: float = 0.22) -> Float32:
    """(n, 3) colours of single strands: lighter and darker ones, and a share of grey ones."""
    out = colour * np.exp(rng.normal(0, spread, (n, 1))) * np.exp(rng.normal(0, 0.04, (n, 3)))
    white = np.array([0.30, 0.295, 0.285]) * np.exp(rng.normal(0, 0.18, (n, 1)))
    return np.where(rng.random((n, 1)) < grey, white, out).astype(np.float32)


def unit(v: NDArray[np.floating]) -> NDArray[np.floating]:
    """Vectors (..., 3) of length 1."""
    return v / (np.sqrt(np.einsum("...k,...k->...", v, v))[..., None] + 1e-9)
