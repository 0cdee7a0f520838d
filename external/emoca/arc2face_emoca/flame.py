"""The FLAME head (Li et al. 2017): blendshapes, joints, and linear blend skinning, from codes to vertices.

Units are metres, y points up, z towards the viewer, x to the subject's left (the picture's right when frontal).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arc2face_emoca.errors import IncompatibleAssetError
from arc2face_emoca.pickles import read_plain_pickle

__all__ = ["EXPRESSION_SIZE", "JOINTS", "POSE_SIZE", "SHAPE_SIZE", "FlameGeometry", "FlameLayer", "rotation_matrices"]

SHAPE_SIZE, EXPRESSION_SIZE, POSE_SIZE = 100, 50, 6
JOINTS = ("root", "neck", "jaw", "left eye", "right eye")
_FIRST_EXPRESSION_COLUMN = 300
_PICKLE_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f")
_PREFIX = "deca.flame."
_BUFFERS = ("v_template", "shapedirs", "posedirs", "J_regressor", "parents", "lbs_weights", "faces_tensor")


@dataclass(frozen=True, eq=False)
class FlameGeometry:
    """Everything the head needs, float32 unless stated; V vertices and F faces are whatever the file has.

    `v_template` (V, 3). `shapedirs` (V, 3, 150): 100 shape, then 50 expression directions. `posedirs` (36, 3 V).
    `J_regressor` (5, V). `parents` (5,) int64. `lbs_weights` (V, 5). `flame_faces` (F, 3) int64, FLAME's own order.
    `faces` (F, 3) int64: the order that is drawn (it decides only ties). `landmark_faces` (68,) int64 into
    `flame_faces` and `landmark_weights` (68, 3): the 68 landmarks on the surface, where the source has them.
    """

    v_template: Tensor
    shapedirs: Tensor
    posedirs: Tensor
    J_regressor: Tensor
    parents: Tensor
    lbs_weights: Tensor
    flame_faces: Tensor
    faces: Tensor
    landmark_faces: Tensor | None = None
    landmark_weights: Tensor | None = None

    def __post_init__(self) -> None:
        self._check()

    @classmethod
    def from_pickle(cls, path: Path | str, faces: Tensor | None = None) -> FlameGeometry:
        """Read FLAME's `generic_model.pkl` (or any file of that format) without executing anything in it.

        Args:
            path: the pickle; chumpy and scipy are not needed.
            faces: (F, 3) face order to draw in; the pickle's own `f` when None.

        Raises:
            CorruptAssetError: unreadable, or refused by the restricted reader.
            IncompatibleAssetError: keys are missing, or shapes do not fit together.
        """
        found = read_plain_pickle(path)
        missing = [key for key in _PICKLE_KEYS if key not in found]
        if missing:
            raise IncompatibleAssetError(f"{path} is not a FLAME head: it lacks {', '.join(missing)}.")
        try:
            return cls.from_arrays(found, faces)
        except (ValueError, TypeError, IndexError) as error:
            raise IncompatibleAssetError(f"{path} is not a FLAME head: {error}.") from error

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], faces: Tensor | None = None) -> FlameGeometry:
        """Build from the arrays of `generic_model.pkl` by their names there; see `from_pickle`."""
        basis = np.asarray(arrays["shapedirs"])
        last = _FIRST_EXPRESSION_COLUMN + EXPRESSION_SIZE
        if basis.ndim != 3 or basis.shape[2] < last:
            raise IncompatibleAssetError(f"FLAME's shapedirs must be (V, 3, at least {last}), not {basis.shape}.")
        picked = np.concatenate([basis[..., :SHAPE_SIZE], basis[..., _FIRST_EXPRESSION_COLUMN:last]], axis=2)
        pose_basis = np.asarray(arrays["posedirs"])
        parents = np.asarray(arrays["kintree_table"])[0].astype(np.int64)
        parents[0] = -1  # stored as 2**32 - 1
        own = _integers(arrays["f"])
        return cls(
            v_template=_floats(arrays["v_template"]),
            shapedirs=_floats(picked),
            posedirs=_floats(np.ascontiguousarray(pose_basis.reshape(-1, pose_basis.shape[-1]).T)),
            J_regressor=_floats(arrays["J_regressor"]),
            parents=_integers(parents),
            lbs_weights=_floats(arrays["weights"]),
            flame_faces=own,
            faces=own if faces is None else faces.to(torch.int64),
        )

    @classmethod
    def from_buffers(cls, state: Mapping[str, Tensor], faces: Tensor | None = None) -> FlameGeometry:
        """Build from a checkpoint's `deca.flame.*` entries; the drawn faces are `deca.render.faces`, else `faces`."""
        own = {name: state[_PREFIX + name] for name in _BUFFERS}
        drawn = state.get("deca.render.faces", faces)
        numbers, weights = state.get(_PREFIX + "full_lmk_faces_idx"), state.get(_PREFIX + "full_lmk_bary_coords")
        usable = numbers is not None and weights is not None and numbers.numel() == 68 and weights.numel() == 204
        flame_faces = _integers(own["faces_tensor"])
        return cls(
            v_template=_floats(own["v_template"]),
            shapedirs=_floats(own["shapedirs"]),
            posedirs=_floats(own["posedirs"]),
            J_regressor=_floats(own["J_regressor"]),
            parents=_integers(own["parents"]),
            lbs_weights=_floats(own["lbs_weights"]),
            flame_faces=flame_faces,
            faces=flame_faces if drawn is None else _integers(drawn.reshape(-1, 3)),
            landmark_faces=_integers(numbers.reshape(68)) if usable and numbers is not None else None,
            landmark_weights=_floats(weights.reshape(68, 3)) if usable and weights is not None else None,
        )

    @staticmethod
    def buffers_complete(state: Mapping[str, Any]) -> bool:
        """Whether a checkpoint carries the whole head."""
        return all(_PREFIX + name in state for name in _BUFFERS)

    def to_buffers(self) -> dict[str, Tensor]:
        """The checkpoint entries `from_buffers` reads, for writing a file of that format."""
        entries = {_PREFIX + name: getattr(self, name) for name in _BUFFERS[:-1]}
        entries |= {_PREFIX + "faces_tensor": self.flame_faces, "deca.render.faces": self.faces[None]}
        if self.landmark_faces is not None and self.landmark_weights is not None:
            entries[_PREFIX + "full_lmk_faces_idx"] = self.landmark_faces[None]
            entries[_PREFIX + "full_lmk_bary_coords"] = self.landmark_weights[None]
        return entries

    def to(self, device: torch.device | str) -> FlameGeometry:
        """The same geometry on another device."""
        moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in vars(self).items()}
        return FlameGeometry(**moved)

    def _check(self) -> None:
        vertices = self.v_template.shape[0]
        wanted = {
            "v_template": (vertices, 3),
            "shapedirs": (vertices, 3, SHAPE_SIZE + EXPRESSION_SIZE),
            "posedirs": (9 * (len(JOINTS) - 1), 3 * vertices),
            "J_regressor": (len(JOINTS), vertices),
            "parents": (len(JOINTS),),
            "lbs_weights": (vertices, len(JOINTS)),
        }
        for name, shape in wanted.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise IncompatibleAssetError(f"FLAME's {name} has the shape {found}; {shape} was expected.")
        for name in ("flame_faces", "faces"):
            faces = getattr(self, name)
            fits = faces.ndim == 2 and faces.shape[1] == 3 and len(faces) > 0
            if not fits or int(faces.min()) < 0 or int(faces.max()) >= vertices:
                raise IncompatibleAssetError(f"The {name} do not fit a head of {vertices} vertices.")
        if self.parents.tolist()[0] != -1 or any(not 0 <= p < i for i, p in enumerate(self.parents.tolist()) if i):
            raise IncompatibleAssetError(f"The joint tree {self.parents.tolist()} is not FLAME's.")


