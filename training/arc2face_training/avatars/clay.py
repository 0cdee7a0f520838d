"""Sculpting of the skin: from named parameters to vertex positions, in units of half a head.

`sculpt` is nonlinear. The head model takes its blendshapes as differences of it, so that what reaches FLAME's file
format is linear. x is the subject's left, y up, z front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from arc2face_training.avatars.chart import Array, Chart, bump, ramp
from arc2face_training.avatars.columns import MOUTH_HALF_W, MOUTH_V
from arc2face_training.avatars.eyelids import shape_eyes

Value = Callable[[str], float]


class Clay:
    """The skin under work: chart coordinates, current positions and the parameters."""

    def __init__(self, chart: Chart, parameters: Mapping[str, float]) -> None:
        self.chart = chart
        self.parameters = parameters
        self.u, self.v, self.w = chart.u, chart.v, chart.w
        self.au, self.side = np.abs(chart.u), np.sign(chart.u)
        self.front = ramp(0.0, 0.35, chart.w)
        self.x, self.y, self.z = (np.zeros_like(chart.u) for _ in range(3))

    def p(self, name: str) -> float:
        """Value of a parameter, 0 when not given."""
        return float(self.parameters.get(name, 0.0))

    def move(self, dx: Array | float = 0.0, dy: Array | float = 0.0, dz: Array | float = 0.0) -> None:
        """Add a displacement."""
        self.x, self.y, self.z = self.x + dx, self.y + dy, self.z + dz


def sculpt(chart: Chart, parameters: Mapping[str, float]) -> Array:
    """Positions (n, 3) of the skin vertices, before smoothing."""
    clay = Clay(chart, parameters)
    _skull(clay)
    _relief(clay)
    _nose(clay)
    _brows(clay)
    _lips(clay)
    _mouth_corners(clay)
    _mouth_shapes(clay)
    _placement(clay)
    shape_eyes(clay)
    return np.c_[clay.x, clay.y, clay.z]


def skull_half_width(p: Value) -> float:
    """Half width of the skull at eye height."""
    return 0.77 + 0.05 * p("face_width")


def _skull(c: Clay) -> None:
    power = 2.35
    norm = (c.au**power + np.abs(c.v) ** power + np.abs(c.w) ** power) ** (1 / power)
    x, y, z = c.u / norm, c.v / norm, c.w / norm
    low = np.clip(-y, 0, 1)
    taper = 0.13 - 0.07 * c.p("jaw_width")
    narrow = (
        1 - taper * ramp(0.15, 0.95, low) - 0.03 * ramp(0.2, 1.0, y) - 0.10 * c.p("chin_point") * ramp(0.62, 1, low)
    )
    c.x = skull_half_width(c.p) * x * narrow
    c.y = np.where(y > 0, y * (1 + 0.05 * c.p("forehead")), y * (1 + 0.045 * c.p("face_length")))
    c.y -= 0.07 * c.p("chin_length") * ramp(0.62, 1.0, low) * ramp(-0.5, 0.4, c.w)
    c.z = np.where(z > 0, 0.80, 0.90) * z + 0.26 * ramp(0.1, 1.0, low)


def _relief(c: Clay) -> None:
    u, v, au = c.u, c.v, c.au
    dz = -0.075 * bump(au, 0.42, 0.19) * bump(v, 0.0, 0.13)
    dz += (0.03 + 0.03 * c.p("brow_ridge")) * bump(au, 0.38, 0.2) * bump(v, 0.22, 0.07)
    dz += 0.02 * bump(u, 0, 0.3) * bump(v, 0.5, 0.2)
    dz += 0.05 * bump(u, 0, 0.17) * bump(v, -0.86, 0.12)
    dz += 0.035 * c.p("chin_point") * bump(u, 0, 0.15) * bump(v, -0.86, 0.12)
    bone = (0.035 + 0.04 * c.p("cheekbone")) * bump(au, 0.55, 0.16) * bump(v, -0.2, 0.13)
    full = (0.02 + 0.05 * c.p("cheek_full")) * bump(au, 0.48, 0.19) * bump(v, -0.48, 0.2)
    muzzle = 0.05 * bump(u, 0, 0.26) * bump(v, MOUTH_V, 0.16)
    c.move(
        dx=c.side * (bone * 0.7 + full * 0.9) * ramp(-0.1, 0.25, c.w), dz=(dz + bone + 0.8 * full + muzzle) * c.front
    )


def _nose(c: Clay) -> None:
    u, v, au = c.u, c.v, c.au
    tip = -0.30 - 0.035 * c.p("nose_length")
    along = np.clip((0.16 - v) / (0.16 - tip), 0, 1)
    width = 0.070 + (0.040 + 0.012 * c.p("nose_width")) * along
    profile = along**1.3 * (0.125 + 0.035 * c.p("nose_out"))
    profile += (0.030 + 0.03 * c.p("nose_bridge")) * np.sin(np.pi * along) * (along < 1)
    bridge = profile * ramp(tip - 0.105, tip - 0.015, v) * np.exp(-0.6 * (au / width) ** 2.4)
    ball = 0.075 * bump(u, 0, 0.080) * bump(v, tip + 0.012, 0.055)
    wing = (0.068 + 0.01 * c.p("nose_width")) * bump(au, 0.115 + 0.022 * c.p("nose_width"), 0.042)
    wing *= bump(v, tip - 0.04, 0.042)
    c.move(dz=(bridge + ball + wing) * c.front)
    c.move(dy=(0.035 * c.p("nose_tip_up") - 0.012) * bump(u, 0, 0.1) * bump(v, tip, 0.07) * c.front)
    c.move(dx=0.02 * c.p("nose_width") * c.side * bump(au, 0.11, 0.05) * bump(v, tip - 0.03, 0.06) * c.front)


def _brows(c: Clay) -> None:
    arch = bump(c.v, 0.26, 0.09) * c.front * bump(c.au, 0.4, 0.32)
    left = ramp(-0.05, 0.05, c.u)
    both = 0.11 * c.p("brow_raise")
    c.move(dy=arch * ((both + 0.12 * c.p("brow_raise_left")) * left))
    c.move(dy=arch * ((both + 0.12 * c.p("brow_raise_right")) * (1 - left)))
    knit = c.p("brow_furrow") * bump(c.v, 0.2, 0.1) * c.front * bump(c.au, 0.2, 0.14)
    c.move(dx=-0.06 * c.side * knit * ramp(0, 0.1, c.au), dy=-0.09 * knit, dz=0.02 * knit)


def _lips(c: Clay) -> None:
    """Lip relief, and the slit closed: the hole's rim comes together on the mouth line and is folded inwards."""
    across, dv = c.u / MOUTH_HALF_W, c.v - MOUTH_V
    upper, height = dv > 1e-9, np.abs(dv)
    inside = (c.w > 0) & (np.hypot(c.u / (MOUTH_HALF_W + 0.145), dv / 0.2) < 1.001)
    fullness = np.clip(1 - across**2, 0, 1)
    press = c.p("lip_press")
    lip_upper = 0.055 * bump(dv, 0.040, 0.026) * fullness**0.5 * (1 + 0.45 * c.p("lip_upper"))
    lip_upper *= 1 - 0.25 * bump(c.u, 0, 0.035)
    lip_lower = 0.070 * bump(dv, -0.048, 0.032) * fullness**0.6 * (1 + 0.45 * c.p("lip_lower"))
    relief = np.where(upper, lip_upper, lip_lower) * inside * (1 - 0.8 * press)
    c.move(dz=(relief - 0.02 * press * inside * fullness) * c.front)
    thick = np.where(upper, 0.022 * c.p("lip_upper"), -0.026 * c.p("lip_lower"))
    thick = thick * fullness * ramp(0.0, 0.06, height) * (1 - ramp(0.09, 0.2, height))
    thick -= np.where(upper, 1, -1) * 0.028 * press * fullness * ramp(0, 0.05, height) * (1 - ramp(0.07, 0.16, height))
    closing = np.where(height < 0.02, dv, np.sign(dv) * 0.02 * (1 - ramp(0.02, 0.15, height)))
    # Beyond the corners there is no slit to close; closing there would leave a crease in the cheek.
    closing *= 1 - ramp(1.0, 1.18, np.abs(across))
    c.move(dy=(thick - closing - 0.018 * bump(c.u, 0, 0.10) * bump(dv, 0, 0.05)) * inside)
    friendly = 0.022 * np.clip(np.abs(across), 0, 1.2) ** 2 * bump(dv, 0, 0.07)
    c.move(dy=friendly * (c.au < MOUTH_HALF_W * 1.6) * c.front)
    c.move(dz=-0.05 * np.clip(np.abs(across), 0, 1) ** 4 * bump(dv, 0, 0.05) * inside)
    c.z = np.where(c.chart.mouth_rim, c.z - 0.10, c.z)


