"""The rasteriser without a compiler: the arithmetic of raster.c in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from arc2face_training.avatars.columns import TEXTURE_LIMIT

if TYPE_CHECKING:
    from arc2face_training.avatars.raster import Scene

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
_GLOSS = np.array([0.10, 0, 0.16, 0.20, 0.10, 0.03, 0.35], np.float32)
_SHARP = np.array([18, 1, 14, 20, 18, 6, 30], np.float32)
_WARM = np.array([0.05, -0.01, -0.02], np.float32)
_MOUTH = np.array([0.22, 0.05, 0.06], np.float32)


def _ramp(low: float, high: float, x: Float32) -> Float32:
    t = np.clip((x - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def vertex_normals(vertices: Float32, faces: Int32) -> Float32:
    """Area-weighted normals (V, 3), divided by max(length, 1e-6)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    face = np.repeat(np.cross(b - a, c - a), 3, axis=0)
    index = faces.ravel()
    sums = [np.bincount(index, face[:, k], minlength=len(vertices)) for k in range(3)]
    normals = np.stack(sums, 1)
    return (normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)).astype(np.float32)


def zbuffer(screen: Float32, faces: Int32, size: int) -> tuple[Int32, Float32]:
    """Nearest face per pixel and its first two barycentric weights."""
    a, b, c = (screen[faces[:, k]] for k in range(3))
    corners = np.stack([a, b, c])[:, :, :2]
    low = np.clip(np.ceil(corners.min(0) - 0.5).astype(np.int64), 0, None)
    high = np.clip(np.floor(corners.max(0) - 0.5).astype(np.int64), None, size - 1)
    den = (b[:, 1] - c[:, 1]) * (a[:, 0] - c[:, 0]) + (c[:, 0] - b[:, 0]) * (a[:, 1] - c[:, 1])
    extent = np.clip(high - low + 1, 0, None) * (np.abs(den) >= 1e-9)[:, None]
    count = extent.prod(1)
    face = np.repeat(np.arange(len(faces)), count)
    local = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    x, y = low[face, 0] + local % extent[face, 0], low[face, 1] + local // extent[face, 0]
    px, py = x + 0.5 - c[face, 0], y + 0.5 - c[face, 1]
    w0 = ((b[:, 1] - c[:, 1]) / den)[face] * px + ((c[:, 0] - b[:, 0]) / den)[face] * py
    w1 = ((c[:, 1] - a[:, 1]) / den)[face] * px + ((a[:, 0] - c[:, 0]) / den)[face] * py
    inside = (w0 >= 0) & (w1 >= 0) & (1 - w0 - w1 >= 0)
    face, pixel, w0, w1 = face[inside], (y * size + x)[inside], w0[inside], w1[inside]
    depth = w0 * a[face, 2] + w1 * b[face, 2] + (1 - w0 - w1) * c[face, 2]
    order = np.lexsort((-face, -depth, pixel))
    # Later writes win, so the nearest sample of each pixel comes last.
    ids, bary = np.full(size * size, -1, np.int32), np.zeros((size * size, 2), np.float32)
    ids[pixel[order]] = face[order]
    bary[pixel[order]] = np.stack([w0, w1], 1)[order]
    return ids, bary


def _skin(texture: Float32, uv: Float32) -> Float32:
    n = len(texture)
    x, y = np.clip((uv + TEXTURE_LIMIT) / (2 * TEXTURE_LIMIT) * n - 0.5, 0, n - 1.001).T
    xi, yi = x.astype(np.int64), y.astype(np.int64)
    fx, fy = (x - xi)[:, None], (y - yi)[:, None]
    top = texture[yi, xi] * (1 - fx) + texture[yi, xi + 1] * fx
    return top * (1 - fy) + (texture[yi + 1, xi] * (1 - fx) + texture[yi + 1, xi + 1] * fx) * fy


