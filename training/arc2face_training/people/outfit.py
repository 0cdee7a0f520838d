"""What a person wears in one moment: clothes and a hat as raised skin, glasses or sunglasses as meshes of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people.columns import MATERIAL_FRAME, MATERIAL_LENS
from arc2face_training.people.glasses import Eyewear
from arc2face_training.people.noise import ramp
from arc2face_training.people.person import Person
from arc2face_training.people.state import State

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
NECKLINES = ((5.42, 5.55, 5.80, 5.88), (4.75, 5.30, 5.78, 5.85), (6.0, 6.05, 6.2, 6.3))
"""Heights on the reference person at azimuths of 0, 45, 100 and 180 degrees: crew, deep, turtleneck."""
HAT_LINE = ((0, 40, 80, 110, 180), (7.92, 7.88, 7.58, 7.46, 7.15))
HAT_ABOVE = 6.9


@dataclass(frozen=True, eq=False)
class Outfit:
    """Mesh and attributes of the dressed person. W fine vertices of the body, then those of the eyewear.

    `cloth` (W,): decimetres inside of clothes or hat, on the reference person; `raised` (W,): how far skin is moved
    out. `faces` (F, 3), `materials` (F,), `static` (V, 11) as in raster.Scene.
    """

    cloth: Float32
    raised: Float32
    eyewear: Eyewear | None
    faces: Int32
    materials: Int32
    static: Float32


def dress(person: Person, state: State) -> Outfit:
    """Dress a person for a moment."""
    cloth = _cloth(person, state)
    hat = person.head.rest[:, 1] > HAT_ABOVE
    raised = (0.035 + 0.03 * ramp(0.1, 0.5, cloth)) * ramp(-0.02, 0.03, cloth)
    raised = np.where(hat, (0.075 + 0.05 * ramp(0.0, 0.4, cloth)) * ramp(-0.015, 0.02, cloth), raised)
    static = person.static.copy()
    static[:, 10] = cloth
    shared = person.shared
    eyewear = person.sunglasses if state.sunglasses else (person.glasses if state.glasses else None)
    if eyewear is None:
        return Outfit(cloth, raised.astype(np.float32), None, shared.drawn, shared.materials, static)
    faces = np.concatenate([shared.drawn, eyewear.frame + len(cloth)])
    materials = [shared.materials, np.full(len(eyewear.frame), MATERIAL_FRAME, np.int32)]
    if state.sunglasses:
        faces = np.concatenate([faces, eyewear.lenses + len(cloth)])
        materials.append(np.full(len(eyewear.lenses), MATERIAL_LENS, np.int32))
    more = np.zeros((len(eyewear.vertices), static.shape[1]), np.float32)
    more[:, 6] = 1
    return Outfit(
        cloth, raised.astype(np.float32), eyewear, np.ascontiguousarray(faces, np.int32), np.concatenate(materials),
        np.concatenate([static, more]),
    )  # fmt: skip


def _azimuth(points: Float32) -> Float32:
    return np.degrees(np.arctan2(np.abs(points[..., 0]), points[..., 2] - 0.1))


def _cloth(person: Person, state: State) -> Float32:
    rest = person.head.rest
    azimuth = _azimuth(rest)
    field = np.interp(azimuth, (0, 45, 100, 180), NECKLINES[state.neckline]) - rest[:, 1]
    if state.hat:
        field = np.maximum(field, np.where(person.shared.ears < 0.2, rest[:, 1] - np.interp(azimuth, *HAT_LINE), -1))
    return np.where(person.shared.body, field, -1).astype(np.float32)


def outside_hat(points: Float32) -> Float32:
    """(n, k) 1 where hair at rest (n, k, 3) is below the rim of a hat, 0 where the hat takes its place.

    Short hair that begins under the hat stays there; long hair comes out again, closer to the head.
    """
    above = points[..., 1] - np.interp(_azimuth(points), *HAT_LINE)
    below = ramp(0.0, -0.10, above)
    ends_low = above[:, -1:] < -0.5
    covered = above[:, :1] > 0
    return np.where(covered, np.where(ends_low, ramp(-0.05, -0.30, above), 0), below).astype(np.float32)
