"""Light among hair: a coarse grid of its density gives shadows and occlusion; strands shine along their length."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from arc2face_training.people import raster
from arc2face_training.people.lights import Light
from arc2face_training.people.strands import Strands, unit

Float32 = NDArray[np.float32]
LOW, HIGH, CELL = np.array([-1.95, 4.6, -2.1], np.float32), np.array([1.95, 9.6, 2.1], np.float32), 0.125
SHAPE = tuple(int(n) for n in np.ceil((HIGH - LOW) / CELL))
DIRECTIONS = unit(np.array([[0, 1, 0], [0.8, 0.6, 0], [-0.8, 0.6, 0], [0, 0.5, 0.85], [0, 0.5, -0.85], [0.7, -0.1, 0.7],
                            [-0.7, -0.1, 0.7], [0, -0.7, 0.7]])).astype(np.float32)  # fmt: skip
STEPS = 7


class HairGrid:
    """Density of hair in the skull's frame, as optical depth per cell."""

    def __init__(self, groups: list[Strands], strength: float) -> None:
        grid = np.zeros(SHAPE, np.float32)
        for group in groups:
            points = group.points[:, 1:].reshape(-1, 3)
            length = np.linalg.norm(np.diff(group.points, axis=1), axis=2).ravel()
            i = self.index(points)
            np.add.at(grid.reshape(-1), i, length * group.alpha[:, 1:].ravel())
        self.depth = gaussian_filter(grid, 0.7) * strength
        self.empty = not groups

    @staticmethod
    def index(points: Float32) -> NDArray[np.int64]:
        """Cell (n,) of points (n, 3) in the skull's frame."""
        cell = np.clip(((points - LOW) / CELL).astype(np.int64), 0, np.array(SHAPE) - 1)
        return (cell[:, 0] * SHAPE[1] + cell[:, 1]) * SHAPE[2] + cell[:, 2]

    def passing(self, direction: Float32) -> Float32:
        """Share of the light from `direction` (3,) that reaches every cell."""
        total = 0.35 * self.depth
        for k in range(1, STEPS + 1):
            shift = np.round(direction * k * 1.15).astype(int)
            total = total + _shifted(self.depth, shift)
        return np.exp(-total)

    def occlusion(self) -> Float32:
        """Mean of `passing` over directions."""
        return 0.12 + 0.88 * np.mean([self.passing(d) for d in DIRECTIONS], axis=0)

    def look_up_smooth(self, grid: Float32, points: Float32) -> Float32:
        """Values (n,) of a grid at points (n, 3), linear between cells."""
        p = np.clip((points - LOW) / CELL - 0.5, 0, np.array(SHAPE) - 1.001)
        low = p.astype(np.int64)
        f = (p - low).astype(np.float32)
        flat, out = grid.reshape(-1), np.zeros(len(points), np.float32)
        for dx in (0, 1):
            for dy in (0, 1):
                for dz in (0, 1):
                    weight = np.abs(1 - dx - f[:, 0]) * np.abs(1 - dy - f[:, 1]) * np.abs(1 - dz - f[:, 2])
                    out += weight * flat[((low[:, 0] + dx) * SHAPE[1] + low[:, 1] + dy) * SHAPE[2] + low[:, 2] + dz]
        return out


@functools.lru_cache(maxsize=64)
def dither(n: int) -> Float32:
    """(n, 3) shifts of up to half a cell, one per strand, so that cells do not show as steps."""
    return (np.random.default_rng(n).uniform(-0.5, 0.5, (n, 3)) * CELL).astype(np.float32)


def _shifted(grid: Float32, shift: NDArray[np.integer]) -> Float32:
    """grid[i + shift], 0 outside."""
    out = np.zeros_like(grid)
    to, source = [], []
    for s, n in zip(shift, grid.shape, strict=True):
        if abs(int(s)) >= n:
            return out
        to.append(slice(max(0, -int(s)), n - max(0, int(s))))
        source.append(slice(max(0, int(s)), n - max(0, -int(s))))
    out[tuple(to)] = grid[tuple(source)]
    return out


