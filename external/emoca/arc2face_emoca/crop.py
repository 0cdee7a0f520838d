"""The 224 x 224 crop the encoders see, and the transform that leads back to the picture."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arc2face_emoca.errors import UsageError

__all__ = ["CROP_SIZE", "Crop", "crop_box", "preprocess", "warp_crop"]

CROP_SIZE = 224
_LANDMARK_MARGIN, _SCALE = 1.1, 1.25


class Crop(NamedTuple):
    """`image`: (3, 224, 224) float32 RGB in 0..1. `tform`: (3, 3) float32, picture pixels to crop pixels."""

    image: NDArray[np.float32]
    tform: NDArray[np.float32]


def preprocess(image: NDArray[np.uint8], landmarks: Any = None, boxes: Any = None) -> Crop:
    """Cut the face out the way EMOCA's encoders were trained.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) pixel positions (x, y), or (n, 68, 2) for several faces. None takes `boxes`.
        boxes: (4,) or (n, 4): left, top, right, bottom around the landmarks. None together with no landmarks takes
            the whole picture, height and width swapped, as the original does when it finds no face.

    Returns:
        The crop and its transform; of several faces the largest box counts, the last one on ties.

    Raises:
        UsageError: wrong shapes, or a box without extent.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UsageError(f"A picture must be (height, width, 3) uint8, not {image.shape} {image.dtype}.")
    transform = _transform(*crop_box(image.shape[0], image.shape[1], landmarks, boxes))
    return Crop(warp_crop(image, transform), transform.astype(np.float32))


def crop_box(height: int, width: int, landmarks: Any = None, boxes: Any = None) -> tuple[float, float, int]:
    """Centre x, centre y and side in pixels of the square to cut out; arguments as for `preprocess`."""
    if landmarks is not None:
        points = np.asarray(landmarks)
        if points.shape[-2:] != (68, 2) or points.ndim > 3 or not np.isfinite(points).all():
            raise UsageError(f"Landmarks must be 68 finite points (x, y), not an array of shape {points.shape}.")
        points = points.reshape(-1, 68, 2)
        boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    elif boxes is None:
        boxes = np.array([0, 0, height - 1, width - 1])
    many = np.asarray(boxes).reshape(-1, 4)
    if len(many) == 0 or not np.isfinite(many).all():
        raise UsageError("There is no face box to cut out.")
    areas = (many[:, 2] - many[:, 0]) * (many[:, 3] - many[:, 1])
    left, top, right, bottom = many[len(areas) - 1 - int(np.argmax(areas[::-1]))]
    wide, high = float(right - left), float(bottom - top)
    size = int((wide + high) / 2 * _LANDMARK_MARGIN * _SCALE)
    if wide <= 0 or high <= 0 or size < 1:
        raise UsageError("The face box has no extent.")
    return float(right) - wide / 2, float(bottom) - high / 2, size


def _transform(x: float, y: float, size: int) -> NDArray[np.float64]:
    scale = (CROP_SIZE - 1) / size  # corner centres map to corner centres: 223, although the way back uses 224
    return np.array([[scale, 0, -scale * (x - size / 2)], [0, scale, -scale * (y - size / 2)], [0, 0, 1]])


def warp_crop(image: NDArray[np.uint8], transform: NDArray[np.float64]) -> NDArray[np.float32]:
    """Sample the picture bilinearly at the crop's pixel centres; outside it counts as 0. (3, 224, 224) float32."""
    height, width = image.shape[:2]
    back = np.linalg.inv(transform)
    index = np.arange(CROP_SIZE, dtype=np.float64)
    columns, rows = back[0, 0] * index + back[0, 2], back[1, 1] * index + back[1, 2]
    source = image / 255.0

    def sample(row: NDArray[np.float64], column: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = ((row >= 0) & (row < height))[:, None] & ((column >= 0) & (column < width))[None, :]
        r = np.clip(row, 0, height - 1).astype(np.intp)
        c = np.clip(column, 0, width - 1).astype(np.intp)
        return source[r[:, None], c[None, :]] * inside[..., None]

    r0, c0, r1, c1 = np.floor(rows), np.floor(columns), np.ceil(rows), np.ceil(columns)
    dr, dc = (rows - r0)[:, None, None], (columns - c0)[None, :, None]
    top = (1 - dc) * sample(r0, c0) + dc * sample(r0, c1)
    bottom = (1 - dc) * sample(r1, c0) + dc * sample(r1, c1)
    value = (1 - dr) * top + dr * bottom
    return np.ascontiguousarray(value.transpose(2, 0, 1), dtype=np.float32)
