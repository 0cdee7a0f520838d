"""Larger copies of a picture. Nothing is invented: the pixels are interpolated (Lanczos), no detail is added."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from arc2face import checks
from arc2face.errors import SettingsError
from arc2face.pictures.loading import load_rgb_u8
from arc2face.pictures.recipes import read_recipe, recipe_png
from arc2face.settings import ENLARGE_FACTORS
from arc2face.types import RgbU8
from arc2face.weights.writing import replace_with

__all__ = ["check_factor", "enlarge", "enlarge_png"]

MAX_PIXELS = 64_000_000
"""Pixels of an enlarged picture at most: 192 MB while it is made."""


def check_factor(factor: object) -> int:
    """`factor` as an int, if pictures can be enlarged so many times. Raises SettingsError."""
    return checks.one_number("The enlargement", factor, ENLARGE_FACTORS)


def enlarge(rgb_u8: RgbU8, factor: int = 2) -> RgbU8:
    """The picture with `factor` times the width and height, by Lanczos interpolation.

    Args:
        rgb_u8: (H, W, 3) uint8 RGB.
        factor: 2 or 4.

    Returns:
        (factor * H, factor * W, 3) uint8 RGB.

    Raises:
        SettingsError: another factor, no RGB picture, or a result of more than 64 million pixels.
    """
    factor = check_factor(factor)
    checks.rgb_picture("The picture to enlarge", rgb_u8)
    height, width = rgb_u8.shape[:2]
    if height * width * factor * factor > MAX_PIXELS:
        raise SettingsError(f"{width} x {height} pixels are too many to be enlarged {factor} times.")
    larger = Image.fromarray(rgb_u8).resize((width * factor, height * factor), Image.Resampling.LANCZOS)
    return np.asarray(larger)


def enlarge_png(path: Path | str, factor: int = 2, target: Path | None = None) -> Path:
    """Writes a larger copy of a PNG made here; its recipe stays, and says how many times it was enlarged.

    `target`: `NAME-2x.png` beside it when None.

    Raises:
        SettingsError: as `enlarge`, or the PNG has no recipe. ImageError: not a readable picture. StorageError.
    """
    path, factor = Path(path), check_factor(factor)
    recipe = read_recipe(path)
    data = recipe_png(enlarge(load_rgb_u8(path), factor), {**recipe, "enlarged": factor})
    target = target or path.with_name(f"{path.stem}-{factor}x.png")
    with replace_with(target) as temporary:
        temporary.write_bytes(data)
    return target
