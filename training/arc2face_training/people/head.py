"""The morphable head in FLAME's layout, and everything of it that all people share.

`HeadModel.flame_arrays()` returns what `generic_model.pkl` holds, with FLAME's names, shapes and units (metres).
Joints are root, neck, jaw, left eye, right eye; turning the root turns the whole head. The jaw turns about the joint
that ARKit's jawOpen turns about, and `posedirs` hold what rotation alone misses of that shape.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people.assets import PARTS, Assets, cache_folder, load_assets, save_npz
from arc2face_training.people.columns import (
    EXPRESSION_COLUMNS,
    EYELID_NAMES,
    FLAME_ORIGIN,
    N_CODES,
    N_EXPRESSION,
    N_IDENTITY,
    UNIT_METRES,
)
from arc2face_training.people.genes import Genes, sample_genes

Float32 = NDArray[np.float32]
PARENTS = (-1, 0, 1, 1, 1)
JAW_OPEN = 0.36131
"""Radians that the jaw turns in ARKit's jawOpen at 1."""
JAW_JOINT = (0.0, 6.8422, 0.6608)
LOOK_ANGLES = {"Down": 0.1984, "Up": 0.1715, "In": 0.2678, "Out": 0.2606}
"""Radians that the eye turns in ARKit's eyeLook shapes at 1."""
NECK_CUT = 5.8
SAMPLES = 1600
MODEL_VERSION = 4
"""Of the cached components: raise it with every change of genes.py or of the head's parts."""


@dataclass(frozen=True, eq=False)
class HeadModel:
    """Fine mesh (W vertices) of everybody, and the FLAME head, which is the first vertices of the fine mesh's skin.

    `rest` (W, 3): the reference person. `expression_dirs` (38, W, 3), `lid_dirs` (2, W, 3), `gaze_dirs` (8, W, 3: left
    down, up, in, out, right the same), `jaw_dirs` (W, 3): what is added per sine of the jaw angle before it turns.
    `weights` (W, 5): root, neck, jaw, eyes; what is missing to 1 stays with the trunk. `triangles` (F, 3) and
    `parts` (F,).
    `flame_vertices` (N,): fine vertices that make the FLAME head. `mean` (N, 3) and `identity_dirs` (300, N, 3): mean
    and components of the FLAME head, in decimetres per standard deviation.
    """

    assets: Assets
    rest: Float32
    expression_dirs: Float32
    lid_dirs: Float32
    gaze_dirs: Float32
    jaw_dirs: Float32
    weights: Float32
    triangles: NDArray[np.int32]
    parts: NDArray[np.int32]
    flame_vertices: NDArray[np.int64]
    flame_faces: NDArray[np.int32]
    regressor: Float32
    mean: Float32
    identity_dirs: Float32
    identity_scale: Float32

    @property
    def n_vertices(self) -> int:
        """Number of vertices of the FLAME head."""
        return len(self.flame_vertices)

    def shaped(self, genes: Genes) -> Float32:
        """Fine vertices (W, 3) of a person at rest; eyes' midpoint and size of the head are everybody's."""
        return self.normalised(self.assets.fine.matrix @ (self.assets.vertices + self.assets.offsets(genes.weights())))

    def normalised(self, fine: Float32) -> Float32:
        """Move the midpoint of the eyes and scale the head to the reference person's."""
        skull = self.weights[:, :2].sum(1) > 0.95
        size = np.sqrt(((fine[skull] - fine[skull].mean(0)) ** 2).sum(1).mean())
        wanted = np.sqrt(((self.rest[skull] - self.rest[skull].mean(0)) ** 2).sum(1).mean())
        eyes = self.regressor[3:] @ fine[self.flame_vertices]
        target = (self.regressor[3:] @ self.rest[self.flame_vertices]).mean(0)
        return ((fine - eyes.mean(0)) * (wanted / size) + target).astype(np.float32)

    def codes(self, fine: Float32) -> Float32:
        """Identity coefficients (300,) float32, about normally distributed, of a person's fine vertices at rest."""
        offset = (fine[self.flame_vertices] - self.mean).ravel()
        return (self.identity_dirs.reshape(N_IDENTITY, -1) @ offset / self.identity_scale**2).astype(np.float32)

    def decoded(self, codes: Float32) -> Float32:
        """The FLAME head (N, 3) at rest from the coefficients that the product reads."""
        return self.mean + np.tensordot(codes[:N_CODES], self.identity_dirs[:N_CODES], axes=1)

    def flame_arrays(self) -> dict[str, NDArray[np.generic]]:
        """The head as the arrays of FLAME's model file; metres, float32, faces and tree uint32."""
        n, at = self.n_vertices, self.flame_vertices
        shapedirs = np.zeros((n, 3, N_IDENTITY + N_EXPRESSION), np.float32)
        shapedirs[:, :, :N_IDENTITY] = self.identity_dirs.transpose(1, 2, 0)
        stop = N_IDENTITY + len(EXPRESSION_COLUMNS)
        shapedirs[:, :, N_IDENTITY:stop] = self.expression_dirs[:, at].transpose(1, 2, 0)
        posedirs = np.zeros((n, 3, 36), np.float32)
        posedirs[:, :, 9 + 7] = self.jaw_dirs[at]  # the entry of the jaw's rotation matrix that is the sine
        return {
            "v_template": (self.mean - np.array(FLAME_ORIGIN, np.float32)) * np.float32(UNIT_METRES),
            "shapedirs": shapedirs * np.float32(UNIT_METRES),
            "posedirs": posedirs * np.float32(UNIT_METRES),
            "J_regressor": self.regressor,
            "weights": self.flame_weights(),
            "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(5)], np.uint32),
            "f": self.flame_faces.astype(np.uint32),
        }

    def flame_weights(self) -> Float32:
        """(N, 5): as `weights`, but the whole neck goes with the head, since FLAME has no trunk."""
        weights = self.weights[self.flame_vertices].copy()
        weights[:, 1] += 1 - weights.sum(1)
        return weights


