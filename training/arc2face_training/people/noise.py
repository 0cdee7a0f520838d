"""A tileable volume of value noise, and its look-up in numpy. raster.c holds the same look-up."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
SIDE = 128
OCTAVES = ((16, 0.5), (32, 0.3), (64, 0.2))
"""Cells per period and amplitude of the octaves."""


@functools.cache
def volume() -> NDArray[np.uint8]:
    """(128, 128, 128) uint8 indexed z, y, x; mean about 127, standard deviation about 42; period 1."""
    rng = np.random.default_rng(20_251)
    total = sum(a * _octave(rng, cells) for cells, a in OCTAVES)
    total = (total - total.mean()) / total.std()
    return np.clip(127.5 + 42 * total, 0, 255).astype(np.uint8)


def _octave(rng: np.random.Generator, cells: int) -> Float32:
    lattice = rng.random((cells, cells, cells)).astype(np.float32)
    t = np.arange(SIDE) * cells / SIDE
    low, part = t.astype(int), (t % 1).astype(np.float32)
    part = part * part * (3 - 2 * part)
    for axis in range(3):
        shape = [1, 1, 1]
        shape[axis] = SIDE
        weight = part.reshape(shape)
        lattice = lattice.take(low, axis) * (1 - weight) + lattice.take((low + 1) % cells, axis) * weight
    return lattice


def noise(points: NDArray[np.floating]) -> Float32:
    """Noise (...,) in 0..1 at points (..., 3) x, y, z in periods."""
    grid = volume()
    p = points.astype(np.float32)
    p = (p - np.floor(p)) * SIDE
    low = p.astype(np.int64)
    part = (p - low).astype(np.float32)
    low &= SIDE - 1
    high = (low + 1) & (SIDE - 1)
    flat = grid.ravel()
    total = np.zeros(p.shape[:-1], np.float32)
    for z, wz in ((low[..., 2], 1 - part[..., 2]), (high[..., 2], part[..., 2])):
        for y, wy in ((low[..., 1], 1 - part[..., 1]), (high[..., 1], part[..., 1])):
            row = (z * SIDE + y) * SIDE
            for x, wx in ((low[..., 0], 1 - part[..., 0]), (high[..., 0], part[..., 0])):
                total += flat[row + x] * (wx * wy * wz)
    return total * np.float32(1 / 255)


def ramp(a: float, b: float, x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Smooth step from 0 at `a` to 1 at `b` (which may be smaller)."""
    t = np.clip((x - a) / (b - a), 0, 1)
    return t * t * (3 - 2 * t)


def bump(x: NDArray[np.floating], centre: float, width: float) -> NDArray[np.floating]:
    """Gaussian of height 1."""
    return np.exp(-(((x - centre) / width) ** 2))
