"""Cut-out people and pictures composed of them: training data of the detector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from arc2face.weights.store import replace_with
from arc2face_training.common.world import SPRITE_VIEW, PeopleDataset, PeopleWorld, sample_background

Float32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
SPRITE_SIZE = 192
TEXTURED = 0.4
"""Share of backgrounds made of a texture that a detector could take for faces."""


@dataclass(frozen=True)
class Sprites:
    """`rgba` (n, 192, 192, 4) uint8, `points` (n, 5, 2) and `outline` (n, 68, 2), `box` (n, 4) in sprite pixels."""

    rgba: U8
    points: Float32
    outline: Float32
    box: Float32

    def __len__(self) -> int:
        return len(self.rgba)


@dataclass(frozen=True)
class Composition:
    """A picture (S, S, 3) uint8 RGB, boxes (k, 4) and points (k, 5, 2) in its pixels."""

    picture: U8
    boxes: Float32
    points: Float32


def make_sprites(n: int, first_seed: int, folder: Path | None = None) -> Sprites:
    """Render n people (seeds first, first + 2, ...), one moment each; cached as one file in `folder`."""
    cached = None if folder is None else folder / f"sprites_{first_seed}_{n}.npz"
    if cached is not None and cached.exists():
        with np.load(cached) as found:
            return Sprites(**{name: found[name] for name in ("rgba", "points", "outline", "box")})
    world = PeopleWorld()
    rgba = np.empty((n, SPRITE_SIZE, SPRITE_SIZE, 4), np.uint8)
    points, outline = np.empty((n, 5, 2), np.float32), np.empty((n, 68, 2), np.float32)
    box = np.empty((n, 4), np.float32)
    for k in range(n):
        rng = np.random.default_rng([first_seed + 2 * k, 41])
        state = world.sample_state(rng)
        state.view, state.background = SPRITE_VIEW, np.zeros((4, 4, 3), np.float32)
        picture = world.render(world.identity(first_seed + 2 * k), state, SPRITE_SIZE, ("rgb",))
        assert picture.rgb_u8 is not None and picture.alpha_u8 is not None
        whole = np.dstack([picture.rgb_u8, picture.alpha_u8])
        rgba[k] = (whole * _faded_rim(SPRITE_SIZE)).astype(np.uint8)
        points[k], outline[k], box[k] = picture.points5, picture.landmarks68, picture.box
    sprites = Sprites(rgba, points, outline, box)
    if cached is not None:
        with replace_with(cached) as part, part.open("wb") as file:
            np.savez(file, rgba=rgba, points=points, outline=outline, box=box)
    return sprites


def _faded_rim(size: int, width: int = 14) -> Float32:
    """(size, size, 1) from 0 at the rim to 1: necks and long hair must not end in straight edges."""
    place = np.arange(size) + 0.5
    along = np.clip(np.minimum(place, size - place) / width, 0, 1).astype(np.float32)
    return (along[:, None] * along[None, :])[..., None]


def from_dataset(data: PeopleDataset, row: int) -> Composition:
    """A whole rendered picture with its one face."""
    box = data.labels[row, 204:208].astype(np.float32)
    points = data.labels[row, 194:204].reshape(5, 2).astype(np.float32)
    return Composition(np.asarray(data.rgb[row]), box[None], points[None])


def compose(
    rng: np.random.Generator, sprites: Sprites, size: int, faces: int, face_range: tuple[float, float]
) -> Composition:
    """Paste `faces` sprites at random places; their box's longer side lies in `face_range` pixels.

    Faces are turned by up to 30 degrees. Sprites that cover an earlier face's middle are left out.
    """
    canvas = _backdrop(rng, size)
    boxes: list[Float32] = []
    points: list[Float32] = []
    for _ in range(faces):
        k = int(rng.integers(len(sprites)))
        wanted = float(np.exp(rng.uniform(*np.log(face_range))))
        matrix = _placement(rng, sprites.box[k], wanted, size)
        box = _moved_box(sprites, k, matrix)
        if any(_overlap(box, other) > 0.05 for other in boxes):
            continue
        _paste(rng, canvas, sprites.rgba[k], matrix)
        boxes.append(box)
        points.append((sprites.points[k] @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32))
    picture = (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)
    stacked = np.stack(boxes) if boxes else np.zeros((0, 4), np.float32)
    return Composition(picture, stacked, np.stack(points) if points else np.zeros((0, 5, 2), np.float32))


def _backdrop(rng: np.random.Generator, size: int) -> Float32:
    """Gradients, blobs, boxes, circles and lines: things that are no faces."""
    canvas = np.ascontiguousarray(cv2.resize(sample_background(rng, 64), (size, size)), np.float32)
    if rng.random() < TEXTURED:
        canvas = np.ascontiguousarray(texture(rng, size) * rng.uniform(0.5, 1) + 0.2 * canvas, np.float32)
    for _ in range(int(rng.integers(0, 8))):
        colour = tuple(float(c) for c in rng.random(3))
        x, y = (int(a) for a in rng.integers(0, size, 2))
        r = int(rng.integers(2, max(4, size // 4)))
        kind = rng.integers(3)
        if kind == 0:
            cv2.ellipse(
                canvas, (x, y), (r, int(r * rng.uniform(0.5, 1.4))), float(rng.uniform(0, 180)), 0, 360, colour, -1
            )
        elif kind == 1:
            cv2.rectangle(canvas, (x, y), (x + r, y + int(r * rng.uniform(0.5, 2))), colour, -1)
        else:
            cv2.line(canvas, (x, y), tuple(int(a) for a in rng.integers(0, size, 2)), colour, int(rng.integers(1, 6)))
    if rng.random() < 0.3:
        edge = int(rng.integers(size // 8, size // 2))
        canvas[size - edge :] = 0.0  # the detector pads with black
    return canvas


def texture(rng: np.random.Generator, size: int) -> Float32:
    """(size, size, 3) float32: gravel, bricks, foliage or checks; what detectors like to see faces in."""
    tone = rng.random(3).astype(np.float32) * 0.7 + 0.1
    kind = rng.integers(4)
    if kind == 0:
        return _gravel(rng, size, tone)
    if kind == 1:
        return _bricks(rng, size, tone)
    if kind == 2:
        return _leaves(rng, size, tone)
    side = int(rng.integers(3, 24))
    y, x = np.mgrid[0:size, 0:size] // side
    return tone * (0.5 + 0.5 * ((x + y) % 2))[..., None].astype(np.float32)


def _gravel(rng: np.random.Generator, size: int, tone: Float32) -> Float32:
    """Stones: the sum of noises of several sizes, with hard steps."""
    total = np.zeros((size, size), np.float32)
    for side in (2, 4, 8, 16):
        cells = max(2, size // side)
        coarse = rng.standard_normal((cells, cells)).astype(np.float32)
        total += cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC) * float(rng.random())
    steps = np.round(total * 2) / 2 if rng.random() < 0.5 else total
    return np.clip(tone * (1 + 0.45 * steps[..., None]), 0, 1).astype(np.float32)


def _bricks(rng: np.random.Generator, size: int, tone: Float32) -> Float32:
    """A wall: rows of bricks, each of its own shade, with mortar between."""
    high = int(rng.integers(5, 26))
    wide = int(high * rng.uniform(1.5, 3))
    y, x = np.mgrid[0:size, 0:size]
    row = y // high
    along = x + (row % 2) * (wide // 2)
    shade = rng.uniform(0.7, 1.2, (size // high + 2, size // wide + 3))[row, along // wide]
    mortar = (y % high < max(1, high // 8)) | (along % wide < max(1, high // 8))
    wall = tone * shade[..., None]
    wall[mortar] = rng.uniform(0.5, 0.9)
    return np.clip(wall + rng.normal(0, 0.04, (size, size, 1)), 0, 1).astype(np.float32)


def _leaves(rng: np.random.Generator, size: int, tone: Float32) -> Float32:
    """Leaves: many small ellipses of related tones over the dark."""
    canvas = np.full((size, size, 3), 0.1, np.float32)
    for _ in range(int(rng.integers(60, 240))):
        place = tuple(int(a) for a in rng.integers(0, size, 2))
        axes = int(rng.integers(2, max(3, size // 12))), int(rng.integers(1, max(2, size // 24)))
        colour = tuple(float(c) for c in np.clip(tone * rng.uniform(0.4, 1.5), 0, 1))
        cv2.ellipse(canvas, place, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
    return canvas


def _placement(rng: np.random.Generator, box: Float32, wanted: float, size: int) -> Float32:
    scale = wanted / float(max(box[2] - box[0], box[3] - box[1]))
    angle = float(np.clip(rng.normal(0, 0.22), -0.6, 0.6))
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    reach = min(wanted * 0.5, size / 2)
    target = rng.uniform(reach, max(size - reach, reach + 1e-3), 2)
    return np.c_[linear, target - linear @ middle].astype(np.float32)


def _moved_box(sprites: Sprites, k: int, matrix: Float32) -> Float32:
    """Box of the turned face: corners of an upright ellipse-like outline rather than of the turned rectangle."""
    x0, y0, x1, y1 = sprites.box[k]
    t = np.arange(24) / 24 * 2 * np.pi
    ring = np.c_[(x0 + x1) / 2 + (x1 - x0) / 2 * np.cos(t), (y0 + y1) / 2 + (y1 - y0) / 2 * np.sin(t)]
    moved = ring @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([moved.min(0), moved.max(0)]).astype(np.float32)


def _overlap(a: Float32, b: Float32) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return float(max(width, 0) * max(height, 0) / max(smaller, 1e-6))


def _paste(rng: np.random.Generator, canvas: Float32, rgba: U8, matrix: Float32) -> None:
    size = len(canvas)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    source = rgba
    if scale < 0.5:
        # Shrink by area first; a bilinear warp alone would alias.
        factor = max(scale * 1.4, 8 / SPRITE_SIZE)
        side = max(8, int(SPRITE_SIZE * factor))
        source = cv2.resize(rgba, (side, side), interpolation=cv2.INTER_AREA)
        matrix = matrix.copy()
        matrix[:, :2] *= SPRITE_SIZE / side
    warped = cv2.warpAffine(source, matrix, (size, size), flags=cv2.INTER_LINEAR).astype(np.float32) / 255
    cover = warped[:, :, 3:]
    canvas *= 1 - cover
    # Colours of the sprite's rim are already dark where coverage is partial.
    canvas += warped[:, :, :3] * float(rng.uniform(0.8, 1.1))
