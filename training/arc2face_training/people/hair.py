"""Hair styles: where hair grows on the head, and how it falls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people.groom import Groom, Skull, clump, curl, frizz, grow
from arc2face_training.people.looks import Look
from arc2face_training.people.noise import noise, ramp
from arc2face_training.people.strands import Roots, Strands, sample_roots, tones, unit

Float32 = NDArray[np.float32]
LINE_ANGLES = (0, 18, 34, 46, 56, 66, 76, 86, 100, 112, 130, 150, 180)
LINE_HEIGHTS = (8.04, 8.04, 8.02, 7.92, 7.68, 7.46, 7.24, 7.18, 7.26, 7.02, 6.72, 6.58, 6.52)
"""The hairline: height on the reference head by azimuth in degrees from the front."""
LONG = ("bob", "long", "wavy", "curly_long", "ponytail")
TIED = ("bun", "ponytail")
COUNT = {"buzz": 9000, "crop": 9500, "short": 8500, "side": 8000, "quiff": 8000, "curly": 6500, "afro": 8000,
         "bob": 7500, "long": 7500, "wavy": 7500,
         "bun": 7500, "ponytail": 7500, "curly_long": 8000, "fringe": 5500}  # fmt: skip


def scalp_field(rest: Float32, look: Look, ears: Float32) -> Float32:
    """(W,): decimetres above the hairline on the reference head; negative where no hair grows."""
    x, y, z = rest.T
    azimuth = np.degrees(np.arctan2(np.abs(x), z - 0.10))
    line = np.interp(azimuth, LINE_ANGLES, LINE_HEIGHTS)
    front = ramp(75, 45, azimuth)
    o = (look.noise_seed % 83) * 0.41
    jag = 0.09 * (noise(rest * 0.35 + o) - 0.5) + 0.05 * (noise(rest * 1.3 + o) - 0.5)
    line = line + front * (look.hairline - 0.07 * (look.style in TIED))
    recess = look.recession
    line = line + recess * (0.16 * ramp(12, 38, azimuth) * ramp(75, 52, azimuth) + 0.06 * front)
    field = y - line + jag
    if recess > 0.75:  # thin on top
        crown = np.hypot(x / 0.42, (z + 0.05) / 0.5)
        field = np.where(y > 8.0, field - (recess - 0.75) * 1.2 * ramp(1.2, 0.4, crown), field)
    if look.style == "fringe":
        field = np.minimum(field, 7.72 + 0.08 * np.sin(azimuth / 30) - y + jag)
        field = np.where(azimuth < 62, -0.2, field)
    if look.style == "bald":
        field = field * 0 - 0.3
    return np.where((ears > 0.2) & (np.abs(x) > 0.68), -0.3, field).astype(np.float32)


def density(field: Float32) -> Float32:
    """(W,) share of the full number of hairs."""
    return ramp(-0.03, 0.10, field).astype(np.float32)


def grow_hair(
    rng: np.random.Generator,
    look: Look,
    rest: Float32,
    vertices: Float32,
    normals: Float32,
    triangles: NDArray[np.int32],
    field: Float32,
    skull: Skull,
) -> Strands | None:
    """All hair of the head, or None. `rest`: the reference head; `vertices`, `normals`: the person's."""
    if look.style == "bald" or not (field > 0).any():
        return None
    more = 1 + 0.9 * ramp(0.22, 0.05, field)  # a believable hairline needs more hairs than the crown
    count = COUNT[look.style]
    if look.bangs > 0 and look.style in LONG:
        more = more * (1 + 1.6 * ramp(0.35, 0.6, rest[:, 2]))
        count += 1500
    roots = sample_roots(rng, vertices, normals, triangles, density(field) * more, count)
    at, edge = roots.at(rest), roots.at(field)
    points = _STYLES[look.style](rng, look, roots, at, edge, skull)
    front = np.zeros(len(points), bool)
    if look.bangs > 0 and look.style in LONG:
        front = _add_bangs(rng, look, roots, at, points, skull)
    points[:, 1:] = _clear(points[:, 1:], skull)
    n, k = points.shape[:2]
    colour = tones(rng, look.hair, look.grey, n)
    colour *= np.exp(1.1 * (noise(points[:, min(k - 1, 4)] * 0.30 + look.noise_seed % 61) - 0.5))[:, None]
    tips = np.linspace(1, 0.55, k)[None] ** (1.0 if look.style in LONG else 0.6)
    thin = np.clip(0.5 + 5 * np.clip(edge, 0, 0.11), 0, 1)[:, None]
    alpha = (np.where(np.arange(k) == k - 1, 0.25, 0.95) * tips * thin).astype(np.float32)
    if look.style == "buzz":
        alpha *= 0.62
    shine = 0.35 if look.style in ("afro", "buzz", "curly", "curly_long") else 1.0
    alpha[front] = np.linspace(1, 0.65, k)
    alpha *= np.where(front[:, None], 1, _visible(points, look.style in LONG))
    return Strands(
        points, colour, alpha, unit(points.mean(1) - np.array([0, 7.3, 0.1])).astype(np.float32), None, shine
    )


