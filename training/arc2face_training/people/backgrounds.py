"""What is behind a person: plain and graded walls, and scenes as blurred as a portrait lens makes them."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

Float32 = NDArray[np.float32]
SIDE = 72
KINDS = ("plain", "wall", "room", "foliage", "street", "bokeh", "sky")


def hsv(hue: float, saturation: float, value: float) -> Float32:
    """RGB (3,) float32 in 0..1."""
    return np.array(
        colorsys.hsv_to_rgb(hue % 1.0, float(np.clip(saturation, 0, 1)), float(np.clip(value, 0, 1))), np.float32
    )


def sample_background(rng: np.random.Generator, kind: str | None = None, *, plain: bool = False) -> Float32:
    """(72, 72, 3) float32 RGB, display values in 0..1."""
    if plain:
        kind = "plain" if rng.random() < 0.6 else "wall"
    kind = kind or str(rng.choice(KINDS, p=(0.20, 0.16, 0.22, 0.15, 0.13, 0.08, 0.06)))
    picture = _MAKERS[kind](rng)
    return np.clip(picture, 0, 1).astype(np.float32)


def _grade(low: Float32, high: Float32, angle: float) -> Float32:
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / (SIDE - 1) - 0.5
    t = np.clip(x * np.cos(angle) + y * np.sin(angle) + 0.5, 0, 1)[..., None]
    return (low * (1 - t) + high * t).astype(np.float32)


def _blur(picture: Float32, sigma: float) -> Float32:
    return gaussian_filter(picture, (sigma, sigma, 0), mode="nearest")


def _clouds(rng: np.random.Generator, cells: int) -> Float32:
    return zoom(rng.standard_normal((cells, cells)), SIDE / cells, order=1, mode="nearest")[:SIDE, :SIDE].astype(
        np.float32
    )


def _plain(rng: np.random.Generator) -> Float32:
    tone = hsv(rng.random(), rng.beta(1.2, 4), rng.uniform(0.12, 0.95))
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / (SIDE - 1) - 0.5
    spot = np.exp(-(((x - rng.uniform(-0.3, 0.3)) ** 2 + (y - rng.uniform(-0.3, 0.2)) ** 2) / rng.uniform(0.15, 0.6)))
    return tone * (0.72 + rng.uniform(0, 0.45) * spot)[..., None]


def _wall(rng: np.random.Generator) -> Float32:
    hue, saturation = rng.uniform(0.02, 0.18) if rng.random() < 0.6 else rng.uniform(0.5, 0.68), rng.beta(1.3, 4)
    value = rng.uniform(0.35, 0.95)
    picture = _grade(
        hsv(hue, saturation, value), hsv(hue + 0.02, saturation, value * rng.uniform(0.55, 0.95)), rng.uniform(0, 6.28)
    )
    picture *= 1 + 0.05 * _blur(_clouds(rng, 9)[..., None], 3)
    if rng.random() < 0.5:
        edge = int(rng.integers(4, SIDE - 4))
        picture[:, edge:] *= rng.uniform(0.75, 0.95)
    return _blur(picture, rng.uniform(0.8, 2.5))


def _blocks(rng: np.random.Generator, picture: Float32, count: int, tones: list[Float32], tall: bool) -> Float32:
    for _ in range(count):
        w, h = rng.integers(4, SIDE // 3), rng.integers(6, SIDE // 2)
        if tall:
            h = rng.integers(SIDE // 3, SIDE)
        x, y = rng.integers(-w, SIDE), rng.integers(-h // 2, SIDE)
        tone = tones[rng.integers(len(tones))] * rng.uniform(0.55, 1.25)
        picture[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = tone
    return picture


def _room(rng: np.random.Generator) -> Float32:
    hue = rng.uniform(0.03, 0.15) if rng.random() < 0.7 else rng.random()
    base = hsv(hue, rng.uniform(0.05, 0.4), rng.uniform(0.3, 0.9))
    picture = np.tile(base, (SIDE, SIDE, 1)).astype(np.float32)
    tones = [hsv(hue + rng.normal(0, 0.06), rng.uniform(0.1, 0.6), rng.uniform(0.08, 0.9)) for _ in range(5)]
    picture = _blocks(rng, picture, int(rng.integers(4, 12)), tones, False)
    if rng.random() < 0.45:  # a window
        x, y, w, h = rng.integers(0, SIDE), rng.integers(-10, 30), rng.integers(12, 30), rng.integers(20, 45)
        picture[max(y, 0) : y + h, x : x + w] = hsv(0.58, rng.uniform(0, 0.15), rng.uniform(0.9, 1.0)) * 1.1
    if rng.random() < 0.4:
        _lamps(rng, picture, int(rng.integers(1, 4)), 0.1, 3.5)
    return _blur(picture, rng.uniform(1.6, 4.2))


def _foliage(rng: np.random.Generator) -> Float32:
    hue = rng.uniform(0.18, 0.36)
    dark, mid = (
        hsv(hue, rng.uniform(0.3, 0.65), rng.uniform(0.08, 0.3)),
        hsv(hue - 0.03, rng.uniform(0.25, 0.6), rng.uniform(0.35, 0.65)),
    )
    field = _clouds(rng, 8) + 0.8 * _clouds(rng, 18) + 0.4 * _clouds(rng, 36)
    t = 1 / (1 + np.exp(-1.4 * field))[..., None]
    picture = (dark * (1 - t) + mid * t).astype(np.float32)
    y = np.linspace(0, 1, SIDE)[:, None]
    sky = 1 / (1 + np.exp(-3.5 * (_clouds(rng, 10) + 2.2 * (rng.uniform(0.0, 0.5) - y))))[..., None]
    picture = picture * (1 - sky) + hsv(0.56, rng.uniform(0.02, 0.25), rng.uniform(0.85, 1.0)) * sky
    _lamps(rng, picture, int(rng.integers(0, 14)), hue / 2 + 0.06, 1.8)
    return _blur(picture, rng.uniform(1.2, 3.6))


def _street(rng: np.random.Generator) -> Float32:
    hue = rng.uniform(0.05, 0.12) if rng.random() < 0.5 else rng.uniform(0.55, 0.65)
    sky = _grade(hsv(0.57, 0.12, 0.95), hsv(0.58, 0.25, rng.uniform(0.6, 0.9)), 1.57)
    tones = [hsv(hue + rng.normal(0, 0.03), rng.uniform(0.03, 0.35), rng.uniform(0.15, 0.75)) for _ in range(5)]
    picture = _blocks(rng, sky, int(rng.integers(7, 16)), tones, True)
    road = int(SIDE * rng.uniform(0.6, 0.95))
    picture[road:] = hsv(0.6, 0.05, rng.uniform(0.25, 0.6))
    _blocks(rng, picture, int(rng.integers(2, 8)), [*tones, hsv(rng.random(), 0.6, 0.6)], False)
    return _blur(picture, rng.uniform(1.4, 3.6))


def _bokeh(rng: np.random.Generator) -> Float32:
    hue = rng.choice((0.07, 0.6, 0.08, 0.75))
    picture = _grade(
        hsv(hue, 0.4, rng.uniform(0.05, 0.2)), hsv(hue + 0.05, 0.4, rng.uniform(0.1, 0.35)), rng.uniform(0, 6.28)
    )
    _lamps(rng, picture, int(rng.integers(10, 30)), 0.09, 3.2)
    return _blur(picture, rng.uniform(0.5, 1.2))


def _sky(rng: np.random.Generator) -> Float32:
    picture = _grade(hsv(0.58, rng.uniform(0.2, 0.6), rng.uniform(0.6, 0.9)), hsv(0.55, 0.12, 0.95), 1.57)
    clouds = 1 / (1 + np.exp(-2 * (_clouds(rng, 6) + 0.5 * _clouds(rng, 14))))[..., None]
    picture = picture * (1 - 0.6 * clouds) + 0.57 * clouds
    if rng.random() < 0.6:
        line = int(SIDE * rng.uniform(0.55, 0.95))
        picture[line:] = hsv(rng.choice((0.1, 0.25, 0.55)), rng.uniform(0.15, 0.45), rng.uniform(0.3, 0.7))
    return _blur(picture, rng.uniform(1.5, 3.0))


def _lamps(rng: np.random.Generator, picture: Float32, count: int, hue: float, radius: float) -> None:
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    for _ in range(count):
        r = radius * rng.uniform(0.4, 1.5)
        d = np.hypot(x - rng.uniform(0, SIDE), y - rng.uniform(0, SIDE))
        disc = np.clip(r + 0.5 - d, 0, 1)[..., None] * rng.uniform(0.3, 0.95)
        picture += disc * (hsv(hue + rng.normal(0, 0.05), rng.uniform(0.1, 0.6), 1.0) - picture)


_MAKERS = {
    "plain": _plain,
    "wall": _wall,
    "room": _room,
    "foliage": _foliage,
    "street": _street,
    "bokeh": _bokeh,
    "sky": _sky,
}
