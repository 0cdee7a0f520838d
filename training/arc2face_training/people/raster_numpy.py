"""Visibility and development in numpy, for machines without a compiler; the same arithmetic as raster.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from arc2face_training.people.raster import Layers

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
BUCKETS = 4096
FULL = np.float32(0.985)


def vertex_normals(vertices: Float32, faces: Int32) -> Float32:
    """Area-weighted normals (V, 3) float32 of length 1."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    own = np.cross(b - a, c - a)
    out = np.zeros((len(vertices), 3))
    for k in range(3):
        for axis in range(3):
            out[:, axis] += np.bincount(faces[:, k], own[:, axis], len(vertices))
    length = np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-8)
    return (out / length).astype(np.float32)


def zbuffer(screen: Float32, faces: Int32, size: int) -> tuple[Int32, Float32, Float32]:
    """Nearest face per sample, -1 for none, first two barycentric weights, depth (1e30 for none).

    All samples of all triangles' boxes are tested, sorted by the boxes' size so that memory stays small.
    """
    a, b, c = (screen[faces[:, k]] for k in range(3))
    den = (b[:, 1] - c[:, 1]) * (a[:, 0] - c[:, 0]) + (c[:, 0] - b[:, 0]) * (a[:, 1] - c[:, 1])
    low = np.ceil(np.minimum(np.minimum(a, b), c)[:, :2] - 0.5)
    high = np.floor(np.maximum(np.maximum(a, b), c)[:, :2] - 0.5)
    low, high = np.clip(low, 0, size).astype(int), np.clip(high, -1, size - 1).astype(int)
    span = high - low + 1
    usable = np.flatnonzero((np.abs(den) >= 1e-9) & (span > 0).all(1))
    ids, depth = np.full(size * size, -1, np.int32), np.full(size * size, 1e30, np.float32)
    bary = np.zeros((size * size, 2), np.float32)
    area = span[usable].prod(1)
    for part in _chunks(usable, area):
        _draw(part, a, b, c, den, low, span, size, ids, bary, depth)
    return ids, bary, depth


def _chunks(usable: NDArray[np.int64], area: NDArray[np.int64], limit: int = 1_500_000) -> list[NDArray[np.int64]]:
    order = np.argsort(area, kind="stable")
    total = np.cumsum(area[order])
    cuts = np.searchsorted(total, np.arange(limit, total[-1] if len(total) else 0, limit))
    return [usable[part] for part in np.split(order, np.unique(cuts))]


def _draw(
    part: NDArray[np.int64],
    a: Float32,
    b: Float32,
    c: Float32,
    den: Float32,
    low: NDArray[np.int64],
    span: NDArray[np.int64],
    size: int,
    ids: Int32,
    bary: Float32,
    depth: Float32,
) -> None:
    count = span[part].prod(1)
    face = np.repeat(part, count)
    number = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    x, y = low[face, 0] + number % span[face, 0], low[face, 1] + number // span[face, 0]
    px, py = (x + 0.5 - c[face, 0]).astype(np.float32), (y + 0.5 - c[face, 1]).astype(np.float32)
    inverse = np.float32(1) / den[face]
    w0 = ((b[face, 1] - c[face, 1]) * px + (c[face, 0] - b[face, 0]) * py) * inverse
    w1 = ((c[face, 1] - a[face, 1]) * px + (a[face, 0] - c[face, 0]) * py) * inverse
    w2 = 1 - w0 - w1
    z = w0 * a[face, 2] + w1 * b[face, 2] + w2 * c[face, 2]
    sample = y * size + x
    inside = np.flatnonzero((w0 >= 0) & (w1 >= 0) & (w2 >= 0))
    order = inside[np.lexsort((face[inside], z[inside], sample[inside]))]
    first = np.ones(len(order), bool)
    first[1:] = sample[order[1:]] != sample[order[:-1]]
    best = order[first]
    at = sample[best]
    nearer = (z[best] < depth[at]) | ((z[best] == depth[at]) & (face[best] < ids[at]))
    best, at = best[nearer], at[nearer]
    depth[at], ids[at] = z[best], face[best]
    bary[at, 0], bary[at, 1] = w0[best], w1[best]