def _build(assets: Assets) -> dict[str, NDArray[np.generic]]:
    fine = assets.fine.matrix

    def direction(name: str) -> Float32:
        return np.asarray(fine @ assets.target(f"arkit/{name}"), np.float32)

    rest = np.asarray(fine @ assets.vertices, np.float32)
    parts = np.repeat(assets.parts[assets.fine.parents], 2)
    triangles = assets.fine.triangles
    eye = [np.unique(triangles[parts == PARTS[name]]) for name in ("helper-l-eye", "helper-r-eye")]
    gaze = np.stack([direction(f"eyeLook{way}{side}") for side in ("Left", "Right") for way in LOOK_ANGLES])
    for k, way in enumerate([*LOOK_ANGLES.values()] * 2):
        gaze[k] /= way
    for own in eye:
        gaze[:, own] = 0  # the balls turn as joints
    weights, jaw_dirs = _jaw(rest, direction("jawOpen"))
    head = np.asarray(fine @ (assets.bones["head"] + 0.75 * assets.bones["neck03"] + 0.5 * assets.bones["neck02"]
                              + 0.25 * assets.bones["neck01"]), np.float32)  # fmt: skip
    out = np.zeros((len(rest), 5), np.float32)
    out[:, 2] = weights
    out[:, 1] = np.clip(head - weights, 0, 1)
    for joint, own in ((3, eye[0]), (4, eye[1])):
        out[own] = np.eye(5)[joint]
    return {
        "rest": rest, "triangles": triangles, "parts": parts, "weights": out, "jaw_dirs": jaw_dirs,
        "expression_dirs": np.stack([direction(name) for name in EXPRESSION_COLUMNS]),
        "lid_dirs": np.stack([direction(name) for name in EYELID_NAMES]), "gaze_dirs": gaze,
    }  # fmt: skip


def _jaw(rest: Float32, opened: Float32) -> tuple[Float32, Float32]:
    """Weights (W,) of the jaw joint and corrections (W, 3) that reproduce ARKit's jawOpen at JAW_OPEN."""
    joint = np.array(JAW_JOINT)
    c, s = np.cos(JAW_OPEN), np.sin(JAW_OPEN)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    full = (rest - joint) @ (turn - np.eye(3)).T
    weights = np.clip((opened * full).sum(1) / np.maximum((full**2).sum(1), 1e-6), 0, 1)
    blended = (1 - weights)[:, None, None] * np.eye(3) + weights[:, None, None] * turn
    wanted = rest + opened - joint
    before = np.linalg.solve(blended, wanted[:, :, None])[:, :, 0] + joint
    correction = (before - rest) / s
    correction[(opened == 0).all(1)] = 0
    return weights.astype(np.float32), correction.astype(np.float32)