def _add_bangs(
    rng: np.random.Generator, look: Look, roots: Roots, at: Float32, points: Float32, skull: Skull
) -> NDArray[np.bool_]:
    """Comb the front hair over the forehead, in place; which strands these are."""
    azimuth = np.degrees(np.arctan2(np.abs(at[:, 0]), at[:, 2] - 0.1))
    chosen = (azimuth < 50 + 8 * look.bangs) & (at[:, 1] < 8.34) & (at[:, 2] > 0.45)
    own = np.flatnonzero(chosen)
    if len(own) < 60:
        return np.zeros(len(points), bool)
    side = np.sign(look.parting) * (0.75 if look.bangs < 0.4 else 0.12)
    sweep = np.stack([side + 0.35 * at[own, 0], np.full(len(own), -0.15), np.full(len(own), 0.8)], 1)
    normal = roots.normals[own]
    sweep = sweep - normal * (sweep * normal).sum(1, keepdims=True)
    direction = unit(sweep) + 0.22 * look.volume * normal + _spread(rng, len(own), 0.08)
    length = (at[own, 1] - 7.56) * 1.12 + 0.06 + rng.normal(0, 0.03, len(own))
    margin = (0.02 + 0.05 * rng.uniform(0, 1, len(own))).astype(np.float32)
    groom = Groom(direction.astype(np.float32), np.clip(length, 0.1, 2).astype(np.float32), points.shape[1], 0.4,
                  margin=margin, face=False)  # fmt: skip
    points[own] = clump(rng, grow(roots.pick(own), groom, skull), 0.6, 24)
    return chosen


def _clear(points: Float32, skull: Skull) -> Float32:
    """Points (n, k, 3) moved out of the head after curls have moved them."""
    flat = skull.push_out(points.reshape(-1, 3), np.full(points.shape[0] * points.shape[1], 0.004, np.float32))
    return flat.reshape(points.shape)


def _visible(points: Float32, hanging: bool) -> Float32:
    """(n, k): 0 from where a strand makes a leap, and from where hanging hair would cross the face or the throat."""
    step = np.linalg.norm(np.diff(points, axis=1, prepend=points[:, :1]), axis=2)
    bad = step > 2.5 * np.median(step, axis=1, keepdims=True) + 0.02
    if hanging:
        x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
        bad |= (x < 0.60) & (y < 7.62) & (z > 0.75)
        bad |= (x < 0.55) & (y < 7.90) & (z > 0.98) & (np.arange(points.shape[1]) > 2)
        bad |= (x < 0.50) & (y < 6.5) & (z > 0.35)
    return 1 - np.maximum.accumulate(bad, axis=1).astype(np.float32)


def _spread(rng: np.random.Generator, n: int, amount: float) -> Float32:
    return rng.normal(0, amount, (n, 3)).astype(np.float32)


def _parted(look: Look, at: Float32) -> Float32:
    """Directions from the parting to the sides and back."""
    wander = 0.05 * np.sin(at[:, 2] * 40) + 0.05 * np.sin(at[:, 2] * 97 + 1)
    side = np.sign(at[:, 0] - look.parting * 0.6 + 0.6 * wander)
    back = ramp(0.5, -0.3, at[:, 2])
    return np.stack([side * (1 - 0.5 * back), 0.05 - 0.35 * back, -0.55 - 0.5 * back], 1).astype(np.float32)