@dataclass(frozen=True)
class Lit:
    """What lights a group of strands: points and soft normals in space, shares of key light and of ambient light."""

    points: Float32
    soft: Float32
    key_share: Float32
    occlusion: Float32


def shade_strands(group: Strands, lit: Lit, light: Light, eye: Float32) -> Float32:
    """Linear light (n, k, 3) of strands: Kajiya-Kay with two highlights, softened by the shape of the whole."""
    view = unit(eye - lit.points.mean((0, 1))).astype(np.float32)
    half = unit(light.key + view).astype(np.float32)
    found = raster.shade_strands(
        lit.points, group.colour, lit.soft, lit.key_share, lit.occlusion,
        np.concatenate([light.key, light.key_colour, light.rim, light.rim_colour, light.fill, light.fill_colour,
                        light.cube.ravel(), view, half, [group.shine]]).astype(np.float32),
    )  # fmt: skip
    return _shade(group, lit, light, view, half) if found is None else found


def _shade(group: Strands, lit: Lit, light: Light, view: Float32, half: Float32) -> Float32:
    """`shade_strands` without a compiler; the same arithmetic as hair.c."""
    p = lit.points
    tangent = np.empty_like(p)
    tangent[:, :-1] = p[:, 1:] - p[:, :-1]
    tangent[:, -1] = tangent[:, -2]
    tangent *= 1 / np.sqrt((tangent**2).sum(-1, keepdims=True) + 1e-9)
    normal = lit.soft
    number = (np.arange(len(p), dtype=np.uint64) * 2654435761 % 2**32 >> 16) & 255
    jitter = (number.astype(np.float32) * np.float32(0.2 / 255) - np.float32(0.1))[:, None]
    tl, th = tangent @ light.key, tangent @ half + jitter
    nl = normal @ light.key
    along = np.sqrt(np.clip(1 - tl * tl, 0, 1))
    diffuse = along * np.clip(0.55 + 0.45 * nl, 0, 1)[:, None] * np.clip(0.35 + nl, 0, 1)[:, None] ** 0.5
    key = lit.key_share
    first = np.clip(1 - (th + 0.10) ** 2, 0, 1) ** 45
    second = np.clip(1 - (th - 0.14) ** 2, 0, 1) ** 11
    around = _ambient(light.cube, normal)[:, None] * lit.occlusion[..., None]
    rim = np.clip(0.2 + normal @ light.rim, 0, 1)[:, None, None] * light.rim_colour * lit.occlusion[..., None]
    fill = np.clip(0.4 + normal @ light.fill, 0, 1)[:, None, None] * light.fill_colour * lit.occlusion[..., None]
    colour = group.colour[:, None]
    out = colour * (1.15 * (diffuse * key)[..., None] * light.key_colour + around + fill + rim)
    facing = np.clip(0.25 + nl, 0, 1)[:, None] * key * group.shine
    glint = np.sqrt(colour)
    out = out + (0.125 * first * facing)[..., None] * light.key_colour
    out = out + (0.84 * second * facing)[..., None] * colour * glint * light.key_colour
    sheen = 0.045 * group.shine * np.sqrt(np.clip(1 - (tangent @ view) ** 2, 0, 1))
    out = out + sheen[..., None] * (around + 0.8 * rim)
    return out.astype(np.float32)


def _ambient(cube: Float32, normals: Float32) -> Float32:
    """Light (n, 3) from six sides for normals (n, 3)."""
    square = normals**2
    out = np.zeros_like(normals)
    for axis in range(3):
        faces = np.where(normals[:, axis : axis + 1] < 0, cube[2 * axis + 1], cube[2 * axis])
        out += square[:, axis : axis + 1] * faces
    return out