def strands(
    screen: Float32,
    rgb: Float32,
    alpha: Float32,
    size: int,
    bias: float,
    span: tuple[float, float],
    depth: Float32,
    hair: Float32,
) -> None:
    """Blend strands from near to far: all fragments at once, then layer by layer."""
    a, b = screen[:, :-1].reshape(-1, 3), screen[:, 1:].reshape(-1, 3)
    scale = np.float32(BUCKETS / (span[1] - span[0] + 1e-6))
    middle = np.float32(0.5) * (a[:, 2] + b[:, 2])
    bucket = np.clip(((middle - np.float32(span[0])) * scale).astype(int), 0, BUCKETS - 1)
    order = np.argsort(bucket, kind="stable")
    a, b = a[order], b[order]
    ca, cb = (values.reshape(-1, 3)[order] for values in (rgb[:, :-1], rgb[:, 1:]))
    oa, ob = (values.reshape(-1)[order] for values in (alpha[:, :-1], alpha[:, 1:]))
    d = b - a
    reach = np.abs(d[:, :2]).max(1)
    steps = np.maximum(np.ceil(reach).astype(int), 1)
    steps[~(reach <= size)] = 0
    outside = [(a[:, k] < -1) & (b[:, k] < -1) | (a[:, k] > size) & (b[:, k] > size) for k in (0, 1)]
    steps[outside[0] | outside[1] | (_hidden(a, size, bias, depth) & _hidden(b, size, bias, depth))] = 0
    share = np.where(reach < 1, np.maximum(reach, 0.25), 1).astype(np.float32)
    line = np.repeat(np.arange(len(a)), steps)
    number = np.arange(len(line)) - np.repeat(np.cumsum(steps) - steps, steps)
    inverse = (np.float32(1) / np.maximum(steps, 1)).astype(np.float32)
    t = ((number + np.float32(0.5)) * inverse[line]).astype(np.float32)
    x, y = a[line, 0] + t * d[line, 0] - np.float32(0.5), a[line, 1] + t * d[line, 1] - np.float32(0.5)
    z = a[line, 2] + t * d[line, 2] - np.float32(bias)
    opacity = (oa[line] + t * (ob[line] - oa[line])) * share[line]
    steep = np.abs(d[line, 1]) > np.abs(d[line, 0])
    x0, y0 = np.floor(np.where(steep, x, x + 0.5)).astype(int), np.floor(np.where(steep, y + 0.5, y)).astype(int)
    f = np.where(steep, x - x0, y - y0).astype(np.float32)
    sx, sy = np.stack([x0, x0 + steep], 1).ravel(), np.stack([y0, y0 + ~steep], 1).ravel()
    amount = np.stack([opacity * (1 - f), opacity * f], 1).ravel()
    line, t, z = np.repeat(line, 2), np.repeat(t, 2), np.repeat(z, 2)
    inside = np.flatnonzero((sx >= 0) & (sy >= 0) & (sx < size) & (sy < size) & (amount > 0))
    sample = sy[inside] * size + sx[inside]
    inside = inside[z[inside] < depth[sample]]
    line, t = line[inside], t[inside, None]
    _blend(sy[inside] * size + sx[inside], amount[inside], ca[line] + t * (cb[line] - ca[line]), hair)


def _hidden(points: Float32, size: int, bias: float, depth: Float32) -> NDArray[np.bool_]:
    x, y = (np.clip(np.floor(points[:, k]).astype(int), 0, size - 1) for k in (0, 1))
    return points[:, 2] - np.float32(bias) > depth[y * size + x] + np.float32(0.08)


def _blend(sample: NDArray[np.int64], amount: Float32, light: Float32, hair: Float32) -> None:
    """Blend fragments that come in drawing order: first fragments of all samples, then second ones, ..."""
    if not len(sample):
        return
    order = np.argsort(sample, kind="stable")
    own = sample[order]
    new = np.ones(len(own), bool)
    new[1:] = own[1:] != own[:-1]
    start = np.maximum.accumulate(np.where(new, np.arange(len(own)), 0))
    rank = np.arange(len(own)) - start
    by_rank = np.argsort(rank, kind="stable")
    bounds = np.cumsum(np.bincount(rank))
    for low, high in zip(np.r_[0, bounds[:-1]], bounds, strict=True):
        now = order[by_rank[low:high]]
        now = now[hair[sample[now], 3] <= FULL]
        at = sample[now]
        w = ((1 - hair[at, 3]) * amount[now])[:, None]
        hair[at, :3] += w * light[now]
        hair[at, 3:] += w


def develop(layers: Layers, size: int, gain: Float32) -> tuple[Float32, Float32]:
    """Hair over mesh, film curve, mean of four samples in linear display light, sRGB, background behind."""
    half, hit, veil = size // 2, layers.ids >= 0, layers.hair[:, 3]
    own = np.where(hit, 1, veil)
    own = np.where(own > 0.004, own, 0)[:, None].astype(np.float32)
    light = layers.hair[:, :3] + (hit * (1 - veil))[:, None] * layers.colour
    x = np.minimum(np.maximum(light * gain / np.maximum(own, 1e-6), 0), 1e6)
    x = x * (2.51 * x + 0.10) / (x * (2.30 * x + 0.72) + 0.20)
    shown = (own * np.minimum(x, 1)).reshape(half, 2, half, 2, 3).sum((1, 3)).reshape(-1, 3)
    total = own.reshape(half, 2, half, 2).sum((1, 3)).reshape(-1, 1)
    x = np.where(total > 0, shown / np.maximum(total, 1e-6), 0)
    x = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-6) ** (1 / 2.4) - 0.055)
    cover = 0.25 * total
    out = cover * x + (1 - cover) * _background(layers, half)
    return out.astype(np.float32), cover[:, 0].astype(np.float32)


def _background(layers: Layers, size: int) -> Float32:
    v, u = np.mgrid[0:size, 0:size].astype(np.float32).reshape(2, -1)
    u, v = (u + 0.5) / size - 0.5, (v + 0.5) / size - 0.5
    c, s, share = layers.shown
    side = len(layers.background)
    x = np.clip((0.5 + share * (c * u - s * v)) * side - 0.5, 0, side - 1.001)
    y = np.clip((0.5 + share * (s * u + c * v)) * side - 0.5, 0, side - 1.001)
    xi, yi = x.astype(int), y.astype(int)
    fx, fy, b = (x - xi)[:, None], (y - yi)[:, None], layers.background
    top, low = (b[row, xi] * (1 - fx) + b[row, xi + 1] * fx for row in (yi, yi + 1))
    return top * (1 - fy) + low * fy
