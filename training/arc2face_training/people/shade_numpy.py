"""Shading in numpy, for machines without a compiler; the same arithmetic as shade.c, which explains it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people.noise import noise as volume_noise
from arc2face_training.people.noise import ramp

if TYPE_CHECKING:
    from arc2face_training.people.raster import Scene

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
KEY, KEYC, RIM, RIMC, FILL, FILLC = (slice(k, k + 3) for k in (0, 3, 6, 9, 136, 139))
CAM, IRIS, IRIS2, CLOTHC, FRAMEC, CLOTH2 = (slice(k, k + 3) for k in (30, 70, 73, 77, 80, 143))
SOFT, SEED, PORES, FRECKLES, WRINKLE, BROWUP, OIL, SPEC, MELANIN = 33, 34, 37, 38, 39, 40, 41, 42, 43
HIDDEN = np.float32(0.98)
PUPIL, LIPGLOSS, REDEYE, IRISR, CLOTHP = 76, 133, 134, 135, 142
LENS = np.array([0.010, 0.009, 0.009], np.float32)
TEETH, TONGUE = np.array([0.66, 0.58, 0.47], np.float32), np.array([0.42, 0.15, 0.14], np.float32)


@dataclass(frozen=True, eq=False)
class Samples:
    """Interpolated attributes (n, 11) and (n, 10) of samples, columns as in raster.Scene."""

    static: Float32
    moving: Float32

    def pick(self, chosen: NDArray[np.generic]) -> Samples:
        """Some of them."""
        return Samples(self.static[chosen], self.moving[chosen])


def shade(scene: Scene, ids: Int32, bary: Float32, hair: Float32, size: int) -> Float32:
    """Linear light (size * size, 3) of the samples that show the mesh; 0 elsewhere, and where `hair` hides it."""
    colour = np.zeros((size * size, 3), np.float32)
    seen = (hair[:, 3].reshape(size // 2, 2, size // 2, 2) < HIDDEN) & (ids >= 0).reshape(size // 2, 2, size // 2, 2)
    seen = np.broadcast_to(seen.any((1, 3), keepdims=True), seen.shape).reshape(-1)
    hit = np.flatnonzero((ids >= 0) & seen)
    corners = scene.faces[ids[hit]]
    weights = np.concatenate([bary[hit], 1 - bary[hit].sum(1, keepdims=True)], 1)[:, :, None]
    samples = Samples((scene.static[corners] * weights).sum(1), (scene.moving[corners] * weights).sum(1))
    material = scene.materials[ids[hit]]
    place = np.full(size * size, -1)
    place[hit] = np.arange(len(hit))
    blocks = place.reshape(size // 2, 2, size // 2, 2).transpose(0, 2, 1, 3).reshape(-1, 4)
    blocks = blocks[(blocks >= 0).all(1)]
    blocks = blocks[(material[blocks] == 0).all(1)]
    blocks = blocks[_uniform(samples, blocks)]
    mean = Samples(samples.static[blocks].mean(1), samples.moving[blocks].mean(1))
    colour[hit[blocks]] = _surface(scene, mean)[:, None]
    single = material == 0
    single[blocks.ravel()] = False
    colour[hit[single]] = _surface(scene, samples.pick(single))
    _others(scene, samples, material, ids, hit, size, colour)
    return colour


def _uniform(samples: Samples, blocks: NDArray[np.int64]) -> NDArray[np.bool_]:
    st, mv = samples.static[blocks], samples.moving[blocks]
    ok = ((st[:, 1:, 10] > 0) == (st[:, :1, 10] > 0)).all(1)
    ok &= (np.abs(st[:, 1:, 7] - st[:, :1, 7]) <= 0.35).all(1) & (np.abs(st[:, 1:, 9] - st[:, :1, 9]) <= 0.3).all(1)
    ok &= ((mv[:, 1:, 3:6] * mv[:, :1, 3:6]).sum(2) >= 0.80).all(1)
    return ok & (((mv[:, 1:, :3] - mv[:, :1, :3]) ** 2).sum(2) <= 0.0064).all(1)


def _surface(scene: Scene, samples: Samples) -> Float32:
    out = np.zeros((len(samples.static), 3), np.float32)
    dressed = samples.static[:, 10] > 0
    out[dressed] = _cloth(scene, samples.pick(dressed))
    out[~dressed] = _skin(scene, samples.pick(~dressed))
    return out


def _others(
    scene: Scene, samples: Samples, material: Int32, ids: Int32, hit: NDArray[np.int64], size: int, colour: Float32
) -> None:
    shown = np.where(ids >= 0, scene.materials[ids], -1)
    picture, reach = shown.reshape(size, size), max(size // 40, 2)
    for m in (1, 2, 3, 4, 6, 7):
        own = np.flatnonzero(material == m)
        if not len(own):
            continue
        part = samples.pick(own)
        y, x = np.divmod(hit[own], size)
        above = _nearness(picture, x, y, m, 0, -1, reach)
        if m <= 2:
            below = _nearness(picture, x, y, m, 0, 1, reach // 2)
            side = np.maximum(_nearness(picture, x, y, m, 1, 0, reach), _nearness(picture, x, y, m, -1, 0, reach))
            colour[hit[own]] = _eye(scene, part, 57 if m == 2 else 44, above**2, np.maximum(side, 0.7 * below))
        elif m == 7:
            colour[hit[own]] = _hard(scene, part, LENS, 2.2, np.ones(len(own), np.float32))
        elif m == 6:
            colour[hit[own]] = _hard(scene, part, scene.params[FRAMEC], 1.0, np.ones(len(own), np.float32))
        else:
            lid = (1 - 0.55 * above) * part.static[:, 6]
            if m == 3:
                angle = np.arctan2(part.static[:, 0], part.static[:, 2] - 0.95)
                lid = lid * (1 - 0.42 * ramp(0.90, 1.0, np.abs(np.cos(angle * 18.5))))
            colour[hit[own]] = _hard(scene, part, TEETH if m == 3 else TONGUE, 0.5, lid)


def _nearness(
    picture: NDArray[np.int64], x: NDArray[np.int64], y: NDArray[np.int64], m: int, dx: int, dy: int, reach: int
) -> Float32:
    size, out, open_ = len(picture), np.zeros(len(x), np.float32), np.ones(len(x), bool)
    for k in range(1, reach + 1):
        u, v = x + dx * k, y + dy * k
        inside = (u >= 0) & (v >= 0) & (u < size) & (v < size)
        other = picture[np.clip(v, 0, size - 1), np.clip(u, 0, size - 1)] != m
        found = open_ & inside & other
        out[found] = 1 - (k - 1) / reach
        open_ &= inside & ~other
    return out


def _unit(v: Float32) -> Float32:
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-9)


def _noise(x: Float32, y: Float32, z: Float32 | float) -> Float32:
    return volume_noise(np.stack(np.broadcast_arrays(x, y, z), -1))


def _ambient(params: Float32, n: Float32) -> Float32:
    cube = params[12:30].reshape(6, 3)
    return sum((n[:, a : a + 1] ** 2 * cube[2 * a + (n[:, a] < 0)] for a in range(3)), np.zeros_like(n))


def _shadow(scene: Scene, position: Float32, n: Float32) -> Float32:
    f, size = scene.frame, scene.shadow.shape[0]
    q = position + n * np.float32(0.02) - f[:3]
    x, y, z = size * 0.5 + (q @ f[3:6]) * f[9], size * 0.5 + (q @ f[6:9]) * f[9], -(q @ scene.params[KEY])
    total = np.zeros(len(q), np.float32)
    step = np.float32(1.4) * scene.params[SOFT]
    for j in range(3):
        for i in range(3):
            u = np.clip(np.floor(x + np.float32(i - 1 + 0.33 * (j - 1)) * step).astype(int), 0, size - 1)
            v = np.clip(np.floor(y + np.float32(j - 1 - 0.33 * (i - 1)) * step).astype(int), 0, size - 1)
            total += np.clip((scene.shadow[v, u] - z) * 25 + 1.5, 0, 1)
    return total / 9


def _lobe(ndh: Float32, power: float) -> Float32:
    return (power + 8) * 0.04 * np.power(ndh, power)


def _skin(scene: Scene, samples: Samples) -> Float32:
    p, st, mv = scene.params, samples.static, samples.moving
    n, soft, view = _unit(mv[:, 3:6]), _unit(mv[:, 6:9]), _unit(p[CAM] - mv[:, :3])
    x, y, z = st[:, :3].T
    o = p[SEED]
    lip = ramp(0.3, 0.75, st[:, 7])
    bare = 1 - lip
    fine, mid = _noise(x * 2.9 + o, y * 2.9, z * 2.9), _noise(x * 0.9, y * 0.9 + o, z * 0.9)
    nb, brow, crow = _bump(p, st, n, lip)
    alb = _albedo(p, st, fine, mid, bare, brow, crow)
    inside = st[:, 9]
    ao, sh = st[:, 6] * (1 - 0.75 * inside), _shadow(scene, mv[:, :3], n) * mv[:, 9] * (1 - 0.8 * inside)
    amb, light = _ambient(p, _unit(0.5 * (nb + soft))), 1 - p[MELANIN]
    wrap = (0.26 + 0.14 * light, 0.10 + 0.08 * light, 0.06 + 0.05 * light)
    blend, shexp, aoexp = (0.75, 0.40, 0.25), (0.72 - 0.12 * light, 1.0, 1.08), (0.82 - 0.1 * light, 1.0, 1.04)
    hard, easy, fillhard, rim = nb @ p[KEY], soft @ p[KEY], nb @ p[FILL], nb @ p[RIM]
    out = np.empty((len(st), 3), np.float32)
    for k in range(3):
        d = np.clip((hard + blend[k] * (easy - hard) + wrap[k]) / (1 + wrap[k]), 0, 1)
        fill = np.clip((fillhard + 0.35) / 1.35, 0, 1) * p[FILLC][k] * ao
        r = np.clip((rim + 0.12) / 1.12, 0, 1) * p[RIMC][k]
        lit = p[KEYC][k] * d * np.power(sh + 1e-4, shexp[k]) + amb[:, k] * np.power(ao + 1e-4, aoexp[k])
        out[:, k] = alb[:, k] * (lit + fill + r * ao)
    half = _unit(p[KEY] + view)
    ndh, ndv = np.clip((nb * half).sum(1), 0, 1), np.clip((nb * view).sum(1), 0, 1)
    fres, edge = 0.028 + 0.972 * (1 - np.clip((view * half).sum(1), 0, 1)) ** 5, (1 - ndv) ** 5
    gloss = st[:, 8] * p[OIL] * (1 + 0.8 * (fine - 0.5)) + lip * p[LIPGLOSS]
    spec = fres * (0.75 * _lobe(ndh, 11) + 0.55 * gloss * _lobe(ndh, 42) + lip * p[LIPGLOSS] * _lobe(ndh, 110))
    spec = spec * np.clip(hard * 1.4 + 0.1, 0, 1) * sh * p[SPEC]
    env = _ambient(p, 2 * (nb * view).sum(1, keepdims=True) * nb - view)
    sheen = (0.022 + 0.22 * edge * np.clip(1.2 * ao - 0.2, 0, 1)) * (0.45 + 0.35 * gloss) * ao * p[SPEC]
    rimspec = edge * 0.35 * np.clip(rim + 0.3, 0, 1) * ao * bare
    more = p[KEYC] * spec[:, None] + env * sheen[:, None] + p[RIMC] * rimspec[:, None]
    return (out + (1 - inside)[:, None] * more).astype(np.float32)


def _bump(p: Float32, st: Float32, n: Float32, lip: Float32) -> tuple[Float32, Float32, Float32]:
    """Normals with pores and lines, and the phases of forehead lines and crow's feet."""
    x, y, z = st[:, :3].T
    o, ax = p[SEED], np.abs(x)
    b0, b1 = _noise(x * 2.3 + 0.31, y * 2.3 + o, z * 2.3) - 0.5, _noise(x * 2.3 + o, y * 2.3 + 0.63, z * 2.3) - 0.5
    lines, warp = _noise(x * 5.5 + o, y * 0.8, z * 0.8) - 0.5, _noise(x * 0.35 + o, y * 0.35, z * 0.35) - 0.5
    amp, bare, front = p[PORES] * (1 - lip), 1 - lip, ramp(0.75, 1.05, z)
    nb = np.stack([n[:, 0] + amp * b0 + lip * lines * 0.45, n[:, 1] + amp * b1, n[:, 2]], 1)
    brow = np.sin(y * 52 + 9 * warp + ax * 2) * ramp(7.53, 7.64, y) * ramp(7.98, 7.86, y) * ramp(0.56, 0.38, ax)
    brow = brow * ramp(0.36, 0.54, _noise(x * 0.8 + o, y * 0.3, z * 0.4))
    u, v = ax - 0.52, y - 7.27
    crow = np.sin(np.arctan2(v, u + 0.16) * 17 + 5 * warp) * ramp(0.50, 0.56, ax) * ramp(0.74, 0.64, ax)
    crow = crow * ramp(0.17, 0.08, np.abs(v))
    bag = np.sin((y - 7.13) * 70 - ax * 6 + 6 * warp) * ramp(0.16, 0.22, ax) * ramp(0.50, 0.42, ax)
    bag = bag * ramp(0.10, 0.04, np.abs(y - 7.10))
    cross = np.sin((ax * 30 - (y - 6.9) * 22) + 8 * warp) * ramp(0.42, 0.55, ax) * ramp(6.3, 6.5, y) * ramp(7.0, 6.8, y)
    nb[:, 1] += front * (brow * (0.27 * p[WRINKLE] + 0.25 * p[BROWUP]) + bag * 0.20 * p[WRINKLE])
    nb[:, 1] += crow * 0.20 * p[WRINKLE] * ramp(0.5, 0.7, z)
    nb[:, 0] += cross * 0.10 * p[WRINKLE] * bare * np.where(x < 0, -1, 1)
    return _unit(nb).astype(np.float32), brow, crow


