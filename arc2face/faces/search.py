"""Where to look for faces in a picture, and which of the boxes found to believe.

The detector finds faces of a middling size, upright. So a picture is shown to it at several sizes and on a wider
canvas until it finds something, and small faces are looked at again from close by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arc2face.faces.face import Face

DETECTION_LADDER: tuple[tuple[float, int], ...] = (
    (1.0, 640),
    (1.0, 480),
    (1.0, 320),
    (1.0, 256),
    (1.6, 480),
    (1.6, 256),
    (2.6, 480),
)
"""(canvas side / picture side, detector input in pixels), tried in order until a face is found.

A face that fills the picture is too large for the detector's anchors at 640; smaller inputs and a wider black canvas
make it fit. The first rung is what the original demos use.
"""
TURNED_LADDER: tuple[tuple[float, int], ...] = ((1.0, 640), (1.0, 320), (1.6, 480))
"""What is tried on each quarter turn of a picture without a face."""
INPUT_SIDE = 640
"""Side in pixels to which the first rung scales a picture."""
CANVAS_PICTURE = 1280
"""Longest side in pixels of a picture that is laid on a canvas; larger ones are scaled down for the search."""
MAX_SHARED = 0.6
"""Share of the smaller box that may lie inside another face's box."""
MAX_ASPECT = 16.0
"""Beyond this ratio of sides the short side is padded, so that scaling down leaves it some pixels."""
MAX_FACES = 8
"""Most faces offered of one picture."""
LEAST_SCORE = 0.65
"""Boxes whose score is less than this share of the best score are not believed."""
LEAST_AREA = 0.25
"""Boxes of less than this share of the largest box's area are not offered."""
CLOSER_BELOW = 48.0
"""Faces that the detector saw smaller than this, in its own pixels, are looked at again. Measured on portraits pasted
into larger pictures: similarity with the portrait 0.88 -> 0.92 at 39 pixels, 0.51 -> 0.92 at 29, but 0.94 -> 0.93 at
125, because a close view is not what the detector was trained on."""
CLOSER_SIDE = 2.0
"""Side of the second look's crop, in sides of the box."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """A picture, perhaps scaled down and laid on black: pixel p lies at p * scale + (left, top)."""

    bgr_u8: NDArray[np.uint8]
    left: int = 0
    top: int = 0
    scale: float = 1.0


def rungs(ladder: Sequence[tuple[float, int]], fixed: tuple[int, int] | None) -> Iterator[tuple[float, int]]:
    """The ladder; for a detector of fixed input size a wider canvas takes the place of a smaller input."""
    seen: set[float] = set()
    for factor, size in ladder:
        if fixed is None:
            yield factor, size
            continue
        wider = factor * max(1.0, fixed[0] / size)
        if wider not in seen:
            seen.add(wider)
            yield wider, fixed[0]


def canvas_of(bgr_u8: NDArray[np.uint8], factor: float) -> Canvas:
    """The picture itself for factor 1, else in the middle of a black canvas `factor` times as large."""
    height, width = bgr_u8.shape[:2]
    if factor == 1.0 and max(height, width) <= MAX_ASPECT * min(height, width):
        return Canvas(bgr_u8)
    # the detector sees a few hundred pixels; a wide canvas around a huge picture would only fill memory
    scale = min(1.0, CANVAS_PICTURE / max(height, width))
    if scale < 1.0:
        smaller = Image.fromarray(bgr_u8).resize(
            (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BOX
        )
        bgr_u8 = np.asarray(smaller)
        height, width = bgr_u8.shape[:2]
    least = int(np.ceil(max(height, width) / MAX_ASPECT))
    new_height, new_width = round(max(height, least) * factor), round(max(width, least) * factor)
    top, left = (new_height - height) // 2, (new_width - width) // 2
    canvas = np.zeros((new_height, new_width, 3), np.uint8)
    canvas[top : top + height, left : left + width] = bgr_u8
    return Canvas(canvas, left, top, scale)


def faces_of(boxes: NDArray[Any], points: NDArray[Any] | None, canvas: Canvas) -> list[Face]:
    """The detector's rows as faces in pixels of the picture on the canvas; unusable rows are left out."""
    if points is None:
        return []
    offset = np.array([canvas.left, canvas.top], np.float32)
    found: list[Face] = []
    for row, five in zip(boxes, points, strict=True):
        box = ((np.asarray(row[:4]) - np.tile(offset, 2)) / canvas.scale).astype(np.float32)
        five_points = ((np.asarray(five) - offset) / canvas.scale).astype(np.float32)
        usable = bool(np.isfinite(box).all() and np.isfinite(five_points).all())
        if usable and box[2] - box[0] >= 2 and box[3] - box[1] >= 2:
            found.append(Face(box, five_points, float(row[4])))
    return found


def weight(face: Face) -> float:
    """How likely this is the face that is meant: squared score times area."""
    return face.score**2 * face.area


def believable(found: Sequence[Face]) -> tuple[Face, ...]:
    """The faces worth offering, the likeliest (see `weight`) first, numbered, at most MAX_FACES.

    Boxes inside a more certain one, far below the best score or far smaller than the largest box are dropped: a weak
    detector sees a dozen people in a portrait.
    """
    faces = without_nested(found)
    if not faces:
        return ()
    best = max(face.score for face in faces)
    faces = [face for face in faces if face.score >= LEAST_SCORE * best]
    largest = max(face.area for face in faces)
    faces = [face for face in faces if face.area >= LEAST_AREA * largest]
    faces.sort(key=weight, reverse=True)
    return tuple(replace(face, index=index) for index, face in enumerate(faces[:MAX_FACES]))


def without_nested(faces: Sequence[Face]) -> list[Face]:
    """Drop boxes that lie mostly inside a more certain one: a weak detector sees parts of a face as faces.

    The detector's own suppression compares intersection over union, which a small box inside a large one passes.
    """
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: face.score, reverse=True):
        if all(shared(face, other) <= MAX_SHARED * min(face.area, other.area) for other in kept):
            kept.append(face)
    return kept


def shared(a: Face, b: Face) -> float:
    """Area in both boxes, square pixels."""
    low, high = np.maximum(a.box[:2], b.box[:2]), np.minimum(a.box[2:], b.box[2:])
    return float(np.prod(np.maximum(high - low, 0.0)))


def seen_side(face: Face, size: tuple[int, int], side: int = INPUT_SIDE) -> float:
    """Longer side of the face in pixels of the detector's input, for a (height, width) picture."""
    scale = min(1.0, side / max(size))
    return float(max(face.box[2] - face.box[0], face.box[3] - face.box[1])) * scale


def close_up(face: Face, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """left, top, right, bottom of the second look's crop in a (height, width) picture; None where it is not needed."""
    height, width = size
    if max(size) <= 2 * INPUT_SIDE or seen_side(face, size) >= CLOSER_BELOW:
        return None
    half = CLOSER_SIDE / 2 * max(face.box[2] - face.box[0], face.box[3] - face.box[1])
    x, y = face.centre
    left, top = max(0, int(x - half)), max(0, int(y - half))
    right, bottom = min(width, int(x + half)), min(height, int(y + half))
    return (left, top, right, bottom) if right - left >= 8 and bottom - top >= 8 else None