def _eye(iris: Float32, uv: Float32) -> Float32:
    r, angle = np.hypot(uv[:, 0], uv[:, 1]), np.arctan2(uv[:, 1], uv[:, 0])
    white = 0.955 * (1 - 0.25 * _ramp(0.75, 1.25, r))
    lit = 1.25 - 0.45 * _ramp(0.46, 0.66, r) + 0.25 * (1 - _ramp(0.33, 0.57, r)) + 0.06 * np.sin(angle * 17)
    edge, pupil = _ramp(0.63, 0.69, r)[:, None], (1 - _ramp(0.30, 0.34, r))[:, None]
    colour = white[:, None] * edge + np.clip(iris * lit[:, None], 0, 1) * (1 - edge)
    return colour * (1 - pupil) + 0.03 * pupil


def _base_colour(scene: Scene, material: Int32, uv: Float32) -> Float32:
    u, v = uv[:, 0], uv[:, 1]
    if scene.curly:
        strand = 1 + 0.12 * np.sin(u * 40) * np.sin(v * 45)
    else:
        strand = 1 + 0.10 * np.sin(u * 55 + 2.5 * np.sin(v * 5 + u * 3)) + 0.06 * np.sin(u * 131 + v * 6)
    hair = material == 2
    colour = scene.palette[material] * np.where(hair, strand, 1)[:, None] + 0.015 * hair[:, None]
    skin, eye = material == 0, material == 1
    colour[skin] = _skin(scene.texture, uv[skin])
    colour[eye] = _eye(scene.palette[1], uv[eye])
    return np.clip(colour, 0, 1)


def shade(scene: Scene, ids: Int32, bary: Float32, big: int) -> tuple[U8, U8]:
    """RGB and coverage at half size."""
    covered = np.flatnonzero(ids >= 0)
    face = ids[covered]
    w = np.concatenate([bary[covered], 1 - bary[covered].sum(1, keepdims=True)], 1)
    q = (scene.attributes[scene.faces[face]] * w[:, :, None]).sum(1)
    normal = q[:, :3] / (np.linalg.norm(q[:, :3], axis=1, keepdims=True) + 1e-9)
    material = scene.materials[face]
    back = normal[:, 2] < -0.02
    normal = np.where((back & (material >= 2))[:, None], -normal, normal)
    colour = _lit(scene, material, _base_colour(scene, material, q[:, 3:5]), normal, q[:, 5])
    colour[(material == 0) & back] = _MOUTH
    size = big // 2
    picture = scene.background.repeat(2, 0).repeat(2, 1).reshape(-1, 3).astype(np.float32)
    picture[covered] = np.clip(colour, 0, 1)
    mean = picture.reshape(size, 2, size, 2, 3).mean((1, 3))
    hits = (ids >= 0).reshape(size, 2, size, 2).sum((1, 3))
    return (np.clip(mean, 0, 1) * 255 + 0.5).astype(np.uint8), (hits * 255 // 4).astype(np.uint8)


def _lit(scene: Scene, material: Int32, colour: Float32, normal: Float32, occlusion: Float32) -> Float32:
    direction, key, ambient = scene.light.reshape(3, 3)
    half = direction + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    catch = np.array([0.30 if direction[0] >= 0 else -0.30, 0.42, 0.85])
    catch /= np.linalg.norm(catch)
    skin, eye = material == 0, material == 1
    ndl, up = normal @ direction, normal[:, 1]
    wrap = np.clip((ndl + 0.35) / 1.35, 0, 1) ** 1.25 * 0.72
    sky = (0.55 + 0.55 * (0.5 + 0.5 * up)) * 1.25
    edge = np.where(skin, np.exp(-((ndl - 0.02) ** 2) / 0.22**2), 0)
    gloss = _GLOSS[material] * np.clip(normal @ half, 0, 1) ** _SHARP[material]
    rim = np.where(eye, 0, (1 - np.abs(normal[:, 2])) ** 3 * 0.10 * np.clip(up * 0.5 + 0.7, 0, 1))
    light = key * wrap[:, None] + ambient * sky[:, None]
    lit = colour * light * occlusion[:, None] * (1 + edge[:, None] * _WARM) + (gloss + rim)[:, None] * key
    spot = _ramp(0.968, 0.980, normal @ catch)[:, None] * 0.9
    shadow = (1 - 0.35 * _ramp(0.25, 0.75, up))[:, None]
    return np.where(eye[:, None], np.maximum(lit, spot) * shadow, lit).astype(np.float32)