def _albedo(
    p: Float32, st: Float32, fine: Float32, mid: Float32, bare: Float32, brow: Float32, crow: Float32
) -> Float32:
    x, y, z = st[:, :3].T
    o = p[SEED]
    alb = st[:, 3:6] * (1 + 0.20 * (fine - 0.5) + 0.16 * (mid - 0.5))[:, None]
    creases = ramp(0.75, 1.05, z) * (ramp(0.2, 1, -brow) * (0.7 * p[WRINKLE] + 0.5 * p[BROWUP]))
    creases = creases + 0.4 * p[WRINKLE] * ramp(0.2, 1, -crow)
    alb = alb * (1 - creases[:, None] * np.array([0.16, 0.24, 0.24], np.float32))
    spots = ramp(0.58, 0.74, _noise(x * 2.6 + 0.5, y * 2.6 + o, z * 2.6 + 0.2))
    spots = spots * p[FRECKLES] * bare * ramp(0.6, 1.0, z) * np.exp(-((y - 7.05) ** 2) / 0.16) * ramp(0.35, 0.55, mid)
    alb = alb * (1 - spots[:, None] * np.array([0.24, 0.38, 0.46], np.float32))
    for mole in p[101:133].reshape(8, 4):
        if mole[3] > 0:
            w = ramp(float(mole[3]), float(0.55 * mole[3]), np.linalg.norm(st[:, :3] - mole[:3], axis=1))
            alb = alb * (1 - w[:, None] * np.array([0.58, 0.68, 0.72], np.float32))
    return alb


