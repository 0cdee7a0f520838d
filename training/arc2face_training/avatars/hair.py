"""Hair, beards and curtains: the skin mesh pushed out along its normals, and a few free-standing pieces."""

from __future__ import annotations

import numpy as np

from arc2face_training.avatars.chart import Array, IntArray, bump, ramp
from arc2face_training.avatars.columns import IDENTITY_COLUMNS, MATERIAL_HAIR, MOUTH_HALF_W, MOUTH_V
from arc2face_training.avatars.head import HeadModel
from arc2face_training.avatars.looks import Look
from arc2face_training.avatars.props import Prop, head_weights

HIDDEN = -0.05
THICKNESS = {
    "buzz": 0.022, "short": 0.10, "side": 0.13, "quiff": 0.10, "fringe": 0.12, "bob": 0.15, "long": 0.13, "bun": 0.06,
    "afro": 0.42, "curly": 0.22, "curtain": 0.13,
}  # fmt: skip
_LINE_DEGREES = (0, 30, 48, 62, 75, 88, 100, 118, 150, 180)
_LINE_HEIGHT = (0.60, 0.58, 0.50, 0.30, 0.06, -0.20, -0.05, -0.30, -0.52, -0.55)


def hair_props(head: HeadModel, look: Look, vertices: Array, normals: Array) -> list[Prop]:
    """Hair of a person whose skin has the given vertices (n, 3) and normals at rest."""
    props: list[Prop] = []
    azimuth = np.arctan2(head.chart.u, head.chart.w + 1e-9)
    if look.hair_style != "bald":
        thickness = _thickness(head, look, azimuth)
        props.append(_shell(head, vertices, normals, thickness, azimuth))
        if look.hair_style in ("bob", "long", "curtain"):
            props.append(_curtain(look))
        if look.hair_style == "bun":
            props.append(_bun(head, look))
    if look.beard == "full":
        props.append(_shell(head, vertices, normals, _beard_thickness(head, look), azimuth))
    return props


def waves(p: Array, frequency: float) -> Array:
    """A product of three sines over space: lumps of hair."""
    a = np.sin(p @ np.array([3.1, 1.7, 2.3]) * frequency + 1.3)
    b = np.sin(p @ np.array([-1.9, 2.9, 1.1]) * frequency + 0.4)
    return a * b * np.sin(p @ np.array([1.3, -2.2, 2.7]) * frequency + 2.0)


def _shell(head: HeadModel, vertices: Array, normals: Array, thickness: Array, azimuth: Array) -> Prop:
    faces = head.chart.faces
    grown = faces[(thickness > HIDDEN + 1e-3)[faces].any(1)]
    moved = vertices + normals * np.clip(thickness, HIDDEN, None)[:, None]
    chart = np.c_[azimuth, head.chart.v]
    return Prop(moved, grown, MATERIAL_HAIR, head.weights[: head.n_skin], chart, on_skin=True)


def _hairline(look: Look, azimuth: Array) -> Array:
    """Height on the unit sphere above which hair grows."""
    turn = np.abs(azimuth)
    line = np.interp(turn, np.radians(_LINE_DEGREES), _LINE_HEIGHT) + look.hairline * (turn < 1.2)
    if look.hair_style in ("fringe", "bob") or (look.hair_style == "long" and look.hair_wave > 0.5):
        fringe = 0.36 + 0.05 * np.cos(azimuth * 3 + look.parting)
        line = np.where(turn < 0.9, np.minimum(line, fringe), line)
    if look.hair_style == "side":
        line = line + look.parting * 0.10 * np.sin(azimuth * 1.5) * (turn < 1.3)
    if look.hair_style == "curtain":
        line = line - 0.28 * ramp(0.12, 0.6, turn) * (1 - ramp(0.9, 1.25, turn))
    return line


