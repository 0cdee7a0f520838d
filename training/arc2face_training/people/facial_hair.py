"""Brows of fine strokes, lashes that follow the lids, beards and moustaches that follow the jaw."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from arc2face_training.people.groom import Groom, Skull, clump, frizz
from arc2face_training.people.head import HeadModel
from arc2face_training.people.looks import Look
from arc2face_training.people.noise import bump, noise, ramp
from arc2face_training.people.posing import Posed
from arc2face_training.people.strands import Roots, Strands, sample_roots, tones, unit

Float32 = NDArray[np.float32]


def beard_field(rest: Float32, look: Look, lips: Float32, ears: Float32) -> Float32:
    """(W,) 0..1: where the person's beard or stubble grows, by places on the reference head."""
    if look.beard == "none":
        return np.zeros(len(rest), np.float32)
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    o = (look.noise_seed % 79) * 0.43
    jag = 0.12 * (noise(rest * 0.3 + o) - 0.5)
    cheek = np.interp(x, (0.30, 0.42, 0.55, 0.68, 0.76), (6.60, 6.66, 6.79, 6.98, 7.06)) + jag
    low = np.interp(x, (0.0, 0.3, 0.55, 0.72), (6.03, 6.08, 6.28, 6.45)) + 0.6 * jag
    full = ramp(0.04, -0.08, y - cheek) * ramp(-0.06, 0.08, y - low) * ramp(0.40, 0.52, z)
    lip_gap = 1 - bump(x, 0.15, 0.12) * bump(y, 6.44, 0.06) * 0.85
    moustache = bump(y, 6.745 - 0.03 * (x / 0.3) ** 2, 0.06) * ramp(0.36, 0.26, x) * ramp(1.1, 1.25, z)
    moustache = moustache * (1 - 0.5 * bump(x, 0, 0.035))
    chin = ramp(0.34, 0.24, x) * ramp(6.50, 6.42, y) * ramp(-0.02, 0.1, y - low) * ramp(0.95, 1.1, z)
    corner = ramp(0.20, 0.27, x) * ramp(0.40, 0.33, x) * ramp(6.78, 6.70, y) * ramp(6.3, 6.4, y) * ramp(1.0, 1.1, z)
    inside = ramp(0.24, 0.30, x) + ramp(6.56, 6.50, y)
    full = full * np.clip(inside, 0, 1) * lip_gap
    parts = {"stubble": (full, moustache), "short": (full, moustache), "full": (full, moustache),
             "goatee": (chin * lip_gap, corner, moustache), "moustache": (moustache,)}[look.beard]  # fmt: skip
    field = np.clip(np.max(parts, axis=0), 0, 1)
    throat = 1 - ramp(6.26, 6.16, y) * ramp(0.92, 0.74, z)
    return (field * (1 - ramp(0.1, 0.5, lips)) * (1 - ramp(0.02, 0.2, ears)) * throat).astype(np.float32)


def grow_beard(
    rng: np.random.Generator,
    look: Look,
    vertices: Float32,
    normals: Float32,
    triangles: NDArray[np.int32],
    field: Float32,
    skull: Skull,
) -> Strands | None:
    """The beard, or None."""
    if look.beard == "none":
        return None
    stubble = look.beard == "stubble"
    area = float(field.sum()) / 900
    count = int((4200 if stubble else 7000) * look.beard_density * np.clip(area, 0.12, 1))
    roots = sample_roots(rng, vertices, normals, triangles, field**1.5, count)
    if not len(roots):
        return None
    length = {"stubble": 0.022, "short": 0.07 + 0.08 * look.beard_length, "goatee": 0.10 + 0.14 * look.beard_length,
              "moustache": 0.09, "full": 0.18 + 0.22 * look.beard_length}[look.beard]  # fmt: skip
    at = roots.points
    side = np.sign(at[:, 0]) * ramp(0.02, 0.25, np.abs(at[:, 0]))
    lip = (at[:, 1] > 6.64) & (np.abs(at[:, 0]) < 0.35)
    sideways = np.where(lip, 0.8, 0.12)
    direction = (
        np.stack([side * sideways, np.full(len(at), -0.85), np.full(len(at), 0.1)], 1)
        + (0.45 if stubble else 0.25) * roots.normals
    )
    direction = direction + rng.normal(0, 0.22, (len(at), 3))
    own = (
        length
        * rng.uniform(0.6, 1.1, len(at))
        * np.where(lip, 0.62, np.interp(np.abs(at[:, 0]), (0.2, 0.6), (1.0, 0.45)))
        * (0.5 + 0.5 * roots.at(field))
    )
    groom = Groom(
        direction.astype(np.float32), own.astype(np.float32), 3 if stubble else 6, 0.12, margin=0.0, face=False
    )
    points = _grow_free(roots, groom)
    if not stubble:
        points = frizz(rng, clump(rng, points, 0.45, 14), 0.10 * length)
    k = points.shape[1]
    colour = tones(rng, look.hair * np.array([1.0, 0.92, 0.85]), look.grey, len(points), 0.28)
    tips = np.linspace(1.0, 0.45, k)[None]
    alpha = (tips * (0.42 if stubble else 0.9) * (0.55 + 0.45 * roots.at(field)[:, None])).astype(np.float32)
    return Strands(points, colour, alpha, roots.normals, roots, 0.5)