def _cloth(scene: Scene, samples: Samples) -> Float32:
    p, st, mv = scene.params, samples.static, samples.moving
    x, y, z = st[:, :3].T
    field = st[:, 10]
    weave = _noise(x * 5, y * 5, z * 5) - 0.5
    fold, f2 = (_noise(x * 0.30 + p[SEED], y * 0.16 + d, z * 0.30) - 0.5 for d in (0.0, 0.13))
    hat = y > 6.9
    rib = np.where(hat | ((p[CLOTHP] > 0.5) & (field < 0.12)), 0.25 * np.sin(np.arctan2(x, z + 0.2) * 90), 0)
    n = _unit(mv[:, 3:6])
    n = _unit(np.stack([n[:, 0] + 0.9 * fold + 0.35 * weave + rib, n[:, 1] + 0.7 * f2 + 0.3 * weave, n[:, 2]], 1))
    n = n.astype(np.float32)
    seam = 1 - 0.35 * ramp(0.02, 0, np.abs(field - 0.12)) - 0.25 * ramp(0.03, 0, field)
    stripe = ramp(-0.1, 0.1, np.sin(y * 24)) if p[CLOTHP] > 1.5 else np.zeros(len(x))
    stripe = np.where(hat, 1, stripe)
    sh, ao, amb = _shadow(scene, mv[:, :3], n) * mv[:, 9], 0.35 + 0.65 * st[:, 6], _ambient(p, n)
    d = np.clip((n @ p[KEY] + 0.15) / 1.15, 0, 1) * sh
    r, f = np.clip(n @ p[RIM], 0, 1), np.clip(n @ p[FILL], 0, 1) * ao
    tone = p[CLOTHC] + stripe[:, None] * (p[CLOTH2] - p[CLOTHC])
    light = p[KEYC] * d[:, None] + amb * ao[:, None] + r[:, None] * p[RIMC] + f[:, None] * p[FILLC]
    return (tone * ((1 + 0.3 * weave) * seam)[:, None] * light).astype(np.float32)


