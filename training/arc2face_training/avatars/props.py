"""Teeth, tongue, clothes and glasses: meshes beside the head, skinned with the same joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arc2face_training.avatars.chart import Array, IntArray
from arc2face_training.avatars.columns import (
    IDENTITY_COLUMNS,
    MATERIAL_CLOTH,
    MATERIAL_FRAME,
    MATERIAL_TEETH,
    MATERIAL_TONGUE,
    MOUTH_V,
)
from arc2face_training.avatars.eyelids import eye_centre
from arc2face_training.avatars.head import HeadModel
from arc2face_training.avatars.looks import Look

WORLD_JOINT = 5
"""Sixth column of a prop's weights: what does not turn with the head (clothes)."""


@dataclass(frozen=True)
class Prop:
    """A mesh: vertices (n, 3), triangles, material, weights (n, 5 or 6), chart (n, 2), ambient shade.

    `on_skin`: vertices correspond one to one to the skin's and follow its expressions.
    """

    vertices: Array
    faces: IntArray
    material: int
    weights: Array
    chart: Array
    on_skin: bool = False
    occlusion: float = 1.0


def _weights(n: int, joint: int, share: float = 1.0) -> Array:
    weights = np.zeros((n, 6))
    weights[:, 1] = 1 - share
    weights[:, joint] += share
    return weights


def head_weights(n: int) -> Array:
    """Weights of what turns with the skull."""
    return _weights(n, 1)


def body_props(head: HeadModel, look: Look, vertices: Array) -> list[Prop]:
    """Everything but the hair; `vertices` are the person's skin at rest."""
    middle = (np.abs(head.chart.u) < 0.02) & (np.abs(head.chart.v - MOUTH_V) < 0.03) & (head.chart.w > 0)
    mouth = vertices[middle].mean(0)
    props = _mouth(head, mouth) + [_torso()]
    if look.glasses != "none":
        props.append(_glasses(look))
    return props


def _mouth(head: HeadModel, mouth: Array) -> list[Prop]:
    y, z = float(mouth[1]), float(mouth[2]) - 0.075
    upper = _tooth_row(y + 0.12, y + 0.012, z, 0.0)
    lower = _tooth_row(y - 0.035, y - 0.12, z - 0.03, 1.0)
    tongue = head.ball * [0.17, 0.05, 0.22] + [0, y - 0.10, z - 0.26]
    n = len(tongue)
    throat = head.ball * [0.30, 0.24, 0.12] + [0, y, z - 0.42]
    flat = np.zeros((n, 2))
    return [
        upper,
        lower,
        Prop(tongue, head.ball_faces, MATERIAL_TONGUE, _weights(n, 2), flat, occlusion=0.8),
        Prop(throat, head.ball_faces, MATERIAL_TONGUE, _weights(n, 1), flat, occlusion=0.22),
    ]


def _tooth_row(top: float, bottom: float, front: float, jaw_share: float) -> Prop:
    n = 17
    angle = np.linspace(-1.15, 1.15, n)
    rows = [np.c_[0.20 * np.sin(angle), np.full(n, y), front - 0.22 * (1 - np.cos(angle))] for y in (top, bottom)]
    corner = np.arange(n - 1)
    faces = np.concatenate([np.c_[corner, corner + n, corner + 1], np.c_[corner + 1, corner + n, corner + n + 1]])
    return Prop(
        np.concatenate(rows),
        faces.astype(np.int32),
        MATERIAL_TEETH,
        _weights(2 * n, 2, jaw_share),
        np.zeros((2 * n, 2)),
    )


