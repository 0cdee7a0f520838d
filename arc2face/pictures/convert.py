"""Decoded pictures and arrays of any kind to 8-bit RGB, in strips, so that no full-size copy in floats is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arc2face.errors import ImageError
from arc2face.types import RgbU8

__all__ = ["array_to_rgb", "pillow_to_rgb"]

_STRIP = 4_000_000  # pixels


def pillow_to_rgb(picture: Image.Image) -> RgbU8:
    """(H, W, 3) uint8 of a decoded picture in any mode; transparency is laid on white."""
    if picture.mode[:1] in ("I", "F"):
        grey = _eight_bit(np.asarray(picture))
        return np.repeat(grey[:, :, None], 3, axis=2)
    width, height = picture.size
    rgb = np.empty((height, width, 3), np.uint8)
    for top, bottom in _strips(height, width):
        whole = bottom - top == height
        rgb[top:bottom] = np.asarray(_rgb(picture if whole else picture.crop((0, top, width, bottom))))
    return rgb


def array_to_rgb(array: NDArray[Any]) -> RgbU8:
    """(H, W, 3) uint8 of an array (H, W) or (H, W, 1 to 4); see `arc2face.pictures.loading.as_rgb_u8`.

    Raises ImageError for values that are neither integers from 0 to 255 (uint16: 65535) nor floats from 0 to 1.
    """
    _check_values(array)
    values = array[:, :, None] if array.ndim == 2 else array
    if values.dtype == np.uint8 and values.shape[2] == 3:
        return np.ascontiguousarray(values)
    height, width = values.shape[:2]
    rgb = np.empty((height, width, 3), np.uint8)
    for top, bottom in _strips(height, width):
        rgb[top:bottom] = _opaque(_array_eight_bit(values[top:bottom]))
    return rgb


def _strips(height: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(1, _STRIP // max(width, 1))
    for top in range(0, height, rows):
        yield top, min(height, top + rows)


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA") if picture.mode not in ("RGBa", "La") else _unmultiplied(picture)
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")


def _unmultiplied(picture: Image.Image) -> Image.Image:
    return picture.convert("LA" if picture.mode == "La" else "RGBA").convert("RGBA")


def _eight_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Bring 16-bit, 32-bit and float grey values (H, W) to 0..255."""
    height, width = values.shape
    strips = list(_strips(height, width))
    top = max(float(_clean(values[a:b]).max(initial=0.0)) for a, b in strips)
    if values.dtype.kind == "f" and top <= 1.0:
        scale = 255.0
    elif values.dtype.itemsize == 2 or 255.0 < top <= 65535.0:
        scale = 255.0 / 65535.0
    else:
        scale = 255.0 / max(top, 255.0)
    grey = np.empty((height, width), np.uint8)
    for a, b in strips:
        grey[a:b] = np.clip(np.rint(_clean(values[a:b]) * scale), 0, 255)
    return grey


def _clean(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _opaque(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 1 to 4) to (h, w, 3): alpha laid on white, grey repeated."""
    if values.shape[2] in (2, 4):
        alpha = values[:, :, -1:].astype(np.float32) / 255.0
        colour = values[:, :, :-1].astype(np.float32)
        values = np.rint(colour * alpha + 255.0 * (1.0 - alpha)).astype(np.uint8)
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values


def _check_values(array: NDArray[Any]) -> None:
    kind = array.dtype.kind
    if kind == "b" or (kind == "u" and array.dtype.itemsize <= 2):
        return
    if kind in "iuf" and array.size:
        low, high = float(array.min()), float(array.max())  # NaN fails both comparisons below
        if low >= 0 and high <= (1 if kind == "f" else 255):
            return
    raise ImageError(
        f"A picture array of {array.dtype} must hold finite values: integers from 0 to 255, or floats from 0 to 1."
    )


def _array_eight_bit(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return cast("NDArray[np.uint8]", array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return np.rint(array / 257.0).astype(np.uint8)
    if array.dtype.kind == "f":
        return np.rint(array.astype(np.float64) * 255.0).astype(np.uint8)
    return array.astype(np.uint8)