def rotation_matrices(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula: (N, 3) axis-angle vectors in radians to (N, 3, 3) rotation matrices.

    1e-8 is added to every component before the angle is taken and the axis is not normalised again, as in the
    implementation the weights were trained with.
    """
    angle = torch.linalg.vector_norm(axis_angle + 1e-8, dim=1, keepdim=True)
    x, y, z = (axis_angle / angle).unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    sine, cosine = torch.sin(angle)[..., None], torch.cos(angle)[..., None]
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + sine * cross + (1 - cosine) * torch.bmm(cross, cross)


class FlameLayer:
    """Codes to vertices. Stateless apart from the geometry, batched, differentiable, CPU or GPU."""

    def __init__(self, geometry: FlameGeometry) -> None:
        self.geometry = geometry
        self._parents = geometry.parents.tolist()

    def shaped(self, shape: Tensor, expression: Tensor) -> Tensor:
        """(B, 100) and (B, 50) coefficients to (B, V, 3) vertices in the rest pose, metres."""
        g = self.geometry
        codes = torch.cat([shape, expression], dim=1).to(g.shapedirs.dtype)
        offsets = torch.einsum("bl,mkl->bmk", codes, g.shapedirs)
        return g.v_template + offsets

    def joints(self, shaped: Tensor) -> Tensor:
        """(B, V, 3) rest-pose vertices to (B, 5, 3) joint positions; expression moves them too."""
        return torch.einsum("bik,ji->bjk", shaped, self.geometry.J_regressor)

    def pose(self, shaped: Tensor, pose: Tensor) -> Tensor:
        """Turn head and jaw: (B, V, 3) rest-pose vertices and a (B, 6) pose to (B, V, 3) vertices.

        `pose`: global rotation, then jaw, each axis-angle in radians. Neck and eyes keep their rest pose.
        """
        g = self.geometry
        batch, pose = shaped.shape[0], pose.to(shaped.dtype)
        still = torch.zeros_like(pose[:, :3])
        full = torch.cat([pose[:, :3], still, pose[:, 3:6], still, still], dim=1)
        turns = rotation_matrices(full.reshape(-1, 3)).view(batch, -1, 3, 3)
        feature = (turns[:, 1:] - torch.eye(3, dtype=turns.dtype, device=turns.device)).reshape(batch, -1)
        posed = shaped + torch.matmul(feature, g.posedirs).view(batch, -1, 3)
        blended = torch.matmul(g.lbs_weights, self._transforms(turns, self.joints(shaped)).view(batch, -1, 16))
        points = torch.cat([posed, torch.ones_like(posed[..., :1])], dim=2)
        return torch.matmul(blended.view(batch, -1, 4, 4), points[..., None])[:, :, :3, 0]

    def _transforms(self, turns: Tensor, joints: Tensor) -> Tensor:
        """Chain the joints: (B, 5, 3, 3) and (B, 5, 3) to (B, 5, 4, 4), relative to the rest pose."""
        offsets = joints.clone()
        offsets[:, 1:] -= joints[:, self._parents[1:]]
        bottom = torch.zeros_like(joints[:, :, None])
        corner = torch.ones_like(joints[:, :, :1, None])
        local = torch.cat([torch.cat([turns, offsets[..., None]], 3), torch.cat([bottom, corner], 3)], 2)
        chain = [local[:, 0]]
        for index, parent in enumerate(self._parents[1:], 1):
            chain.append(torch.matmul(chain[parent], local[:, index]))
        world = torch.stack(chain, dim=1)
        rest = torch.cat([joints, torch.zeros_like(joints[..., :1])], 2)[..., None]
        moved = torch.matmul(world, rest)
        return world - torch.nn.functional.pad(moved, (3, 0))

    def __call__(self, shape: Tensor, expression: Tensor, pose: Tensor) -> Tensor:
        """(B, 100), (B, 50) and (B, 6) codes to (B, V, 3) vertices, metres."""
        return self.pose(self.shaped(shape, expression), pose)


def _floats(values: Any) -> Tensor:
    if not isinstance(values, Tensor):
        values = torch.from_numpy(np.array(values, np.float32))
    return values.to(torch.float32).contiguous()


def _integers(values: Any) -> Tensor:
    if not isinstance(values, Tensor):
        values = torch.from_numpy(np.array(values, np.int64))
    return values.to(torch.int64).contiguous()
