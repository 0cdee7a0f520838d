"""From space to picture: perspective, the product's framing, tone curve, and what cameras add."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from arc2face_training.people.columns import FLAME_ORIGIN, UNIT_METRES
from arc2face_training.people.state import State

Float32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """A camera and the square it shows. `eye` (3,): the camera's place; `origin` (3,): what it looks at.

    Image plane coordinates (decimetres at the origin's depth, x right, y down) become pixels by `linear` (2, 2) and
    `offset` (2,). `turned`: radians of roll that the framing adds to the picture, the opposite of what it
    takes out.
    """

    eye: Float32
    origin: Float32
    linear: Float32
    offset: Float32
    turned: float

    def project(self, points: Float32) -> Float32:
        """(n, 3): x, y in pixels (corner-based: pixel centres at half integers), z growing away from the viewer."""
        plane, depth = _plane(points, self.origin, float(self.eye[2] - self.origin[2]))
        out = np.empty((len(points), 3), np.float32)
        out[:, :2] = plane @ self.linear.T + self.offset
        out[:, 2] = depth
        return out


def _plane(points: Float32, origin: Float32, distance: float) -> tuple[Float32, Float32]:
    relative = points - origin
    scale = distance / np.maximum(distance - relative[:, 2], 0.3)
    return np.stack([relative[:, 0] * scale, -relative[:, 1] * scale], 1).astype(np.float32), -relative[:, 2]


def frame(landmarks: Float32, state: State, size: int) -> View:
    """The view that the FFHQ alignment frames, from landmarks (68, 3) in space."""
    origin = landmarks[27:48].mean(0).astype(np.float32)
    eye = origin + np.array([0, 0, state.distance], np.float32)
    points, _ = _plane(landmarks, origin, state.distance)
    right_eye, left_eye = points[36:42].mean(0), points[42:48].mean(0)
    eyes, mouth = 0.5 * (right_eye + left_eye), 0.5 * (points[48] + points[54])
    across, down = left_eye - right_eye, mouth - eyes
    axis = across + np.array([down[1], -down[0]])
    reach = max(2.0 * float(np.hypot(*across)), 1.8 * float(np.hypot(*down))) * state.view
    angle = float(np.arctan2(axis[1], axis[0])) * state.upright
    centre = eyes + 0.1 * down
    scale = size / (2 * reach)
    c, s = np.cos(angle), np.sin(angle)
    linear = scale * np.array([[c, s], [-s, c]])
    offset = size / 2 - linear @ centre - np.asarray(state.shift) * size
    return View(eye, origin, linear.astype(np.float32), offset.astype(np.float32), angle)


def orthographic(points: Float32, pixels: Float32, size: int) -> Float32:
    """EMOCA's camera (3,): scale, tx, ty in metres, fitted to points (n, 3) in decimetres and pixels (n, 2)."""
    plane = _flame_plane(points)
    wanted = (pixels / size * 2 - 1) * np.array([1, -1])
    a, b = plane - plane.mean(0), wanted - wanted.mean(0)
    scale = float((a * b).sum() / (a * a).sum())
    shift = wanted.mean(0) / scale - plane.mean(0)
    return np.array([scale, *shift], np.float32)


def _flame_plane(points: Float32) -> Float32:
    return ((points - np.array(FLAME_ORIGIN, np.float32))[:, :2] * UNIT_METRES).astype(np.float32)


def orthographic_screen(points: Float32, camera: Float32, size: int) -> Float32:
    """Pixels and depth (n, 3) of points (n, 3) in decimetres, as EMOCA's renderer sees them."""
    plane = (_flame_plane(points) + camera[1:]) * camera[0]
    out = np.empty((len(points), 3), np.float32)
    out[:, 0] = (plane[:, 0] + 1) * size / 2
    out[:, 1] = (1 - plane[:, 1]) * size / 2
    out[:, 2] = -points[:, 2]
    return out


def exposure(skin: Float32, state: State) -> float:
    """Factor that an automatic camera would choose: light skin stays light and dark skin dark, both readable.

    `skin` (n, 3): linear light of what shows skin.
    """
    if not len(skin):
        return 1.0
    mean = float(np.median(skin @ np.array([0.2126, 0.7152, 0.0722], np.float32)))
    return float(0.70 * (0.29 / max(mean, 1e-3)) ** 0.68 * 2.0**state.exposure)


def gain(factor: float, warmth: float) -> Float32:
    """(3,) factors of exposure and white balance."""
    return (np.array([1 + warmth, 1.0, 1 - warmth]) * factor).astype(np.float32)


def finish(picture: Float32, state: State) -> U8:
    """(S, S, 3) uint8 from display values 0..1: softness, grain, JPEG."""
    size = len(picture)
    rng = np.random.default_rng([state.seed, 5])
    if state.soften > 0.05:
        picture = gaussian_filter(picture, (state.soften * size / 256,) * 2 + (0,))
    if state.grain > 0.05:
        noise = rng.standard_normal(picture.shape[:2], np.float32)[..., None]
        noise = noise * 0.8 + rng.standard_normal(picture.shape, np.float32) * 0.45
        picture = picture + noise * (state.grain / 255)
    out = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    if state.jpeg:
        stream = io.BytesIO()
        Image.fromarray(out).save(stream, "JPEG", quality=state.jpeg)
        out = np.asarray(Image.open(stream)).copy()
    return out
