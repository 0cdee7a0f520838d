"""Several pictures as one: contact sheets and short animations, for turntables and expression strips."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from arc2face.errors import SettingsError
from arc2face.types import RgbU8
from arc2face.weights.store import replace_with

__all__ = ["animation_bytes", "contact_sheet", "save_animation"]

_GAP = 4
REST = 3


def contact_sheet(images: Sequence[RgbU8], columns: int | None = None, gap: int = _GAP) -> RgbU8:
    """Pictures of equal size in rows, left to right, on white.

    `columns`: pictures per row; a nearly square sheet, or one row up to five, when None. `gap`: pixels between
    them. Returns (H, W, 3) uint8 RGB.
    Raises SettingsError when there is no picture or the sizes differ.
    """
    if not images:
        raise SettingsError("A contact sheet needs at least one picture.")
    if len({image.shape for image in images}) != 1:
        raise SettingsError("The pictures of a contact sheet must have one size.")
    count = len(images)
    columns = columns or (count if count <= 5 else int(np.ceil(np.sqrt(count))))
    height, width = images[0].shape[:2]
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def animation_bytes(images: Sequence[RgbU8], kind: str = "webp", milliseconds: int = 220, bounce: bool = True) -> bytes:
    """An endless animation. `kind`: webp or gif. `bounce`: run back again, resting at both ends, so that nothing jumps.

    Raises SettingsError for an unknown kind or no pictures.
    """
    if kind not in ("webp", "gif") or not images:
        raise SettingsError("An animation needs pictures and is saved as .webp or .gif.")
    order = list(images) + (list(images[-2:0:-1]) if bounce else [])
    frames = [Image.fromarray(image) for image in order]
    durations = [milliseconds] * len(frames)
    if bounce:
        durations[0] = durations[len(images) - 1] = REST * milliseconds
    buffer = io.BytesIO()
    options: dict[str, int] = {"quality": 88, "method": 4} if kind == "webp" else {"optimize": 1}
    frames[0].save(buffer, kind.upper(), save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return buffer.getvalue()


def save_animation(images: Sequence[RgbU8], path: Path, milliseconds: int = 220, bounce: bool = True) -> Path:
    """Writes an animation, whole or not at all; the suffix decides between WebP and GIF."""
    data = animation_bytes(images, path.suffix.lower().lstrip("."), milliseconds, bounce)
    with replace_with(path) as temporary:
        temporary.write_bytes(data)
    return path