def _grow_free(roots: Roots, groom: Groom) -> Float32:
    """As `groom.grow`, without the skull: short hair that only bends down."""
    n, k = len(roots), groom.points
    out = np.empty((n, k, 3), np.float32)
    p, direction = roots.points - 0.004 * roots.normals, unit(groom.direction)
    step = (groom.length / (k - 1))[:, None]
    for i in range(k):
        out[:, i] = p
        direction = unit(direction + groom.gravity * np.array([0, -1.0, 0]))
        inward = np.minimum((direction * roots.normals).sum(1, keepdims=True) - 0.12, 0)
        direction = unit(direction - inward * roots.normals)
        p = p + direction * step
    return out


class Surface:
    """Finds places on the front of the face by x, y on the reference head."""

    def __init__(self, head: HeadModel) -> None:
        skin = head.triangles[head.parts == 0]
        corners = head.rest[skin]
        middle = corners.mean(1)
        facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0
        keep = (middle[:, 2] > 0.75) & facing & (middle[:, 1] > 7.0)
        self.triangles, self.rest = skin[keep].astype(np.int64), head.rest
        self.tree = cKDTree(middle[keep][:, :2])

    def roots(self, places: NDArray[np.floating], vertices: Float32, normals: Float32) -> Roots:
        """Roots at places (n, 2)."""
        corners = self.triangles[self.tree.query(places)[1]]
        a, b, c = (self.rest[corners[:, k]][:, :2] for k in range(3))
        den = (b[:, 1] - c[:, 1]) * (a[:, 0] - c[:, 0]) + (c[:, 0] - b[:, 0]) * (a[:, 1] - c[:, 1])
        d = places - c
        u = ((b[:, 1] - c[:, 1]) * d[:, 0] + (c[:, 0] - b[:, 0]) * d[:, 1]) / den
        v = ((c[:, 1] - a[:, 1]) * d[:, 0] + (a[:, 0] - c[:, 0]) * d[:, 1]) / den
        weights = np.clip(np.stack([u, v, 1 - u - v], 1), -0.5, 1.5).astype(np.float32)
        weights /= weights.sum(1, keepdims=True)
        points, out = ((values[corners] * weights[..., None]).sum(1) for values in (vertices, normals))
        return Roots(corners, weights, points.astype(np.float32), unit(out).astype(np.float32))


