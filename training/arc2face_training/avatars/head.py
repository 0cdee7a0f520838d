"""The morphable head: a linear model in FLAME's layout, built from code in well under a second.

`HeadModel.flame_arrays()` returns what `generic_model.pkl` holds, with FLAME's names, shapes and units (metres), so
that code written for FLAME reads it: `v_template`, `shapedirs`, `posedirs`, `J_regressor`, `weights`,
`kintree_table`, `f`. Joints are root, neck, jaw, left eye, right eye. Turning the root turns the whole head.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from arc2face_training.avatars import parts
from arc2face_training.avatars.chart import Array, Chart, bump, eye_radius, make_chart, ramp
from arc2face_training.avatars.clay import sculpt
from arc2face_training.avatars.columns import (
    EXPRESSION_COLUMNS,
    EYELID_NAMES,
    IDENTITY_COLUMNS,
    MATERIAL_EYE,
    MATERIAL_SKIN,
    MOUTH_HALF_W,
    MOUTH_V,
    N_EXPRESSION,
    N_IDENTITY,
    UNIT_METRES,
)
from arc2face_training.avatars.landmarks import landmark_vertices

Float32 = NDArray[np.float32]
EYELID_SHAPES = ("eye_size", "eye_open", "eye_tilt")
PARENTS = (-1, 0, 1, 1, 1)


class HeadModel:
    """Template, blendshapes, joints and skinning weights of the avatar head, in units of half a head.

    `template` (V, 3), `identity_dirs` (24, V, 3), `expression_dirs` (18, V, 3), `eyelid_dirs` and `eyelid_bulge`
    (2, V, 3), `weights` (V, 5), `joint_regressor` (5, V), `faces` (F, 3) int32, `materials` (F,), `chart_uv` (V, 2),
    `occlusion` (V,), `landmarks` (68,) vertex numbers. Arrays are float32 unless said otherwise.
    """

    def __init__(self) -> None:
        self.chart: Chart = make_chart()
        self.ball, self.ball_uv, self.ball_faces = parts.ball()
        self.n_skin, self.n_ball = len(self.chart.directions), len(self.ball)
        self._smoother = _smoother(self.chart)
        start = self.n_skin
        self.offsets = {
            name: start + k * self.n_ball for k, name in enumerate(("eye_left", "eye_right", "ear_left", "ear_right"))
        }
        self.offsets["neck"] = start + 4 * self.n_ball
        base = self.build({})
        self.template = base.astype(np.float32)
        self.identity_dirs = self._directions(base, IDENTITY_COLUMNS)
        self.expression_dirs = self._directions(base, EXPRESSION_COLUMNS)
        self.eyelid_dirs = self._directions(base, EYELID_NAMES)
        half = np.stack([self.build({name: 0.5}) - base for name in EYELID_NAMES])
        self.eyelid_bulge = (half - 0.5 * self.eyelid_dirs).astype(np.float32)
        self.eyelid_corrections = np.stack([self._eyelid_correction(name) for name in EYELID_SHAPES])
        self.faces, self.materials = self._faces()
        self.weights = self._weights()
        self.joint_regressor = self._joints()
        self.chart_uv, self.occlusion = self._chart_uv(), self._occlusion()
        self.landmarks = landmark_vertices(self.chart)

    @property
    def n_vertices(self) -> int:
        """Number of vertices of the whole head."""
        return len(self.template)

    def build(self, parameters: dict[str, float]) -> Array:
        """The nonlinear sculpture (V, 3) for named parameters."""

        def value(name: str) -> float:
            return parameters.get(name, 0.0)

        skin = sculpt(self.chart, parameters)
        for _ in range(2):
            skin = self._smoother @ skin
        pieces = [skin]
        pieces += [parts.eyeball(self.ball, value, side) for side in (1, -1)]
        pieces += [parts.ear(self.ball, value, side) for side in (1, -1)]
        return np.concatenate([*pieces, parts.neck(value)])

    def shaped(self, identity: Float32) -> Float32:
        """Vertices (V, 3) of a person at rest, from (24,) identity coefficients."""
        return self.template + np.tensordot(identity.astype(np.float32), self.identity_dirs, axes=1)

    def eyelids_of(self, identity: Float32) -> Float32:
        """(2, V, 3): closing of each lid of a person. Larger eyes need longer lids, so this depends on the shape."""
        share = identity[[IDENTITY_COLUMNS.index(name) for name in EYELID_SHAPES]]
        return self.eyelid_dirs + np.tensordot(share.astype(np.float32), self.eyelid_corrections, axes=1)

    def flame_arrays(self) -> dict[str, NDArray[np.generic]]:
        """The head as the arrays of FLAME's model file; metres, float32, faces and tree uint32."""
        n = self.n_vertices
        shapedirs = np.zeros((n, 3, N_IDENTITY + N_EXPRESSION), np.float32)
        shapedirs[:, :, : len(IDENTITY_COLUMNS)] = self.identity_dirs.transpose(1, 2, 0)
        stop = N_IDENTITY + len(EXPRESSION_COLUMNS)
        shapedirs[:, :, N_IDENTITY:stop] = self.expression_dirs.transpose(1, 2, 0)
        tree = np.array([[2**32 - 1, *PARENTS[1:]], range(5)], np.uint32)
        return {
            "v_template": self.template * np.float32(UNIT_METRES),
            "shapedirs": shapedirs * np.float32(UNIT_METRES),
            "posedirs": np.zeros((n, 3, 36), np.float32),
            "J_regressor": self.joint_regressor,
            "weights": self.weights,
            "kintree_table": tree,
            "f": self.faces.astype(np.uint32),
        }

    def _directions(self, base: Array, names: tuple[str, ...]) -> Float32:
        return np.stack([self.build({name: 1.0}) - base for name in names]).astype(np.float32)

    def _eyelid_correction(self, shape: str) -> Float32:
        open_eyes = self.build({shape: 1.0})
        closed = np.stack([self.build({shape: 1.0, name: 1.0}) - open_eyes for name in EYELID_NAMES])
        return (closed - self.eyelid_dirs).astype(np.float32)

    def _faces(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        groups = [(self.chart.faces, MATERIAL_SKIN)]
        for name in ("eye_left", "eye_right", "ear_left", "ear_right"):
            faces = self.ball_faces[:, ::-1] if name == "ear_right" else self.ball_faces
            groups.append((faces + self.offsets[name], MATERIAL_EYE if "eye" in name else MATERIAL_SKIN))
        groups.append((parts.neck_faces() + self.offsets["neck"], MATERIAL_SKIN))
        materials = np.concatenate([np.full(len(faces), material, np.int32) for faces, material in groups])
        return np.ascontiguousarray(np.concatenate([faces for faces, _ in groups]), np.int32), materials

    def _weights(self) -> Float32:
        weights = np.zeros((self.n_vertices, 5), np.float32)
        weights[:, 1] = 1
        u, v, w = self.chart.directions.T
        reach = np.abs(u)
        soft = (
            0.012 + 0.07 * ramp(MOUTH_HALF_W * 0.45, MOUTH_HALF_W, reach) + 0.55 * np.clip(reach - MOUTH_HALF_W, 0, 1)
        )
        jaw = ramp(-1, 1, (MOUTH_V - v) / soft)
        jaw *= ramp(-0.25, 0.35, w + 0.35 * np.clip(-v - 0.5, 0, 1)) * ramp(0.95, 0.6, reach) * ramp(-0.55, 0.15, w)
        jaw[v > -0.2] = 0
        weights[: self.n_skin, 2], weights[: self.n_skin, 1] = jaw, 1 - jaw
        for joint, name in ((3, "eye_left"), (4, "eye_right")):
            rows = slice(self.offsets[name], self.offsets[name] + self.n_ball)
            weights[rows] = np.eye(5)[joint]
        return weights

    def _joints(self) -> Float32:
        regressor = np.zeros((5, self.n_vertices), np.float32)

        def average(joint: int, start: int, count: int) -> None:
            regressor[joint, start : start + count] = 1 / count

        average(0, self.offsets["neck"] + 5 * parts.NECK_SEGMENTS, parts.NECK_SEGMENTS)
        average(1, self.offsets["neck"] + 2 * parts.NECK_SEGMENTS, parts.NECK_SEGMENTS)
        average(2, self.offsets["ear_left"], 2 * self.n_ball)
        average(3, self.offsets["eye_left"], self.n_ball)
        average(4, self.offsets["eye_right"], self.n_ball)
        return regressor

    def _chart_uv(self) -> Float32:
        u, v, w = self.chart.directions.T
        radius = np.hypot(u, v) + 1e-9
        stretched = np.where(w >= 0, radius, 2 - radius)
        uv = np.tile(np.array([0.0, 1.1]), (self.n_vertices, 1))
        uv[: self.n_skin] = np.c_[u / radius * stretched, v / radius * stretched]
        for name in ("eye_left", "eye_right"):
            uv[self.offsets[name] : self.offsets[name] + self.n_ball] = self.ball_uv
        return uv.astype(np.float32)

    def _occlusion(self) -> Float32:
        """Baked ambient shading: eye sockets, under the nose and lip, under the chin, inside the ears."""
        u, v, w = self.chart.directions.T
        front, value = ramp(0, 0.3, w), np.ones(self.n_vertices)
        skin = 1 - 0.22 * bump(np.abs(u), 0.27, 0.1) * bump(v, 0.06, 0.1) * front
        skin *= 1 - 0.30 * bump(u, 0, 0.13) * bump(v, -0.41, 0.03) * front
        skin *= 1 - 0.16 * bump(u, 0, 0.2) * bump(v, -0.70, 0.03) * front
        skin *= 1 - 0.32 * ramp(-0.25, -0.8, v) * (1 - ramp(0.05, 0.55, w))
        skin[self.chart.mouth_rim], skin[self.chart.eye_rim] = 0.45, 0.6
        value[: self.n_skin] = skin
        depth = np.tile(0.72 + 0.28 * ramp(0.2, 0.8, np.hypot(self.ball[:, 1], self.ball[:, 2])), 2)
        value[self.offsets["ear_left"] : self.offsets["neck"]] = depth
        height = np.repeat(np.linspace(0, 1, parts.NECK_ROWS), parts.NECK_SEGMENTS)
        value[self.offsets["neck"] :] = 0.62 + 0.3 * ramp(0.2, 0.65, height)
        return value.astype(np.float32)


def _smoother(chart: Chart) -> sparse.csr_matrix:
    """One step of Laplacian smoothing that spares the lids, the lips and the nose."""
    f, n = chart.faces, len(chart.directions)
    rows = np.r_[f[:, 0], f[:, 1], f[:, 2], f[:, 1], f[:, 2], f[:, 0]]
    cols = np.r_[f[:, 1], f[:, 2], f[:, 0], f[:, 0], f[:, 1], f[:, 2]]
    near = sparse.coo_matrix((np.ones(len(rows)), (rows, cols)), (n, n)).tocsr()
    near.data[:] = 1
    near = sparse.diags(1 / np.asarray(near.sum(1)).ravel()) @ near
    u, v, w = chart.directions.T
    mouth = np.hypot(u / (MOUTH_HALF_W + 0.02), (v - MOUTH_V) / 0.05)
    strength = 0.5 * ramp(1.2, 1.6, eye_radius(u, v)) * ramp(1.0, 2.2, mouth)
    strength *= 1 - 0.6 * bump(u, 0, 0.15) * bump(v, -0.35, 0.08)
    strength = np.where(w < 0, 0.5, strength)
    return sparse.csr_matrix(sparse.diags(1 - strength) + sparse.diags(strength) @ near)


@functools.cache
def head_model() -> HeadModel:
    """The head, built once per process."""
    return HeadModel()