def _eye(scene: Scene, samples: Samples, start: int, above: Float32, side: Float32) -> Float32:
    p, mv = scene.params, samples.moving
    e = p[start : start + 13]
    turn, view = e[3:12].reshape(3, 3), _unit(p[CAM] - mv[:, :3])
    d, v = (mv[:, :3] - e[:3]) @ turn / e[12], view @ turn
    ri, front = p[IRISR], d[:, 2] > 0
    rho = np.hypot(d[:, 0], d[:, 1]) / ri
    dome = np.where(front, np.clip(1 - rho * rho, 0, 1), 0)
    iu, iv = d[:, 0] - 0.16 * dome * v[:, 0], d[:, 1] - 0.16 * dome * v[:, 1]
    ir, an = np.hypot(iu, iv) / ri, np.arctan2(iv, iu)
    fib = _noise(0.5 + 0.31 * np.cos(an) + p[SEED], 0.5 + 0.31 * np.sin(an), ir * 0.14) - 0.5
    fib2 = _noise(iu * 2.2 + p[SEED], iv * 2.2, 0.7) - 0.5
    inner, tone = ramp(0.75, 0.30, ir), 1 + 1.5 * fib + 0.6 * fib2 + 0.30 * ramp(0.35, 0.85, ir)
    pupil, on = ramp(p[PUPIL] + 0.05, p[PUPIL] - 0.05, ir)[:, None], np.where(front, ramp(1.06, 0.93, rho), 0)
    vein = _noise(d[:, 0] * 0.9 + p[SEED], d[:, 1] * 2.6, d[:, 2] * 0.5)
    red = (p[REDEYE] * (0.35 * ramp(0.55, 0.75, vein) + 0.8 * ramp(1.35, 2.1, rho)))[:, None]
    white = np.array([0.63, 0.595, 0.565]) * (1 - red * np.array([0.10, 0.36, 0.38]))
    bulge = 1 + 0.42 * ramp(1.05, 0.6, rho)
    nw = _unit(np.stack([d[:, 0] * bulge, d[:, 1] * bulge, d[:, 2]], 1) @ turn.T)
    c = (p[IRIS] + inner[:, None] * (p[IRIS2] - p[IRIS])) * np.clip(tone, 0.2, 1.9)[:, None]
    c = c * (1 - 0.82 * ramp(0.74, 0.99, ir))[:, None]
    c = c * (1 - pupil) + 0.004 * pupil
    col = white * (1 - on[:, None]) + c * on[:, None]
    ball = _unit(d @ turn.T)
    sh, lid, amb = _shadow(scene, mv[:, :3], nw), (1 - 0.62 * above) * (1 - 0.30 * side), _ambient(p, ball)
    diff, f = np.clip((ball @ p[KEY] + 0.35) / 1.35, 0, 1), np.clip((ball @ p[FILL] + 0.3) / 1.3, 0, 1)
    caustic = on * (1 - pupil[:, 0]) * np.clip(-(iu * p[0] + iv * p[1]) * 2.2 / ri, 0, 1) * 0.55
    ndv = (nw * view).sum(1)
    refl, edge = _unit(2 * ndv[:, None] * nw - view), (1 - np.clip(ndv, 0, 1)) ** 4
    env, key = _ambient(p, refl), diff * (0.35 + 0.65 * sh) * (1 + caustic)
    out = col * lid[:, None] * (p[KEYC] * key[:, None] + amb * 0.85 + f[:, None] * p[FILLC])
    out = out + env * ((0.030 + 0.10 * edge) * (1 - 0.7 * above))[:, None]
    for c_ in range(3):
        strength, size, blue = p[92 + 3 * c_ : 95 + 3 * c_]
        near = refl @ p[83 + 3 * c_ : 86 + 3 * c_]
        glint = strength * ramp(size - 0.028, size + 0.006, near) * (1 - 0.8 * above)
        out = out + glint[:, None] * np.array([1, 1, blue])
    return out.astype(np.float32)


def _hard(scene: Scene, samples: Samples, colour: Float32, gloss: float, lid: Float32) -> Float32:
    p, mv = scene.params, samples.moving
    view, n = _unit(p[CAM] - mv[:, :3]), _unit(mv[:, 3:6])
    n = np.where(((n * view).sum(1) < 0)[:, None], -n, n)
    half, ndv = _unit(p[KEY] + view), (n * view).sum(1)
    amb, env = _ambient(p, n), _ambient(p, 2 * ndv[:, None] * n - view)
    sh, d = _shadow(scene, mv[:, :3], n), np.clip((n @ p[KEY] + 0.2) / 1.2, 0, 1)
    edge = (1 - np.clip(ndv, 0, 1)) ** 5
    spec = gloss * _lobe(np.clip((n * half).sum(1), 0, 1), 60) * 0.35 * sh
    body = colour * (p[KEYC] * (d * (0.3 + 0.7 * sh))[:, None] + amb + 0.5 * p[FILLC])
    more = spec[:, None] * p[KEYC] + env * (gloss * (0.05 + 0.5 * edge))[:, None]
    return (lid[:, None] * (body + more)).astype(np.float32)