def grow_brows(rng: np.random.Generator, look: Look, surface: Surface, vertices: Float32, normals: Float32) -> Strands:
    """Both brows."""
    n = int(520 + 620 * look.brow_density)
    t = np.clip(rng.beta(1.05, 1.2, n), 0.0, 1.0)
    across = np.clip(rng.normal(0, 0.55, n), -1, 1)
    half = 0.046 * look.brow_thickness * ramp(-0.10, 0.14, t) * (1 - 0.70 * ramp(0.5, 1.0, t))
    x = 0.125 + 0.475 * t
    arch = 0.012 + 0.036 * look.brow_arch
    middle = 7.500 + look.brow_height + arch * np.sin(np.clip(t / 0.72, 0, 1) * 1.57)
    middle = middle - (0.045 + 0.05 * look.brow_arch) * np.clip((t - 0.66) / 0.34, 0, 1) ** 1.3
    side = rng.choice((-1.0, 1.0), n)
    roots = surface.roots(np.stack([side * x, middle + across * half], 1), vertices, normals)
    lean = np.interp(t, (0, 0.12, 0.45, 0.75, 1), (1.25, 0.85, 0.30, -0.08, -0.30)) - 0.40 * across
    angle = lean + rng.normal(0, 0.13, n)
    direction = np.stack([side * np.cos(angle), np.sin(angle), np.zeros(n)], 1)
    direction -= roots.normals * (direction * roots.normals).sum(1, keepdims=True)
    length = (0.075 * look.brow_thickness**0.5 * rng.uniform(0.65, 1.1, n) * (1 - 0.3 * t))[:, None]
    s = np.linspace(0, 1, 4)
    points = np.stack(
        [roots.points + direction * length * k + roots.normals * (0.004 + 0.012 * np.sin(3.1 * k)) for k in s], 1
    )
    tone = np.minimum(look.hair * 0.75, [0.16, 0.10, 0.06])
    colour = tones(rng, tone.astype(np.float32), 0.75 * look.grey, n, 0.2)
    alpha = np.linspace(0.85, 0.30, 4)[None] * (0.36 + 0.36 * look.brow_density) * (1 - 0.45 * np.abs(across))[:, None]
    alpha = alpha * (0.55 + 0.45 * ramp(0.0, 0.15, t))[:, None]
    return Strands(points.astype(np.float32), colour, alpha.astype(np.float32), roots.normals, roots, 0.25)


@dataclass(frozen=True)
class Lashes:
    """Lashes as lines between vertices of the assets' lash strips: (n, 2) vertices and shares at root and tip."""

    root: NDArray[np.int64]
    tip: NDArray[np.int64]
    share: Float32
    bend: Float32
    reach: Float32
    alpha: Float32

    def points(self, posed: Posed) -> Float32:
        """(n, 4, 3) in space."""
        v, t = posed.before, self.share[:, None]
        root = v[self.root[:, 0]] * (1 - t) + v[self.root[:, 1]] * t
        tip = v[self.tip[:, 0]] * (1 - t) + v[self.tip[:, 1]] * t
        along = (tip - root) * self.reach[:, None]
        out = [root + along * s + self.bend * (s * s) for s in (0.0, 0.35, 0.7, 1.0)]
        return posed.with_head(np.stack(out, 1).astype(np.float32))


@functools.cache
def _lash_rims(head: HeadModel, part: int, eye: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Vertices of one lash strip next to the eye and away from it, from right to left."""
    own = np.unique(head.triangles[head.parts == part])
    ball = head.rest[np.unique(head.triangles[head.parts == eye])].mean(0)
    distance = np.linalg.norm(head.rest[own] - ball, axis=1)
    inner = own[distance < np.quantile(distance, 0.30)]
    outer = own[distance > np.quantile(distance, 0.72)]
    return inner[np.argsort(head.rest[inner, 0])], outer[np.argsort(head.rest[outer, 0])]


def make_lashes(rng: np.random.Generator, look: Look, head: HeadModel) -> Lashes:
    """Upper and lower lashes of both eyes."""
    parts = []
    for part, upper, eye in ((7, True, 1), (9, True, 2), (6, False, 1), (8, False, 2)):
        inner, outer = _lash_rims(head, part, eye)
        n = int((95 if upper else 50) * (0.55 + 0.55 * look.lashes))
        at = np.sort(rng.random(n))
        low, high = at * (len(inner) - 1), np.clip(at + rng.normal(0, 0.02, n), 0, 1) * (len(outer) - 1)
        i, j = low.astype(int), high.astype(int)
        root = np.stack([inner[i], inner[np.minimum(i + 1, len(inner) - 1)]], 1)
        tip = np.stack([outer[j], outer[np.minimum(j + 1, len(outer) - 1)]], 1)
        bend = np.array([0, 0.014 if upper else -0.004, 0.004]) * np.ones((n, 1))
        reach = rng.uniform(0.55, 1.0, n) * (0.5 + 0.45 * look.lashes) * (1.0 if upper else 0.55)
        strength = (0.45 + 0.5 * look.lashes) * (1.0 if upper else 0.42)
        alpha = np.array([0.95, 0.8, 0.55, 0.2]) * strength * np.ones((n, 1))
        parts.append((root, tip, (low % 1), bend, reach, alpha))
    root, tip, share, bend, reach, alpha = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Lashes(
        root, tip, share.astype(np.float32), bend.astype(np.float32), reach.astype(np.float32), alpha.astype(np.float32)
    )