def _flame_part(
    rest: Float32, triangles: NDArray[np.int32], parts: NDArray[np.int32], assets: Assets
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Cage quads of head skin and eyes as triangles over the fine mesh's first vertices."""
    skin = (assets.parts == PARTS["body"]) & (rest[assets.quads][:, :, 1].min(1) > NECK_CUT)
    chosen = assets.quads[skin | np.isin(assets.parts, (1, 2))]
    vertices, quads = np.unique(chosen, return_inverse=True)
    quads = quads.reshape(-1, 4)
    faces = np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], 1).reshape(-1, 3)
    return vertices, np.ascontiguousarray(faces, np.int32)


def _regressor(rest: Float32, vertices: NDArray[np.int64], assets: Assets) -> Float32:
    """(5, N): root and neck from the ring of the neck, jaw from the skin before the ears, eyes from the balls."""
    at = rest[vertices]
    out = np.zeros((5, len(vertices)), np.float32)
    for joint, name in ((3, "helper-l-eye"), (4, "helper-r-eye")):
        out[joint] = np.isin(vertices, assets.part_vertices(name))
    root = assets.joints[1] * 0.45 + assets.joints[0] * 0.55
    for joint, centre in ((0, root), (1, root), (2, np.array(JAW_JOINT))):
        out[joint] = _average_to(at, centre, joint == 2)
    return out / out.sum(1, keepdims=True)


def _average_to(points: Float32, centre: Float32, sides: bool) -> Float32:
    """Non-negative weights of nearby vertices, equal left and right, whose mean is `centre`."""
    from scipy.optimize import nnls

    reach = np.abs(points[:, 1] - centre[1]) < 0.35
    reach &= np.abs(points[:, 2] - centre[2]) < (0.35 if sides else 0.9)
    index = np.flatnonzero(reach)
    system = np.concatenate([points[index].T, 30 * np.ones((1, len(index)))])
    smooth = 0.05 * np.eye(len(index))
    weights, _ = nnls(np.concatenate([system, smooth]), np.concatenate([centre, [30], np.zeros(len(index))]))
    out = np.zeros(len(points), np.float32)
    out[index] = weights
    return out


def _components(model: HeadModel, samples: int) -> tuple[Float32, Float32, Float32]:
    """Mean (N, 3), components (300, N, 3) scaled to one standard deviation, and their norms (300,)."""
    rng = np.random.default_rng(77)
    rows = [model.shaped(sample_genes(rng, model.assets))[model.flame_vertices].ravel() for _ in range(samples)]
    data = np.stack(rows).astype(np.float32)
    mean = data.mean(0)
    data -= mean
    values, vectors = np.linalg.eigh((data @ data.T).astype(np.float64) / samples)
    order = np.argsort(values)[::-1][:N_IDENTITY]
    scale = np.sqrt(np.maximum(values[order], 1e-9))
    directions = (vectors[:, order].T @ data) / np.sqrt(samples)
    return mean.reshape(-1, 3), directions.reshape(N_IDENTITY, -1, 3).astype(np.float32), scale.astype(np.float32)


@functools.cache
def head_model() -> HeadModel:
    """The head, built once per installation (its components take some seconds) and cached beside the assets."""
    assets = load_assets()
    shared = _build(assets)
    vertices, faces = _flame_part(shared["rest"], shared["triangles"], shared["parts"], assets)
    regressor = _regressor(shared["rest"], vertices, assets)
    empty = np.zeros((N_IDENTITY, len(vertices), 3), np.float32)
    first = HeadModel(assets=assets, flame_vertices=vertices, flame_faces=faces, regressor=regressor,
                      mean=shared["rest"][vertices], identity_dirs=empty,
                      identity_scale=np.ones(N_IDENTITY, np.float32), **shared)  # fmt: skip
    samples = int(os.environ.get("PEOPLE_SAMPLES", SAMPLES))
    path = cache_folder() / f"head-{MODEL_VERSION}-{samples}.npz"
    if not path.exists():
        mean, directions, scale = _components(first, samples)
        save_npz(path, {"mean": mean, "identity_dirs": directions.astype(np.float16), "identity_scale": scale})
    with np.load(path, allow_pickle=False) as found:
        cached = {name: found[name].astype(np.float32) for name in found.files}
    return HeadModel(**{**vars(first), **cached})
