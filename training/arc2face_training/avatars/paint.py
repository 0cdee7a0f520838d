"""The skin's texture: complexion, lips, brows, lashes, beard, freckles, painted on the head's flat chart."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from arc2face_training.avatars.columns import (
    EYE_HALF_H,
    EYE_HALF_W,
    EYE_U,
    EYE_V,
    MOUTH_HALF_W,
    MOUTH_V,
    TEXTURE_LIMIT,
    TEXTURE_SIZE,
)
from arc2face_training.avatars.looks import Look

Float32 = NDArray[np.float32]

_axis = ((np.arange(TEXTURE_SIZE) + 0.5) / TEXTURE_SIZE * 2 * TEXTURE_LIMIT - TEXTURE_LIMIT).astype(np.float32)
U, V = np.meshgrid(_axis, _axis)
AU = np.abs(U)
_BROW_TINT = np.array([0.76, 0.68, 0.62], np.float32)
DV = V - np.float32(MOUTH_V)


def _ramp(low: float | Float32, high: float | Float32, x: Float32) -> Float32:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _bump(x: Float32, centre: float, width: float) -> Float32:
    return np.exp(-0.5 * ((x - np.float32(centre)) / np.float32(width)) ** 2)


def smooth_noise(rng: np.random.Generator, size: int, cells: int) -> Float32:
    """(size, size) float32 of smooth standard normal noise."""
    grid = rng.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


class Canvas:
    """A texture under work."""

    def __init__(self, colour: Float32) -> None:
        self.pixels = np.broadcast_to(colour, (TEXTURE_SIZE, TEXTURE_SIZE, 3)).astype(np.float32)

    def lay(self, mask: Float32, colour: Float32 | list[float]) -> None:
        """Blend `colour` over the picture where `mask` (0..1) says so."""
        cover = np.clip(mask, 0, 1)[..., None]
        self.pixels += cover * (np.asarray(colour, np.float32) - self.pixels)


def paint(look: Look) -> Float32:
    """Skin texture (224, 224, 3) float32, RGB in 0..1; row 0 is the bottom of the chart."""
    rng = np.random.default_rng(look.noise_seed)
    canvas = Canvas(look.skin)
    canvas.pixels *= 1 + smooth_noise(rng, TEXTURE_SIZE, 9)[..., None] * np.float32(0.018)
    _complexion(canvas, look, rng)
    lips = _lip_mask()
    if look.beard != "none":
        _beard(canvas, look, lips, smooth_noise(rng, TEXTURE_SIZE, 120) * np.float32(0.10))
    _mouth(canvas, look, lips)
    _brows(canvas, look)
    _eyes(canvas, look)
    return np.clip(canvas.pixels, 0, 1)


def _complexion(canvas: Canvas, look: Look, rng: np.random.Generator) -> None:
    skin = look.skin
    red = skin * np.array([1.0, 0.66, 0.62], np.float32)
    canvas.lay((0.16 + 0.28 * look.blush) * _bump(AU, 0.52, 0.14) * _bump(V, -0.28, 0.1), red)
    canvas.lay(0.22 * _bump(U, 0, 0.1) * _bump(V, -0.32, 0.08), red)
    shade = skin * np.array([0.8, 0.68, 0.68], np.float32)
    canvas.lay(0.14 * _bump(AU, 0.42, 0.2) * _bump(V, 0.02, 0.13), shade)
    canvas.lay(0.75 * np.clip(1.6 * _bump(AU, 0.062, 0.022) * _bump(V, -0.395, 0.014), 0, 1), skin * 0.35)
    if look.freckles > 0:
        centres = np.c_[rng.normal(0, 0.33, 45), rng.normal(-0.22, 0.09, 45)][: int(45 * look.freckles)]
        canvas.lay(0.6 * _spots(centres, 0.012), skin * np.array([0.70, 0.50, 0.40], np.float32))
    if look.mole is not None:
        canvas.lay(np.clip(1.5 * _spots(np.array([look.mole]), 0.018), 0, 1), [0.2, 0.12, 0.1])


def _spots(centres: NDArray[np.float64], width: float) -> Float32:
    mask, reach = np.zeros_like(U), int(4 * width / (2 * TEXTURE_LIMIT) * TEXTURE_SIZE) + 1
    for u, v in centres:
        col, row = (int((a + TEXTURE_LIMIT) / (2 * TEXTURE_LIMIT) * TEXTURE_SIZE) for a in (u, v))
        rows, cols = (slice(max(a - reach, 0), max(a + reach + 1, 0)) for a in (row, col))
        near = np.exp(-((U[rows, cols] - u) ** 2 + (V[rows, cols] - v) ** 2) / (2 * width**2))
        mask[rows, cols] = np.maximum(mask[rows, cols], near)
    return mask


def _lip_mask() -> Float32:
    across = U / np.float32(MOUTH_HALF_W)
    full = np.clip(1 - across**2, 0, 1)
    cupid = -0.012 * np.exp(-((AU - 0.07) ** 2) / 0.002) + 0.015 * _bump(U, 0, 0.03)
    upper = _ramp(-0.012, 0.006, DV) * _ramp(0.078, 0.062, DV / (0.25 + 0.75 * full**0.55 + 1e-6) + cupid)
    lower = _ramp(0.012, -0.006, DV) * _ramp(0.100, 0.082, -DV / (0.2 + 0.8 * full**0.6 + 1e-6))
    return np.clip(np.maximum(upper, lower) * (full > 0), 0, 1).astype(np.float32)


def _beard(canvas: Canvas, look: Look, lips: Float32, noise: Float32) -> None:
    side = _ramp(0.62, 0.72, AU) * _ramp(-0.12, -0.24, V)
    low = _ramp(-0.47, -0.55, V - 0.62 * np.clip(AU - 0.34, 0, 1))
    # The chart's rim is the back of the skull: the beard ends behind the jaw and on the throat.
    limit = _ramp(1.06, 0.98, np.hypot(U, V))
    full = np.clip(low + side, 0, 1) * limit
    lip_top = _ramp(0.055, 0.075, DV + 0.10 * np.clip(AU - 0.1, 0, 1))
    moustache = _ramp(0.34, 0.27, AU) * lip_top * _ramp(0.155, 0.125, DV + 0.25 * np.clip(AU - 0.05, 0, 1))
    ring = _ramp(0.42, 0.36, np.hypot(U, 0.95 * (DV + 0.12))) * _ramp(0.17, 0.13, DV)
    shape = {
        "stubble": 0.42 * np.maximum(full, moustache),
        "full": 0.93 * np.maximum(full, moustache),
        "goatee": 0.92 * ring,
        "moustache": 0.95 * moustache,
    }[look.beard]
    gap = 1 - 0.55 * _bump(U, 0, 0.22) * _bump(DV, -0.125, 0.018)
    mask = shape * (1 - lips) * np.clip(1 + noise * 2, 0, 1.1) * gap
    canvas.lay(mask.astype(np.float32), look.hair * (0.8 + noise[..., None]))


def _mouth(canvas: Canvas, look: Look, lips: Float32) -> None:
    dark = float(np.clip((look.tone - 2.2) / 2.5, 0, 1))
    natural = look.skin * np.array([0.90, 0.58, 0.56], np.float32) * (1 - 0.12 * dark)
    strong = np.clip(np.array([0.80, 0.22, 0.28]) + look.lip_hue, 0, 1).astype(np.float32) * (1 - 0.35 * dark)
    share = float(np.clip((look.lips - 0.55) / 0.45, 0, 1))
    canvas.lay(lips * (0.45 + 0.5 * look.lips), natural * (1 - share) + strong * share)
    across = np.abs(U / np.float32(MOUTH_HALF_W))
    canvas.lay(0.55 * _bump(DV, 0, 0.010) * _ramp(1.05, 0.9, across), natural * 0.45)


def _brows(canvas: Canvas, look: Look) -> None:
    along = (AU - 0.41) / look.brow_length
    centre = look.brow_height + look.brow_arch * (1 - along**2) + look.brow_tilt * along
    taper = (1 - 0.55 * _ramp(-0.2, 1.0, along)) * _ramp(1.08, 0.85, np.abs(along))
    mask = _ramp(0.011, -0.011, np.abs(V - centre) - look.brow_thickness * taper) * (np.abs(along) < 1.08)
    canvas.lay(0.95 * mask.astype(np.float32), look.hair * _BROW_TINT * look.brow_darkness + np.float32(0.04))


def _eyes(canvas: Canvas, look: Look) -> None:
    local_u, local_v = (AU - EYE_U) / EYE_HALF_W, (V - EYE_V) / EYE_HALF_H
    s = np.hypot(local_u, local_v)
    upper = _ramp(-0.15, 0.15, local_v / (s + 1e-6))
    width = 0.05 + 0.09 * look.lashes * _ramp(-0.2, 0.9, local_u)
    lash = upper * _ramp(1.06 + width, 1.0 + width * 0.6, s) * (0.65 + 0.35 * look.lashes)
    canvas.lay(lash.astype(np.float32), [0.07, 0.05, 0.05])
    rim = np.array([0.6, 0.42, 0.4], np.float32)
    canvas.lay((0.45 * (1 - upper) * _ramp(1.09, 1.02, s)).astype(np.float32), look.skin * rim)
    canvas.lay((0.30 * upper * _bump(s.astype(np.float32), 1.38, 0.05)).astype(np.float32), look.skin * 0.55)
