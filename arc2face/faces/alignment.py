"""FFHQ alignment: the upright, centred 512 x 512 face that all the models were trained on.

Same steps and roundings as the FFHQ dataset preparation (Karras et al.), so that results agree with the original
Arc2Face code to one grey level.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from arc2face.errors import InputError, SettingsError
from arc2face.faces.ffhq import AlignmentQuad, alignment_quad
from arc2face.faces.pasteback import paste_back
from arc2face.pictures.loading import open_picture
from arc2face.types import RgbU8

__all__ = ["AlignmentQuad", "align_rgb_u8", "alignment_quad", "image_align", "paste_back"]

MAX_TRANSFORM_SIZE = 8192
MAX_OVERSHOOT = 4.0  # in sides of the square; more would only fill memory with padding


def image_align(
    img: Image.Image | str | Path | NDArray[np.uint8],
    face_landmarks: ArrayLike,
    output_size: int = 1024,
    transform_size: int = 4096,
    enable_padding: bool = True,
) -> Image.Image:
    """Cut out, straighten and scale one face.

    Args:
        img: Pillow image (taken as it is), path (EXIF rotation applied), or (H, W, 3) uint8 RGB. Other modes are
            converted to RGB; an alpha channel is dropped, as in the original code.
        face_landmarks: (68, 2) x, y in pixels of `img`; not changed.
        output_size: side of the result in pixels; all models here use 512.
        transform_size: side of the intermediate picture that is sampled before the final reduction.
        enable_padding: where the square leaves the picture, fill it with blurred reflections instead of black.

    Returns:
        RGB image of output_size x output_size.

    Raises:
        InputError: landmarks of another shape, with NaN, in one point, or far outside the picture.
        ImageError: the picture cannot be read.
        SettingsError: a size is not between 1 and 8192.
    """
    _check_sizes(output_size, transform_size)
    picture = _as_pillow(img)
    square = alignment_quad(face_landmarks)
    corners, size = square.corners.copy(), square.size
    shrink = square.shrink(output_size)
    if shrink > 1:
        target = tuple(max(1, int(np.rint(side / shrink))) for side in picture.size)
        picture = picture.resize((target[0], target[1]), Image.Resampling.LANCZOS)
        corners, size = corners / shrink, size / shrink
    border = max(int(np.rint(size * 0.1)), 3)
    picture, corners = _crop(picture, corners, border)
    pad = _overshoot(picture, corners, border)
    if max(pad) > MAX_OVERSHOOT * size + border:
        raise InputError("The face lies outside the picture. Detect it again in this very picture.")
    if enable_padding and max(pad) > border - 4:
        picture, corners = _pad(picture, corners, pad, size)
    picture = picture.transform(
        (transform_size, transform_size),
        Image.Transform.QUAD,
        tuple(float(value) for value in (corners + 0.5).flatten()),
        Image.Resampling.BILINEAR,
    )
    if output_size < transform_size:
        picture = picture.resize((output_size, output_size), Image.Resampling.LANCZOS)
    return picture


def align_rgb_u8(rgb_u8: RgbU8, landmarks: ArrayLike, output_size: int = 512) -> RgbU8:
    """`image_align` from array to array: (H, W, 3) uint8 RGB to (output_size, output_size, 3)."""
    return np.asarray(image_align(rgb_u8, landmarks, output_size=output_size)).copy()


def _check_sizes(output_size: int, transform_size: int) -> None:
    for name, value in (("output_size", output_size), ("transform_size", transform_size)):
        if isinstance(value, bool) or not 1 <= value <= MAX_TRANSFORM_SIZE:
            raise SettingsError(f"{name} must be a whole number from 1 to {MAX_TRANSFORM_SIZE}, not {value}.")


def _as_pillow(img: Image.Image | str | Path | NDArray[np.uint8]) -> Image.Image:
    if isinstance(img, Image.Image):
        return img.convert("RGB")
    if isinstance(img, np.ndarray):
        return Image.fromarray(np.ascontiguousarray(img)).convert("RGB")
    return open_picture(img).convert("RGB")


def _bounds(corners: NDArray[np.float64]) -> tuple[int, int, int, int]:
    left, top = np.floor(corners.min(axis=0))
    right, bottom = np.ceil(corners.max(axis=0))
    return int(left), int(top), int(right), int(bottom)


def _crop(picture: Image.Image, corners: NDArray[np.float64], border: int) -> tuple[Image.Image, NDArray[np.float64]]:
    left, top, right, bottom = _bounds(corners)
    left, top = max(left - border, 0), max(top - border, 0)
    right, bottom = min(right + border, picture.width), min(bottom + border, picture.height)
    inside = right > left and bottom > top  # a square wholly outside the picture leaves nothing to cut
    if inside and (right - left < picture.width or bottom - top < picture.height):
        return picture.crop((left, top, right, bottom)), corners - np.array([left, top])
    return picture, corners


def _overshoot(picture: Image.Image, corners: NDArray[np.float64], border: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = _bounds(corners)
    return (
        max(-left + border, 0),
        max(-top + border, 0),
        max(right - picture.width + border, 0),
        max(bottom - picture.height + border, 0),
    )


def _pad(
    picture: Image.Image, corners: NDArray[np.float64], pad: tuple[int, int, int, int], size: float
) -> tuple[Image.Image, NDArray[np.float64]]:
    """Reflect, blur towards the rim, and fade the rim into the median colour."""
    from scipy.ndimage import gaussian_filter  # a quarter of a second that no start needs

    left, top, right, bottom = (max(side, int(np.rint(size * 0.3))) for side in pad)
    pixels: NDArray[Any] = np.pad(
        np.asarray(picture, np.float32), ((top, bottom), (left, right), (0, 0)), mode="reflect"
    )
    height, width = pixels.shape[:2]
    y, x, _ = np.ogrid[:height, :width, :1]
    rim = np.maximum(
        1.0 - np.minimum(np.float32(x) / left, np.float32(width - 1 - x) / right),
        1.0 - np.minimum(np.float32(y) / top, np.float32(height - 1 - y) / bottom),
    )
    blur = size * 0.02
    pixels += (gaussian_filter(pixels, [blur, blur, 0]) - pixels) * np.clip(rim * 3.0 + 1.0, 0.0, 1.0)
    pixels += (np.median(pixels, axis=(0, 1)) - pixels) * np.clip(rim, 0.0, 1.0)
    padded = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    return padded, corners + np.array([left, top])