def _mouth_corners(c: Clay) -> None:
    """Smile, smirks, frown, stretch and pucker: what moves the mouth line as a whole."""
    across, dv = np.abs(c.u / MOUTH_HALF_W), c.v - MOUTH_V
    upper, height = dv > 1e-9, np.abs(dv)
    # One falloff that is smooth in both directions keeps the corners free of creases.
    fade = (1 - ramp(MOUTH_HALF_W * 0.95, MOUTH_HALF_W * 2.3, c.au)) * bump(dv, 0, 0.16) * c.front
    stretch = c.side * np.clip(across, 0, 1.0) * fade
    wide = 0.09 * c.p("smile") + 0.06 * c.p("mouth_stretch") + 0.035 * c.p("mouth_width")
    c.move(dx=stretch * wide)
    arc = np.clip(across, 0, 1.1) ** 1.6 * fade
    for sign, name in ((1, "smirk_left"), (-1, "smirk_right")):
        half = (c.u > 0) if sign > 0 else (c.u <= 0)
        amount = c.p("smile") + c.p(name)
        c.move(dy=amount * half * (0.105 * arc - 0.018 * bump(c.u, 0, 0.12) * bump(dv, 0, 0.1) * c.front))
        c.move(dz=-0.035 * amount * half * arc, dx=0.06 * sign * c.p(name) * half * arc)
        cheek = amount * half * bump(c.au, 0.50, 0.17) * bump(c.v, -0.32, 0.13) * c.front
        c.move(dx=0.03 * sign * cheek, dy=0.045 * cheek, dz=0.045 * cheek)
    frown = c.p("frown")
    c.move(dy=frown * (-0.085 * arc + 0.045 * bump(c.u, 0, 0.16) * bump(dv, 0, 0.13) * c.front))
    c.move(dz=0.03 * frown * bump(c.u, 0, 0.16) * np.where(upper, 0.3, 1) * bump(dv, -0.05, 0.06) * c.front)
    pucker = c.p("pucker")
    c.move(dx=-0.12 * pucker * stretch)
    c.move(dz=0.085 * pucker * bump(c.u, 0, 0.19) * bump(dv, 0, 0.13) * c.front)
    pout = 0.02 * np.where(upper, 1, -1) * ramp(0.0, 0.05, height) * bump(c.u, 0, 0.18) * bump(dv, 0, 0.12)
    c.move(dy=pucker * pout * c.front)


