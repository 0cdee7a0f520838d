"""Pictures as files in memory, for tests of reading them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def quadrants(width: int = 40, height: int = 24) -> Image.Image:
    """Red, green, blue and white quarters: upper left, upper right, lower left, lower right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    pixels[:h, :w] = (255, 0, 0)
    pixels[:h, w:] = (0, 255, 0)
    pixels[h:, :w] = (0, 0, 255)
    pixels[h:, w:] = (255, 255, 255)
    return Image.fromarray(pixels)


def close(actual: np.ndarray, expected: np.ndarray, tolerance: int) -> bool:
    return int(np.abs(actual.astype(int) - expected.astype(int)).max()) <= tolerance


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8))