def _regions(at: Float32) -> tuple[Float32, Float32]:
    """Shares of the top of the head and of its front."""
    return ramp(7.75, 8.15, at[:, 1]), ramp(0.3, 0.85, at[:, 2])


def _buzz(rng: np.random.Generator, look: Look, roots: Roots, at: Float32, edge: Float32, skull: Skull) -> Float32:
    top, _ = _regions(at)
    length = (0.035 + 0.05 * look.length) * (0.7 + 0.5 * top)
    direction = roots.normals + np.array([0, -0.25, 0.35]) + _spread(rng, len(roots), 0.25)
    return grow(roots, Groom(direction, length, 3, 0.1, margin=0.01, face=False), skull)


def _crop(rng: np.random.Generator, look: Look, roots: Roots, at: Float32, edge: Float32, skull: Skull) -> Float32:
    top, _ = _regions(at)
    length = (
        (0.09 + (0.14 + 0.14 * look.length) * top)
        * rng.uniform(0.75, 1.15, len(roots))
        * (0.45 + 0.55 * np.clip(edge / 0.25, 0, 1))
    )
    comb = np.array([0.25 * np.sign(look.parting), -0.15, 0.55]) * top[:, None] + np.array([0, -0.7, -0.1]) * (
        1 - top[:, None]
    )
    direction = 0.75 * roots.normals + comb + _spread(rng, len(roots), 0.28)
    p = grow(roots, Groom(direction, length, 5, 0.22, margin=0.025, face=False), skull)
    return clump(rng, p, 0.55, 16)


def _short(rng: np.random.Generator, look: Look, roots: Roots, at: Float32, edge: Float32, skull: Skull) -> Float32:
    top, front = _regions(at)
    near = 0.4 + 0.6 * np.clip(edge / 0.3, 0, 1)
    length = (0.14 + (0.32 + 0.25 * look.length) * top) * rng.uniform(0.7, 1.15, len(roots)) * near
    sweep = np.sign(look.parting)
    comb = np.stack([sweep * (0.25 + 0.15 * front) * top, -0.75 * (1 - top), 0.45 * front * top - 0.35 * (1 - top)], 1)
    direction = 0.34 * look.volume * roots.normals + comb + _spread(rng, len(roots), 0.13)
    p = grow(roots, Groom(direction, length, 7, 0.30, margin=0.05 * look.volume, face=False), skull)
    p = clump(rng, p, 0.75, 22)
    return curl(rng, p, 0.02 * look.wave, 1.2, 20)


def _side(rng: np.random.Generator, look: Look, roots: Roots, at: Float32, edge: Float32, skull: Skull) -> Float32:
    top, front = _regions(at)
    near = 0.5 + 0.5 * np.clip(edge / 0.3, 0, 1)
    length = (0.16 + (0.50 + 0.3 * look.length) * top) * rng.uniform(0.8, 1.12, len(roots)) * near
    parted = _parted(look, at) * np.array([0.8, 1, 0.5]) + np.array([0, 0.1, 0.35]) * front[:, None]
    comb = parted * top[:, None] + np.array([0, -0.8, -0.35]) * (1 - top[:, None])
    comb = comb - roots.normals * (comb * roots.normals).sum(1, keepdims=True)
    direction = 0.32 * look.volume * roots.normals + comb + _spread(rng, len(roots), 0.10)
    margin = (0.03 + 0.08 * look.volume * rng.uniform(0, 1, len(roots))).astype(np.float32)
    p = grow(roots, Groom(direction, length, 9, 0.55, margin=margin, face=False), skull)
    p = clump(rng, p, 0.65, 26)
    return curl(rng, p, 0.03 * look.wave, 0.8, 26)


def _quiff(rng: np.random.Generator, look: Look, roots: Roots, at: Float32, edge: Float32, skull: Skull) -> Float32:
    top, front = _regions(at)
    near = 0.6 + 0.4 * np.clip(edge / 0.2, 0, 1)
    length = (0.10 + (0.42 + 0.25 * look.length) * top * (0.6 + 0.5 * front)) * rng.uniform(0.8, 1.1, len(roots)) * near
    back = np.stack([0.25 * np.sign(look.parting) * np.ones(len(at)), 0.75 * front, -0.75 + 0.35 * front], 1)
    comb = back * top[:, None] + np.array([0, -0.7, -0.45]) * (1 - top[:, None])
    direction = 0.7 * look.volume * roots.normals + comb + _spread(rng, len(roots), 0.13)
    pull = np.array([0.05, -0.10, -0.40]) * top[:, None]
    p = grow(roots, Groom(direction, length, 8, 0.10, margin=0.06, comb=pull.astype(np.float32), face=False), skull)
    return clump(rng, p, 0.7, 26)


