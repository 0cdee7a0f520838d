"""Writing pictures that are no result of their own: normal maps, contact sheets, pasted photos."""

from __future__ import annotations

from pathlib import Path

from arc2face.errors import SettingsError
from arc2face.pictures.loading import to_png_bytes
from arc2face.types import RgbU8
from arc2face.weights.store import replace_with


def png_path(path: Path | str) -> Path:
    """The path, where it says what the file will be. Raises SettingsError."""
    path = Path(path).expanduser()
    if path.suffix.lower() != ".png":
        raise SettingsError(f"Pictures are saved as PNG; give {path.name!r} a name that ends in .png.")
    return path


def save_picture(rgb_u8: RgbU8, path: Path | str) -> Path:
    """(H, W, 3) uint8 RGB as PNG; appears whole or not at all.

    Raises:
        SettingsError: the name does not end in `.png`.
        StorageError: the disk refuses.
    """
    path = png_path(path)
    data = to_png_bytes(rgb_u8)
    with replace_with(path) as temporary:
        temporary.write_bytes(data)
    return path
