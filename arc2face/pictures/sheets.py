"""Several pictures as one sheet, for turntables and expression strips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arc2face.errors import SettingsError
from arc2face.types import RgbU8

__all__ = ["contact_sheet"]

_GAP = 4


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
