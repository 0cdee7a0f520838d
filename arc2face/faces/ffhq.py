"""Geometry of the FFHQ alignment: landmarks to the square around the head, and the exact way back.

Source: Karras et al., "A Style-Based Generator Architecture for GANs" (dataset preparation). Pixel coordinates have
integer values at pixel centres, as landmark detectors give them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arc2face.errors import InputError

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class AlignmentQuad:
    """The square of the picture that becomes the aligned face.

    `corners`: (4, 2) float64 pixels: upper left, lower left, lower right, upper right *of the face*.
    `size`: side length in pixels.
    """

    corners: Float64Array
    size: float

    def shrink(self, output_size: int) -> int:
        """Factor by which the alignment scales the picture down first; 1 or less means not at all."""
        return int(np.floor(self.size / output_size * 0.5))


def check_landmarks(landmarks: ArrayLike) -> NDArray[np.floating[Any]]:
    """(68, 2) landmarks as a floating point array, or InputError."""
    points = np.asarray(landmarks)
    if points.dtype.kind != "f":
        points = points.astype(np.float64)
    if points.shape != (68, 2):
        raise InputError(f"Face alignment needs 68 landmarks of shape (68, 2), not {points.shape}.")
    if not np.isfinite(points).all():
        raise InputError("The face landmarks hold NaN or infinite numbers; detect the face again.")
    return points


def alignment_quad(landmarks: ArrayLike) -> AlignmentQuad:
    """The square that the FFHQ alignment cuts out.

    Args:
        landmarks: (68, 2) x, y in pixels, in the order of the 68-point (iBUG) scheme.

    Raises:
        InputError: wrong shape, NaN, or points that all coincide.
    """
    points = check_landmarks(landmarks)
    eye_left, eye_right = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    eyes, mouth = (eye_left + eye_right) * 0.5, (points[48] + points[54]) * 0.5
    eye_to_eye, eye_to_mouth = eye_right - eye_left, mouth - eyes
    axis = eye_to_eye - _rotate90(eye_to_mouth)
    length = float(np.hypot(*axis))
    reach = max(float(np.hypot(*eye_to_eye)) * 2.0, float(np.hypot(*eye_to_mouth)) * 1.8)
    if length < 1e-6 or reach < 1e-6:
        raise InputError("The face landmarks coincide in one point; detect the face again.")
    right = axis / length * reach
    down = _rotate90(right)
    centre = eyes + eye_to_mouth * 0.1
    corners = np.stack([centre - right - down, centre - right + down, centre + right + down, centre + right - down])
    return AlignmentQuad(corners.astype(np.float64), 2.0 * float(np.hypot(*right)))


def aligned_from_picture(landmarks: ArrayLike, picture_size: tuple[int, int], output_size: int = 512) -> Float64Array:
    """Affine map (2, 3) float64 from pixels of a picture to pixels of its aligned face.

    It includes the rounding of the alignment's own down-scaling, so that what was aligned goes back to where it came
    from. `picture_size`: width, height. Both sides count pixel centres as integers.
    """
    quad = alignment_quad(landmarks)
    shrink = quad.shrink(output_size)
    scale = np.ones(2)
    corners = quad.corners
    if shrink > 1:
        scale = np.rint(np.asarray(picture_size, np.float64) / shrink) / np.asarray(picture_size, np.float64)
        corners = corners / shrink
    origin = corners[0] + 0.5  # the alignment samples at quad + 0.5 in corner-based coordinates
    basis = np.stack([corners[3] - corners[0], corners[1] - corners[0]], axis=1) / output_size
    inverse = np.linalg.inv(basis)
    # aligned + 0.5 = inverse @ ((picture + 0.5) * scale - origin)
    linear = inverse * scale[None, :]
    offset = inverse @ (0.5 * scale - origin) - 0.5
    return np.concatenate([linear, offset[:, None]], axis=1).astype(np.float64)


def transform_points(matrix: ArrayLike, points: ArrayLike) -> Float64Array:
    """Apply an affine (2, 3) map to (n, 2) points."""
    affine = np.asarray(matrix, np.float64)
    return np.asarray(points, np.float64) @ affine[:, :2].T + affine[:, 2]


def invert_affine(matrix: ArrayLike) -> Float64Array:
    """Inverse of an affine (2, 3) map."""
    affine = np.asarray(matrix, np.float64)
    linear = np.linalg.inv(affine[:, :2])
    return np.concatenate([linear, -(linear @ affine[:, 2:])], axis=1).astype(np.float64)


def _rotate90(vector: NDArray[np.floating[Any]]) -> Float64Array:
    return np.array([-vector[1], vector[0]], np.float64)
