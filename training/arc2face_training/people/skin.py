"""Colours of the skin at every fine vertex, in linear RGB, by places on the reference person."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people.head import HeadModel
from arc2face_training.people.looks import Look, skin_tone
from arc2face_training.people.noise import bump, noise, ramp

Float32 = NDArray[np.float32]
LIGHT_LIP, DARK_LIP = np.array([0.47, 0.205, 0.175]), np.array([0.155, 0.062, 0.052])
PAINTS = np.array([[0.34, 0.04, 0.05], [0.42, 0.13, 0.13], [0.24, 0.05, 0.07], [0.45, 0.17, 0.12]])


@functools.cache
def fine_mask(head: HeadModel, name: str) -> Float32:
    """(W,) of one of the assets' masks, on the skin only."""
    body = np.zeros(len(head.rest), bool)
    body[np.unique(head.triangles[head.parts == 0])] = True
    return np.where(body, head.assets.fine.matrix @ head.assets.masks[name], 0).astype(np.float32)


def paint(head: HeadModel, look: Look, scalp: Float32, beard: Float32) -> tuple[Float32, Float32, Float32, Float32]:
    """Albedo (W, 3), lip (W,), gloss (W,) and inside of the mouth (W,).

    `scalp`, `beard`: (W,) density of hair, which darkens the skin under it.
    """
    p = head.rest
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    lip, inside = fine_mask(head, "lips"), fine_mask(head, "inside-mouth")
    albedo = _base(p, look)
    albedo = _redness(albedo, p, look, fine_mask(head, "ears"))
    dark = bump(x, 0.31, 0.17) * bump(y, 7.135, 0.075) * look.circles * ramp(0.9, 1.1, z)
    albedo *= 1 - dark[:, None] * np.array([0.20, 0.28, 0.22])
    albedo = _lips(albedo, look, lip)
    lids = bump(np.hypot((x - 0.305) / 0.155, (y - 7.285) / 0.075), 0.95, 0.28) * ramp(1.05, 1.15, z)
    albedo *= 1 - lids[:, None] * np.array([0.12, 0.24, 0.22])
    rim = lids * (look.liner * 0.6) * ramp(7.27, 7.31, y)
    albedo *= 1 - rim[:, None] * 0.75
    mouth = np.array([0.22, 0.055, 0.05])
    albedo = albedo * (1 - inside[:, None]) + mouth * inside[:, None]
    under = np.clip(0.9 * scalp, 0, 1)[:, None]
    shade = look.hair * 0.9 * (1 - look.grey) + look.grey * 0.6 * albedo + 0.002
    albedo = albedo * (1 - under) + under * np.minimum(shade, albedo)
    stubble = np.clip(beard, 0, 1)[:, None] * (0.50 - 0.25 * look.grey)
    albedo = albedo * (1 - stubble) + stubble * np.minimum(albedo * np.array([0.52, 0.55, 0.60]), albedo)
    gloss = (
        0.55
        + 0.6 * bump(x, 0, 0.26) * ramp(6.6, 6.9, y) * ramp(8.2, 7.8, y)
        + 0.35 * bump(x, 0.38, 0.15) * bump(y, 7.02, 0.15)
    )
    gloss *= 1 - 0.6 * np.clip(scalp + beard, 0, 1)
    return albedo.astype(np.float32), lip, gloss.astype(np.float32), inside


def _base(p: Float32, look: Look) -> NDArray[np.float64]:
    tone = skin_tone(look.melanin)
    tone = tone * np.array([1 + 0.02 * look.sallow, 1 + 0.05 * look.sallow, 1 - 0.13 * look.sallow])
    o = (look.noise_seed % 97) * 0.371
    patch = noise(p * 0.055 + o) - 0.5
    mottle = noise(p * 0.16 + o + 0.3) - 0.5
    around = bump(np.abs(p[:, 0]), 0, 0.42) * bump(p[:, 1], 6.6, 0.22) * ramp(0.9, 1.15, p[:, 2])
    forehead = ramp(7.5, 7.9, p[:, 1])
    extra = 0.30 * patch + 0.26 * mottle + look.melanin * (0.16 * around + 0.12 * forehead)
    depth = np.exp(-extra[:, None] * np.array([0.45, 0.75, 0.95]) * (0.55 + 0.6 * look.melanin))
    return tone * depth


def _redness(albedo: NDArray[np.float64], p: Float32, look: Look, ears: Float32) -> NDArray[np.float64]:
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    front = ramp(0.8, 1.1, z)
    red = 0.75 * bump(x, 0.42, 0.20) * bump(y, 6.98, 0.19) * front
    red = red + 0.85 * bump(x, 0, 0.15) * bump(y, 6.94, 0.13) * ramp(1.35, 1.5, z)
    red = red + 0.35 * bump(x, 0, 0.24) * bump(y, 6.25, 0.12) * front + 0.55 * ears + 0.2 * ramp(5.9, 5.6, y)
    flush = noise(p * 0.21 + 5.1 + (look.noise_seed % 89) * 0.37) - 0.42
    red = (red * look.redness + 0.55 * flush * (0.4 + look.redness)) * (1 - 0.62 * look.melanin)
    return albedo * np.clip(1 + red[:, None] * np.array([0.10, -0.20, -0.17]), 0.2, 1.6)


def _lips(albedo: NDArray[np.float64], look: Look, lip: Float32) -> NDArray[np.float64]:
    natural = LIGHT_LIP * (1 - look.melanin) ** 1.5 + DARK_LIP * (1 - (1 - look.melanin) ** 1.5)
    tone = albedo * (1 - look.lips) * np.array([0.86, 0.66, 0.66]) + natural * look.lips
    painted = PAINTS[look.noise_seed % len(PAINTS)] * (1 - 0.35 * look.melanin)
    tone = tone * (1 - 0.75 * look.lip_paint) + painted * 0.75 * look.lip_paint
    weight = ramp(0.25, 0.75, lip)[:, None]
    return albedo * (1 - weight) + tone * weight
