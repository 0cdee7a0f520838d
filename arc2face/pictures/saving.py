"""Writing pictures that are no result of their own: normal maps, contact sheets, pasted photos."""

from __future__ import annotations

from pathlib import Path

from arc2face.pictures.loading import to_png_bytes
from arc2face.types import RgbU8
from arc2face.weights.store import replace_with


def save_picture(rgb_u8: RgbU8, path: Path) -> Path:
    """(H, W, 3) uint8 RGB as PNG; appears whole or not at all. Raises StorageError when the disk refuses."""
    data = to_png_bytes(rgb_u8)
    with replace_with(path) as temporary:
        temporary.write_bytes(data)
    return path