def _curly(rng: np.random.Generator, look: Look, roots: Roots, at: Float32, edge: Float32, skull: Skull) -> Float32:
    top, _ = _regions(at)
    near = 0.5 + 0.5 * np.clip(edge / 0.2, 0, 1)
    length = (0.20 + (0.28 + 0.25 * look.length) * top) * rng.uniform(0.7, 1.15, len(roots)) * near
    direction = 0.9 * roots.normals + np.array([0, -0.2, 0.15]) + _spread(rng, len(roots), 0.35)
    p = grow(roots, Groom(direction, length, 12, 0.16, margin=0.06, face=False), skull)
    return curl(rng, clump(rng, p, 0.8, 30), 0.045 + 0.02 * look.wave, 1.8, 30)


def _afro(rng: np.random.Generator, look: Look, roots: Roots, at: Float32, edge: Float32, skull: Skull) -> Float32:
    near = 0.35 + 0.65 * np.clip(edge / 0.3, 0, 1)
    length = (0.22 + 0.55 * look.length**1.4) * rng.uniform(0.75, 1.05, len(roots)) * near
    outward = unit(at - np.array([0, 7.45, 0.1]))
    direction = 0.8 * roots.normals + 0.5 * outward + _spread(rng, len(roots), 0.22)
    p = grow(roots, Groom(direction, length, 10, 0.03, margin=0.02, face=False), skull)
    return frizz(rng, curl(rng, p, 0.035, 2.6, 10), 0.05)


def _long_path(
    rng: np.random.Generator,
    look: Look,
    roots: Roots,
    at: Float32,
    length: Float32,
    skull: Skull,
    points: int,
    lift: float,
) -> Float32:
    """Strands that run from the parting over the head and hang down, before or behind the ears."""
    layer = rng.uniform(0.02, 1, len(roots)) ** 1.3
    margin = (0.02 + (0.09 + 0.05 * look.volume) * layer) * lift
    tucked = 1.0 if look.length * 7 % 1 < 0.45 else 0.35
    _, front = _regions(at)
    parted = _parted(look, at) * np.array([1, 1, 1]) + _spread(rng, len(roots), 0.06)
    parted[:, 2] *= 1 - (1 - tucked) * front
    along = parted - roots.normals * (parted * roots.normals).sum(1, keepdims=True)
    direction = unit(along) + 0.30 * look.volume * roots.normals
    groom = Groom(direction.astype(np.float32), length, points, 0.85, 0.8, margin.astype(np.float32))
    return grow(roots, groom, skull)


def _long(rng: np.random.Generator, look: Look, roots: Roots, at: Float32, edge: Float32, skull: Skull) -> Float32:
    length = (2.7 + 1.4 * look.length) * rng.uniform(0.85, 1.05, len(roots)) + 0.9 * (at[:, 1] - 7.8)
    p = _long_path(rng, look, roots, at, length, skull, 16, 1.0)
    return curl(rng, clump(rng, p, 0.6, 40), 0.012 + 0.02 * look.wave, 1.2, 40)


def _wavy(rng: np.random.Generator, look: Look, roots: Roots, at: Float32, edge: Float32, skull: Skull) -> Float32:
    length = (2.2 + 1.4 * look.length) * rng.uniform(0.85, 1.05, len(roots)) + 0.9 * (at[:, 1] - 7.8)
    p = _long_path(rng, look, roots, at, length, skull, 18, 1.15)
    return curl(rng, clump(rng, p, 0.7, 44), 0.05 + 0.035 * look.wave, 1.9, 44)


def _curly_long(
    rng: np.random.Generator, look: Look, roots: Roots, at: Float32, edge: Float32, skull: Skull
) -> Float32:
    length = (1.3 + 0.9 * look.length) * rng.uniform(0.8, 1.1, len(roots)) + 0.6 * (at[:, 1] - 7.8)
    p = _long_path(rng, look, roots, at, length, skull, 22, 1.5)
    return frizz(rng, curl(rng, clump(rng, p, 0.35, 30), 0.065, 3.4, 14), 0.05)