def _torso() -> Prop:
    """Collar and shoulders as one lofted surface; it stays put when the head turns."""
    # height, half width, half depth, depth of the centre
    profile = (
        (-1.20, 0.41, 0.40, -0.26), (-1.235, 0.475, 0.465, -0.26), (-1.30, 0.50, 0.49, -0.26),
        (-1.36, 0.48, 0.47, -0.26), (-1.40, 0.52, 0.48, -0.27), (-1.46, 0.70, 0.50, -0.28),
        (-1.55, 0.98, 0.53, -0.30), (-1.68, 1.16, 0.55, -0.30), (-1.95, 1.27, 0.57, -0.30),
        (-2.60, 1.30, 0.58, -0.30),
    )  # fmt: skip
    n = 40
    around = np.arange(n + 1) / n * 2 * np.pi
    rows = [np.c_[w * np.sin(around), np.full(n + 1, y), z + d * np.cos(around)] for y, w, d, z in profile]
    count, width = len(profile), n + 1
    corner = (np.arange(count - 1)[:, None] * width + np.arange(n)[None]).ravel()
    faces = np.concatenate(
        [np.c_[corner, corner + width, corner + 1], np.c_[corner + 1, corner + width, corner + width + 1]]
    )
    vertices = np.concatenate(rows)
    return Prop(
        vertices,
        faces.astype(np.int32),
        MATERIAL_CLOTH,
        _weights(len(vertices), WORLD_JOINT),
        np.zeros((len(vertices), 2)),
    )


def _glasses(look: Look) -> Prop:
    """Two rims, a bridge and two temples made of thin tubes."""
    shape = dict(zip(IDENTITY_COLUMNS, look.shape.tolist(), strict=True))

    def value(name: str) -> float:
        return shape.get(name, 0.0)

    paths: list[tuple[Array, bool]] = []
    power = 1.0 if look.glasses == "round" else 0.55
    for side in (1, -1):
        centre = eye_centre(value, side)
        t = np.arange(36) / 36 * 2 * np.pi
        x = 0.27 * np.sign(np.cos(t)) * np.abs(np.cos(t)) ** power
        y = (0.25 if look.glasses == "round" else 0.21) * np.sign(np.sin(t)) * np.abs(np.sin(t)) ** power
        z = 0.90 - 0.35 * np.clip((centre[0] + x) * side - 0.30, 0, 1) ** 2
        paths.append((np.c_[centre[0] + x, centre[1] - 0.02 + y, z], True))
        outer = np.array([centre[0] + side * 0.27, centre[1] + 0.05, 0.87])
        back = np.array([side * 0.90, centre[1] + 0.06, -0.05])
        paths.append((np.linspace(outer, back, 6), False))
    left = eye_centre(value, 1)
    arc = np.linspace(-1, 1, 8)
    bridge = np.c_[arc * (left[0] - 0.265), left[1] + 0.02 + 0.03 * (1 - arc**2), 0.90 + 0.03 * (1 - arc**2)]
    paths.append((bridge, False))
    vertices, faces = _tubes(paths, 0.022)
    return Prop(vertices, faces, MATERIAL_FRAME, head_weights(len(vertices)), np.zeros((len(vertices), 2)))


def _tubes(paths: list[tuple[Array, bool]], radius: float) -> tuple[Array, IntArray]:
    """Square-ish tubes along paths; the flag says closed."""
    all_vertices: list[Array] = []
    all_faces: list[IntArray] = []
    start, n = 0, 6
    turn = np.arange(n) / n * 2 * np.pi
    for path, closed in paths:
        step = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
        tangent = step / np.linalg.norm(step, axis=1, keepdims=True)
        helper = np.where(np.abs(tangent[:, 2:]) > 0.8, [[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]])
        a = np.cross(tangent, helper)
        a /= np.linalg.norm(a, axis=1, keepdims=True)
        b = np.cross(tangent, a)
        tube = path[:, None] + radius * (
            np.cos(turn)[None, :, None] * a[:, None] + np.sin(turn)[None, :, None] * b[:, None]
        )
        all_vertices.append(tube.reshape(-1, 3))
        for i in range(len(path) if closed else len(path) - 1):
            j = (i + 1) % len(path)
            p, q = start + i * n + np.arange(n), start + j * n + np.arange(n)
            p2, q2 = np.roll(p, -1), np.roll(q, -1)
            all_faces += [np.c_[p, p2, q].astype(np.int32), np.c_[p2, q2, q].astype(np.int32)]
        start += len(path) * n
    return np.concatenate(all_vertices), np.concatenate(all_faces)