def _thickness(head: HeadModel, look: Look, azimuth: Array) -> Array:
    style, direction = look.hair_style, head.chart.directions
    height = direction[:, 1]
    above = height - _hairline(look, azimuth)
    thick = np.full(len(direction), THICKNESS[style] * look.hair_volume)
    top = ramp(-0.1, 0.9, height)
    grown = thick * (0.75 + 0.25 * top if style == "afro" else 0.45 + 0.55 * top)
    if style == "quiff":
        grown += 0.30 * look.hair_volume * bump(azimuth, 0, 0.75) * bump(height, 0.72, 0.2)
    if style == "side":
        grown += 0.12 * bump(azimuth, look.parting * 0.5, 0.5) * bump(height, 0.7, 0.25)
    if style == "afro":
        grown *= 1 + 0.22 * waves(direction, 4.0) + 0.12 * waves(direction[:, ::-1], 9)
    elif style == "curly":
        grown *= 1 + 0.26 * waves(direction, 5.5) + 0.14 * waves(direction[:, ::-1], 9)
    elif style in ("short", "quiff", "side", "fringe", "curtain"):
        grown *= 1 + 0.18 * look.hair_wave * waves(direction, 5)
    edge = ramp(-0.02, 0.22, above) if style == "afro" else ramp(-0.01, 0.10, above)
    edged = np.maximum(grown * edge - 0.006 * (1 - edge), 0.006)
    # Behind the ears the shell lies close, so that the ears stay free.
    return np.where(above > -0.01, edged, HIDDEN)


def _beard_thickness(head: HeadModel, look: Look) -> Array:
    u, v, w = head.chart.directions.T
    reach = np.abs(u)
    low = ramp(-0.50, -0.60, v - 0.62 * np.clip(reach - 0.34, 0, 1)) * ramp(-0.05, 0.22, w)
    lips = np.hypot(u / (MOUTH_HALF_W + 0.05), (v - MOUTH_V) / 0.115)
    thickness = 0.075 * low * ramp(0.95, 1.35, lips) * look.hair_volume
    return np.where(thickness > 0.004, thickness * (1 + 0.25 * waves(head.chart.directions, 8)), HIDDEN)


def _curtain(look: Look) -> Prop:
    """Long hair: a sheet around the sides and the back."""
    columns, rows = 44, 14
    lowest = {"bob": -0.98, "long": -1.75, "curtain": -0.62}[look.hair_style]
    around = np.linspace(np.radians(70), np.radians(290), columns)
    top = THICKNESS[look.hair_style] * look.hair_volume
    half_width = 0.77 + 0.05 * float(look.shape[IDENTITY_COLUMNS.index("face_width")])
    vertices: list[Array] = []
    for h in np.linspace(0, 1, rows):
        y = 0.80 + (lowest - 0.80) * float(h)
        dome = (1 - min(max(y, 0.0), 0.999) ** 2.35) ** (1 / 2.35)
        across = (half_width + 0.8 * top + 0.05) * dome + 0.05 * look.hair_volume * float(ramp(0.1, -0.5, y))
        along = (0.90 + 0.8 * top) * dome + 0.02
        wave = 1 + 0.035 * look.hair_wave * np.sin(around * 9 + h * 9) + 0.018 * np.sin(around * 23)
        tuck = (
            1
            - 0.25 * float(ramp(0.75, 1, float(h))) * (look.hair_style == "bob")
            - 0.12 * float(ramp(0.5, 1, float(h)))
        )
        vertices.append(
            np.c_[
                across * wave * tuck * np.sin(around),
                y + 0.03 * np.sin(around * 5),
                along * wave * tuck * np.cos(around) - 0.03,
            ]
        )
    sheet = np.concatenate(vertices)
    chart = np.c_[np.tile(around, rows), np.repeat(np.linspace(0.8, lowest, rows), columns)]
    return Prop(sheet, grid_faces(rows, columns), MATERIAL_HAIR, head_weights(len(sheet)), chart)


def grid_faces(rows: int, columns: int) -> IntArray:
    """Triangles of an open grid of vertices."""
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)[None]).ravel()
    first = np.c_[corner, corner + columns, corner + 1]
    second = np.c_[corner + 1, corner + columns, corner + columns + 1]
    return np.concatenate([first, second]).astype(np.int32)


def _bun(head: HeadModel, look: Look) -> Prop:
    lift = 1.12 + 0.05 * float(look.shape[IDENTITY_COLUMNS.index("forehead")])
    size = np.array([0.32, 0.28, 0.30]) * look.hair_volume**0.5
    lumps = (1 + 0.05 * waves(head.ball, 5))[:, None]
    vertices = head.ball * size * lumps + np.array([0.0, lift, -0.35])
    chart = np.c_[np.arctan2(head.ball[:, 0], head.ball[:, 1]), head.ball[:, 2]]
    return Prop(vertices, head.ball_faces, MATERIAL_HAIR, head_weights(len(vertices)), chart)
