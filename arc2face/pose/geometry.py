"""Angles, five face points on any FLAME-format head, and the frame of a typical aligned photo.

Axes are FLAME's: x to the subject's left (the picture's right), y up, z towards the viewer. Angles are degrees; the
rotation is Rz(roll) Ry(yaw) Rx(pitch). Positive yaw turns the face to the picture's right, positive pitch looks
down, positive roll tilts the top of the head to the picture's left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from arc2face_emoca import FlameGeometry

__all__ = ["FacePoints", "angles_of", "axis_angle", "five_points", "framing"]

_POINTS = 5
_MOUTH_BELOW_EYES = 1.05
"""Eye line to mouth line over the distance between the eyes, for heads whose jaw weights do not show the mouth."""


def axis_angle(yaw: float, pitch: float, roll: float) -> NDArray[np.float32]:
    """(3,) axis-angle vector in radians of the rotation by these angles in degrees."""
    y, x, z = (math.radians(angle) / 2 for angle in (yaw, pitch, roll))
    cx, sx, cy, sy, cz, sz = math.cos(x), math.sin(x), math.cos(y), math.sin(y), math.cos(z), math.sin(z)
    real = cz * cy * cx + sz * sy * sx
    vector = np.array([cz * cy * sx - sz * sy * cx, cz * sy * cx + sz * cy * sx, sz * cy * cx - cz * sy * sx])
    sine = float(np.linalg.norm(vector))
    if sine < 1e-12:
        return np.zeros(3, np.float32)
    return (vector / sine * 2 * math.atan2(sine, real)).astype(np.float32)


def angles_of(rotation: NDArray[np.floating]) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of a (3, 3) rotation matrix; yaw lies in -90..90."""
    yaw = math.asin(min(1.0, max(-1.0, -float(rotation[2, 0]))))
    pitch = math.atan2(float(rotation[2, 1]), float(rotation[2, 2]))
    roll = math.atan2(float(rotation[1, 0]), float(rotation[0, 0]))
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)


def five_points(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """(68, 2) landmarks to (5, 2): eye at the picture's left, eye at its right, nose tip, mouth corners likewise."""
    points = np.asarray(landmarks, np.float64)
    return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


@dataclass(frozen=True, eq=False)
class FacePoints:
    """The same five points on a head, as weighted vertices: `numbers` (5, K) int64, `weights` (5, K) float32.

    Where the head carries FLAME's 68 landmarks they are taken from those. Otherwise they are found on the template:
    the front of the skin or eyeball before each eye joint, the foremost point between them and the mouth, and the
    two mouth corners on the line where the jaw's skinning weights begin.
    """

    numbers: Tensor
    weights: Tensor

    @classmethod
    def of(cls, geometry: FlameGeometry) -> FacePoints:
        """Find the points of a head."""
        if geometry.landmark_faces is not None and geometry.landmark_weights is not None:
            return cls._from_landmarks(geometry, geometry.landmark_faces, geometry.landmark_weights)
        numbers = torch.tensor(_search(geometry), device=geometry.v_template.device)[:, None]
        return cls(numbers, torch.ones_like(numbers, dtype=torch.float32))

    @classmethod
    def _from_landmarks(cls, geometry: FlameGeometry, faces: Tensor, weights: Tensor) -> FacePoints:
        groups = (range(36, 42), range(42, 48), [30] * 6, [48] * 6, [54] * 6)
        corners = geometry.flame_faces[faces]
        numbers = torch.stack([corners[list(group)].reshape(-1) for group in groups])
        return cls(numbers, torch.stack([weights[list(group)].reshape(-1) for group in groups]) / 6)

    def on(self, verts: Tensor) -> NDArray[np.float64]:
        """(V, C) vertices to (5, C) points."""
        values = (verts[self.numbers] * self.weights[..., None]).sum(dim=1)
        return values.double().cpu().numpy()


def _search(geometry: FlameGeometry) -> list[int]:
    verts = geometry.v_template.double().cpu().numpy()
    joints = geometry.J_regressor.double().cpu().numpy() @ verts
    right, left = sorted(joints[3:5], key=lambda joint: float(joint[0]))
    middle, apart = (left + right) / 2, max(float(np.linalg.norm(left - right)), 1e-6)
    mouth_y = _mouth_line(geometry, verts, middle, apart)

    def foremost(x: float, y: float, reach: float) -> int:
        distance = np.hypot(verts[:, 0] - x, verts[:, 1] - y)
        near = np.flatnonzero(distance <= max(reach * apart, float(distance.min()) + 1e-9))
        return int(near[np.argmax(verts[near, 2])])

    half = 0.4 * apart
    nose = foremost(float(middle[0]), float(middle[1] + mouth_y) / 2, 0.3)
    eyes = [foremost(float(eye[0]), float(eye[1]), 0.15) for eye in (right, left)]
    mouth = [foremost(float(middle[0]) + side * half, mouth_y, 0.08) for side in (-1, 1)]
    return [*eyes, nose, *mouth]


def _mouth_line(
    geometry: FlameGeometry, verts: NDArray[np.float64], middle: NDArray[np.float64], apart: float
) -> float:
    """Height at which the front of the face starts to follow the jaw."""
    usual = float(middle[1]) - _MOUTH_BELOW_EYES * apart
    strip = (np.abs(verts[:, 0] - middle[0]) < 0.2 * apart) & (verts[:, 2] > middle[2])
    strip &= np.abs(verts[:, 1] - usual) < 0.5 * apart
    numbers = np.flatnonzero(strip)
    numbers = numbers[np.argsort(verts[numbers, 1])]
    follows = geometry.lbs_weights[:, 2].cpu().numpy()[numbers] > 0.5
    if not follows.any() or follows.all():
        return usual
    # agreement of "all below follow, none above does" for a cut after each vertex
    right = np.cumsum(follows) + np.cumsum(~follows[::-1])[::-1] - ~follows
    cut = int(np.argmax(right))
    return float(verts[numbers[cut], 1])


def framing(points: NDArray[np.float64]) -> tuple[float, float, float]:
    """Centre x, y and side of the square an aligned photo would show.

    Args:
        points: (5, 2) face points in any unit, y up or down.

    Returns:
        Centre and side in that unit, by the FFHQ rule without its rotation, so that a tilted head stays tilted.
    """
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    down = mouth - eyes
    half = max(2.0 * float(np.hypot(*(points[1] - points[0]))), 1.8 * float(np.hypot(*down)))
    centre = eyes + 0.1 * down
    return float(centre[0]), float(centre[1]), 2.0 * half
