"""Lids: the skin around each eye is laid on a sphere slightly larger than the eyeball, around an almond opening."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from arc2face_training.avatars.chart import Array, bump, ramp
from arc2face_training.avatars.columns import EYE_HALF_H, EYE_HALF_W, EYE_U, EYE_V, EYEBALL_RADIUS

if TYPE_CHECKING:
    from arc2face_training.avatars.clay import Clay


class _Values(Protocol):
    def __call__(self, name: str, /) -> float: ...


def eye_scale(p: _Values) -> float:
    """Size of the eye relative to the template."""
    return 1 + 0.085 * p("eye_size")


def eye_centre(p: _Values, side: int) -> Array:
    """Centre (3,) of the eyeball; `side` is 1 for the subject's left."""
    x = 0.322 + 0.045 * p("eye_spacing") + 0.02 * p("face_width")
    return np.array([side * x, 0.045 * p("eye_height"), 0.572 - 0.012 * p("face_width")])


def shape_eyes(clay: Clay) -> None:
    """Move the skin within 1.9 lid radii of each eye."""
    _shape_eye(clay, 1, clay.p("blink_left"), clay.p("smile") + clay.p("smirk_left"))
    _shape_eye(clay, -1, clay.p("blink_right"), clay.p("smile") + clay.p("smirk_right"))


def _shape_eye(clay: Clay, side: int, blink: float, smile: float) -> None:
    p = clay.p
    local_u, local_v = (clay.u * side - EYE_U) / EYE_HALF_W, (clay.v - EYE_V) / EYE_HALF_H
    s = np.hypot(local_u, local_v)
    angle = np.arctan2(local_v, local_u)
    cos, sin = np.cos(angle), np.sin(angle)
    near = (clay.w > 0) & (s < 1.91)
    centre, scale = eye_centre(p, side), eye_scale(p)

    offset_x, offset_y = _opening(clay, cos, sin, s, blink, smile, scale)
    inner_s = np.maximum(s, 1.0)
    target_x = centre[0] + side * offset_x * inner_s
    target_y = centre[1] + offset_y + (inner_s - 1) * EYE_HALF_H * sin
    keep = ramp(1.0, 1.9, s)
    x = target_x * (1 - keep) + clay.x * keep
    y = target_y * (1 - keep) + clay.y * keep

    margin = 0.024 + 0.012 * ramp(1.0, 1.25, s) + blink * (np.where(sin > 0, 0.026, 0.008) + 0.03 * bump(s, 1.35, 0.2))
    lid_sphere = (EYEBALL_RADIUS * scale + margin) ** 2 - (x - centre[0]) ** 2 - (y - centre[1]) ** 2
    on_ball = centre[2] + np.sqrt(np.maximum(lid_sphere, 0))
    blend = 1 - ramp(1.2, 1.9, s)
    z = np.where(s < 1.02, on_ball, np.maximum(on_ball, clay.z) * blend + clay.z * (1 - blend))
    z -= 0.012 * bump(s, 1.42, 0.1) * ramp(0, 0.5, sin) * (1 - 0.7 * blink)

    rim = clay.chart.eye_rim & (clay.u * side > 0)
    x = np.where(rim, centre[0] + (x - centre[0]) * 0.97, x)
    # Closed lids overlap: the upper rim passes below the lower one, so that nothing shines through.
    y = np.where(rim, centre[1] + (y - centre[1]) * 0.97 - 0.02 * blink * np.sign(sin), y)
    z = np.where(rim, z - 0.09 + 0.06 * blink, z)
    clay.x, clay.y, clay.z = (np.where(near, a, b) for a, b in ((x, clay.x), (y, clay.y), (z, clay.z)))


def _opening(
    clay: Clay, cos: Array, sin: Array, s: Array, blink: float, smile: float, scale: float
) -> tuple[Array, Array]:
    """Offsets of the lid's edge from the eye centre."""
    p = clay.p
    squint = float(np.clip(p("squint"), -1, 1))
    upper = 0.138 * scale * (1 + 0.10 * p("eye_open")) + 0.034 * p("eye_widen") - 0.040 * squint
    upper -= 0.02 * p("brow_furrow")
    lower = 0.108 * scale * (1 + 0.10 * p("eye_open")) + 0.012 * p("eye_widen") - 0.034 * squint - 0.018 * smile
    open_y = np.where(sin > 0, upper * np.abs(sin) ** 0.85, -lower * np.abs(sin))
    closed_y = -0.060 * scale * (1 - cos**2) - np.where(sin > 0, 0.026, -0.002) * np.abs(sin)
    offset_x = 0.186 * scale * np.sign(cos) * np.abs(cos) ** 0.92
    closing = blink * (1 - ramp(1.0, 1.62, s))
    offset_y = open_y * (1 - closing) + closed_y * closing
    return offset_x, offset_y + offset_x * np.sin(0.12 * p("eye_tilt") + 0.06)