def _bob(rng: np.random.Generator, look: Look, roots: Roots, at: Float32, edge: Float32, skull: Skull) -> Float32:
    end = 6.25 + 0.35 * look.length
    length = (
        np.clip(at[:, 1] - end, 0.15, 3) * 1.05 + 0.35 * ramp(7.6, 8.3, at[:, 1]) + rng.uniform(-0.05, 0.05, len(roots))
    )
    p = _long_path(rng, look, roots, at, length, skull, 13, 1.1)
    return curl(rng, clump(rng, p, 0.55, 36), 0.01 + 0.03 * look.wave, 1.0, 36)


def _tied(rng: np.random.Generator, look: Look, roots: Roots, at: Float32, skull: Skull, knot: Float32) -> Float32:
    """Strands that lie close to the head on their way to the knot."""
    k, n = 12, len(roots)
    target = knot + rng.normal(0, 0.05, (n, 3))
    s = np.linspace(0, 1, k)[None, :, None]
    p = roots.points[:, None] * (1 - s) + target[:, None] * s
    margin = (0.03 + 0.11 * look.volume * rng.uniform(0, 1, n)).astype(np.float32)
    for i in range(1, k):
        p[:, i] = skull.push_out(p[:, i].astype(np.float32), margin * min(1.0, i / 3))
    p[:, 0] = roots.points - 0.01 * roots.normals
    return clump(rng, frizz(rng, p.astype(np.float32), 0.012), 0.25, 26)


def _bun(rng: np.random.Generator, look: Look, roots: Roots, at: Float32, edge: Float32, skull: Skull) -> Float32:
    high = look.length > 0.5
    knot = np.array([0, 8.35, -0.55]) if high else np.array([0, 7.35, -1.15])
    p = _tied(rng, look, roots, at, skull, knot)
    n, k = 1500, p.shape[1]
    start = rng.uniform(0, 6.283, n)[:, None] + np.linspace(0, 3.5, k)[None]
    axis = unit(rng.normal(0, 1, (n, 3)) * np.array([0.3, 0.3, 0.3]) + np.array([0, 0.6, -1.0]))
    side = unit(np.cross(axis, np.array([1.0, 0.1, 0])))
    up = np.cross(axis, side)
    radius = (0.20 + 0.10 * look.volume) * rng.uniform(0.75, 1.0, (n, 1, 1))
    ball = np.cos(start)[..., None] * side[:, None] + np.sin(start)[..., None] * up[:, None]
    ring = knot + np.array([0, 0.10, -0.05]) + radius * ball + rng.normal(0, 0.07, (n, 1, 1)) * axis[:, None]
    return np.concatenate([p[: len(p) - n], ring.astype(np.float32)])


def _ponytail(rng: np.random.Generator, look: Look, roots: Roots, at: Float32, edge: Float32, skull: Skull) -> Float32:
    knot = np.array([0, 7.75 + 0.35 * look.length, -0.98])
    p = _tied(rng, look, roots, at, skull, knot)
    n, k = 1800, p.shape[1]
    s = np.linspace(0, 1, k)[None, :, None]
    out = rng.normal(0, 0.10, (n, 1, 3))
    drop = np.array([0, -1.9, -0.1]) * s**1.3 + np.array([0, 0.12, -0.42]) * np.sin(np.minimum(s * 2.2, 1.57))
    side = rng.choice((-1, 1)) * 0.25 * s
    tail = knot + drop + out * (0.35 + 1.1 * s) + side * np.array([1.0, 0, 0])
    return np.concatenate([p[: len(p) - n], curl(rng, tail.astype(np.float32), 0.03 * look.wave, 1.4, 60)])


_STYLES = {"buzz": _buzz, "fringe": _buzz, "crop": _crop, "short": _short, "side": _side, "quiff": _quiff,
           "curly": _curly, "afro": _afro, "bob": _bob, "long": _long, "wavy": _wavy,
           "bun": _bun, "ponytail": _ponytail,
           "curly_long": _curly_long}  # fmt: skip
