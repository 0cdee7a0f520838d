"""What a pose reading holds, and the angles the pose model is good for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face import checks
from arc2face.errors import PoseError, SettingsError
from arc2face.settings import PITCH_LIMIT, ROLL_LIMIT, TURNTABLE_COUNT_RANGE, TURNTABLE_WIDEST, YAW_LIMIT
from arc2face.types import Float32Array, RgbU8

__all__ = ["PoseReading", "check_angles", "check_jaw", "check_normal_map", "turntable_angles"]

JAW_LIMIT = 30.0
"""Largest jaw opening in degrees."""
ALIGNED_SIZE = 512
WARN_ERROR, FAIL_ERROR = 0.12, 0.35
"""Reprojection errors from which a reconstruction is doubted, and refused. An error of 1 is one face size."""
SMALL_FACE = 48
"""Larger side in pixels of the landmarks' box below which a face is called very small."""
MIN_COVERAGE = 0.02
"""Share of the picture that a sound reconstruction covers at least."""
Landmarks = NDArray[np.floating[Any]]
"""(68, 2) x, y in pixels, in the order of the 68-point (iBUG) scheme."""


@dataclass(frozen=True, slots=True, eq=False)
class PoseReading:
    """What was read off a reference photo.

    `aligned_rgb_u8`: (512, 512, 3) the aligned reference. `normal_map`: (512, 512, 3) uint8, background 127.
    `yaw`, `pitch`, `roll`: degrees; positive yaw turns to the picture's right, positive pitch looks down, positive
    roll tilts the top of the head to the picture's left. `reprojection_error`: mean distance of eyes, nose and mouth
    corners of the drawn head from the detected ones, over the size of the detected face; about 0.05 is good.
    `warnings`: sentences for the user, empty when all is well. `shape` (100,) of the source, `expression` (50,) and
    `pose` (6,) radians of the reference, float32.
    """

    aligned_rgb_u8: RgbU8
    normal_map: RgbU8
    yaw: float
    pitch: float
    roll: float
    reprojection_error: float
    warnings: tuple[str, ...]
    shape: Float32Array
    expression: Float32Array
    pose: Float32Array


def check_angles(yaw: float, pitch: float, roll: float) -> tuple[float, float, float]:
    """Angles in degrees as floats, refused (never clamped) outside what the ControlNet was trained for.

    Raises:
        PoseError: an angle is not a finite number, or lies outside +-YAW_LIMIT, +-PITCH_LIMIT or +-ROLL_LIMIT.
    """
    return (
        _degrees("The turn (yaw) in degrees", yaw, (-YAW_LIMIT, YAW_LIMIT)),
        _degrees("The nod (pitch) in degrees", pitch, (-PITCH_LIMIT, PITCH_LIMIT)),
        _degrees("The tilt (roll) in degrees", roll, (-ROLL_LIMIT, ROLL_LIMIT)),
    )


def check_jaw(jaw: float) -> float:
    """A jaw opening in degrees as a float. Raises PoseError unless it is a number from 0 to JAW_LIMIT."""
    return _degrees("The jaw opening in degrees", jaw, (0.0, JAW_LIMIT))


def _degrees(name: str, value: object, limits: tuple[float, float]) -> float:
    try:
        return checks.number(name, value, limits)
    except SettingsError as error:
        raise PoseError(str(error)) from error


def check_normal_map(rgb_u8: RgbU8) -> None:
    """Refuse a picture that is plainly not a normal map, such as a photo taken for one.

    Args:
        rgb_u8: (H, W, 3) uint8. Compression and scaling are tolerated.

    Raises:
        PoseError: no grey (127) background and head in it, or colours that are not directions of a surface.
    """
    normals = rgb_u8.astype(np.float32) / 127.5 - 1
    head = np.abs(normals).max(axis=2) > 0.08
    if float(head.mean()) < MIN_COVERAGE / 4:  # uploaded heads may be small
        raise PoseError("The normal map shows no head. Upload one saved from the Pose tab, or use the sliders.")
    lengths = np.linalg.norm(normals[head], axis=1)
    unit = float(((lengths > 0.75) & (lengths < 1.2)).mean())
    if unit < 0.8 or float((normals[head][:, 2] > 0).mean()) < 0.6:
        raise PoseError(
            "This picture is not a normal map: its colours are not directions of a surface. Upload one saved from "
            "the Pose tab, or give the photo as the reference photo."
        )


def turntable_angles(
    n: int, yaw: float = TURNTABLE_WIDEST, pitch: float = 0.0
) -> tuple[tuple[float, float, float], ...]:
    """Evenly spaced poses from the picture's left to its right.

    Args:
        n: how many, 1 to 64; one alone is frontal.
        yaw: the outermost angle in degrees, within YAW_LIMIT.
        pitch: degrees, the same for all, within PITCH_LIMIT.

    Returns:
        n tuples (yaw, pitch, roll) for `PoseReader.from_angles`.

    Raises:
        SettingsError: n is outside its range.
        PoseError: an angle is.
    """
    n = checks.whole("The number of angles", n, TURNTABLE_COUNT_RANGE)
    steps = [0.0] if n == 1 else [2.0 * k / (n - 1) - 1.0 for k in range(n)]
    yaw, pitch, roll = check_angles(yaw, pitch, 0.0)
    return tuple((yaw * step, pitch, roll) for step in steps)