def _mouth_shapes(c: Clay) -> None:
    """Cheek puff, lip raise and drop, nose wrinkle and sideways mouth."""
    across, dv = c.u / MOUTH_HALF_W, c.v - MOUTH_V
    height = np.abs(dv)
    puff = c.p("cheek_puff") * bump(c.au, 0.46, 0.19) * bump(c.v, -0.47, 0.18) * ramp(-0.15, 0.35, c.w)
    c.move(dx=0.10 * c.side * puff, dz=0.10 * puff)
    lip = bump(c.u, 0, 0.24) * c.front * np.clip(1 - across**2, 0, 1) ** 0.5 * (c.w > 0)
    raised = np.where(dv > 1e-9, 1.0, 0.0) * lip * (1 - ramp(0.02, 0.2, height))
    dropped = np.where(dv < -1e-9, 1.0, 0.0) * lip * (1 - ramp(0.02, 0.22, height))
    # A smile shows a little of the teeth.
    up = 0.085 * c.p("upper_lip_raise") + 0.042 * c.p("smile") + 0.05 * c.p("nose_wrinkle")
    down = 0.10 * c.p("lower_lip_drop") + 0.022 * c.p("smile")
    c.move(dy=up * raised - down * dropped)
    wrinkle = c.p("nose_wrinkle") * c.front
    c.move(dy=wrinkle * 0.045 * bump(c.au, 0.13, 0.07) * bump(c.v, -0.34, 0.09))
    c.move(dy=-wrinkle * 0.04 * bump(c.v, 0.2, 0.08) * bump(c.au, 0.25, 0.15))
    c.move(dx=0.10 * c.p("mouth_shift") * bump(c.u, 0, 0.36) * bump(dv, 0, 0.17) * c.front)


def _placement(c: Clay) -> None:
    """Height of the mouth and of the eyes, distance of the eyes (identity)."""
    c.move(dy=0.035 * c.p("mouth_height") * bump(c.u, 0, 0.4) * bump(c.v, MOUTH_V, 0.16) * c.front)
    around = bump(c.au, 0.425, 0.24) * bump(c.v, -0.01, 0.24) * c.front
    c.move(dy=0.045 * c.p("eye_height") * around)
    c.move(dx=0.045 * c.p("eye_spacing") * c.side * around * ramp(0, 0.12, c.au))
