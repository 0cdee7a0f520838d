"""Put a generated, FFHQ-aligned face back into the photo it was aligned from.

The square goes back through the exact inverse of the alignment, is shifted towards the photo's colours along the rim,
and is blended with a soft mask. Pixels outside the mask stay bit-identical.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from arc2face import checks
from arc2face.errors import ImageError, SettingsError
from arc2face.faces.ffhq import Float64Array, aligned_from_picture, alignment_quad, check_landmarks, transform_points
from arc2face.faces.points import forehead_points
from arc2face.settings import PASTE_MASKS, PasteMask
from arc2face.types import Float32Array, RgbU8

FEATHER_RANGE = (0.01, 0.3)

_GRID = 512  # resolution of the mask, in aligned space
_COLOUR_GRID = 160  # resolution at which colours along the rim are compared
_COLOUR_REACH = 0.07  # how far the colour of the rim reaches, as a share of the region
_COLOUR_FLOOR = {"face": 0.5, "head": 0.0}  # share of the rim's shift that the centre receives too
_COLOUR_LIMIT = 48.0
_COLOUR_SPREAD = 24.0  # grey levels by which honest differences along the rim vary


@dataclass(frozen=True, slots=True)
class _Region:
    """Part of the photo that the square touches, in whole pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        return self.right - self.left, self.bottom - self.top


def paste_back(
    original_rgb: RgbU8,
    generated_rgb: RgbU8,
    landmarks: ArrayLike,
    mask: PasteMask = "face",
    feather: float = 0.08,
    *,
    match_colour: bool = True,
    generated_landmarks: ArrayLike | None = None,
    aligned_size: int = 512,
) -> RgbU8:
    """Blend a generated aligned picture into the full-size photo.

    Args:
        original_rgb: (H, W, 3) uint8, the photo the landmarks belong to.
        generated_rgb: (S, S, 3) uint8, aligned like `align_rgb_u8(original_rgb, landmarks)`, any S.
        landmarks: (68, 2) x, y in pixels of `original_rgb`.
        mask: "face" blends from brows to chin with the forehead, "head" nearly the whole square.
        feather: width of the soft rim as a share of the square's side, 0.01 to 0.3.
        match_colour: shift the generated picture's colours smoothly so that they meet the photo at the rim.
        generated_landmarks: (68, 2) in pixels of `generated_rgb`; widens the face mask when the mouth now opens
            further than in the photo.
        aligned_size: size at which the photo was aligned (its down-scaling depends on it).

    Returns:
        (H, W, 3) uint8, a new array.

    Raises:
        ImageError: a picture of another shape.
        InputError: unusable landmarks.
        SettingsError: unknown mask, or feather out of range.
    """
    _check(original_rgb, generated_rgb, mask, feather)
    height, width = original_rgb.shape[:2]
    side = generated_rgb.shape[0]
    to_unit = _unit_from_picture(landmarks, (width, height), aligned_size)
    region = _region(alignment_quad(landmarks).corners, width, height)
    result = original_rgb.copy()
    if min(region.size) < 1:
        return result
    inner = _mask_grid(mask, feather, _outline(landmarks, to_unit, generated_landmarks, side))
    weight = _warp(inner, to_unit, region)
    pixels = _warp_picture(generated_rgb, to_unit, region, alignment_quad(landmarks).size)
    window = (slice(region.top, region.bottom), slice(region.left, region.right))
    photo = original_rgb[window].astype(np.float32)
    if match_colour:
        pixels = pixels + _colour_shift(photo, pixels, weight, _COLOUR_FLOOR[mask])
    alpha = weight[:, :, None]
    blended = np.clip(np.rint(photo + (pixels - photo) * alpha), 0, 255).astype(np.uint8)
    result[window] = np.where(alpha > 0, blended, original_rgb[window])
    return result


def _check(original: RgbU8, generated: RgbU8, mask: str, feather: float) -> None:
    for name, picture in (("photo", original), ("generated picture", generated)):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or min(picture.shape[:2]) < 8:
            raise ImageError(f"The {name} must be an RGB array (height, width, 3) with 8 bits per channel.")
    if generated.shape[0] != generated.shape[1]:
        raise ImageError(f"Only a square, aligned picture can be pasted back, not {generated.shape[:2]}.")
    checks.choice("The paste-back mask", mask, PASTE_MASKS)
    low, high = FEATHER_RANGE
    if not low <= feather <= high:
        raise SettingsError(f"The feather must lie between {low:g} and {high:g}, not {feather}.")


def _unit_from_picture(landmarks: ArrayLike, size: tuple[int, int], aligned_size: int) -> Float64Array:
    """Affine map (2, 3) from continuous photo coordinates (pixel corners) to 0..1 in the square."""
    affine = aligned_from_picture(landmarks, size, aligned_size)
    offset = affine[:, 2] + 0.5 - affine[:, :2] @ np.array([0.5, 0.5])
    return np.concatenate([affine[:, :2], offset[:, None]], axis=1) / aligned_size


def _region(corners: Float64Array, width: int, height: int) -> _Region:
    left, top = np.floor(corners.min(axis=0)).astype(int) - 1
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 2
    return _Region(max(int(left), 0), max(int(top), 0), min(int(right), width), min(int(bottom), height))


def _outline(
    landmarks: ArrayLike, to_unit: Float64Array, generated_landmarks: ArrayLike | None, side: int
) -> Float64Array:
    """Hull of the face in 0..1, (n, 2), in order."""
    from scipy.spatial import ConvexHull  # loaded when a picture is pasted, not when the page starts

    points = transform_points(to_unit, check_landmarks(landmarks) + 0.5)
    if generated_landmarks is not None:
        points = np.concatenate([points, (check_landmarks(generated_landmarks) + 0.5) / side])
    forehead = [forehead_points(points[start : start + 68]) for start in range(0, len(points), 68)]
    cloud = np.concatenate([points, *forehead])
    return cloud[ConvexHull(cloud).vertices]


def _mask_grid(mask: PasteMask, feather: float, outline: Float64Array) -> Float32Array:
    """Blending weight (_GRID, _GRID) in aligned space, 0 at the square's border."""
    axis = (np.arange(_GRID) + 0.5) / _GRID
    u, v = np.meshgrid(axis, axis)
    # a superellipse: keeps the corners, where only background is, out of the blend
    radius = ((2 * u - 1) ** 4 + (2 * v - 1) ** 4) ** 0.25
    head = _smoothstep((1.0 - 2.0 / _GRID - radius) / (2.0 * feather))
    if mask == "head":
        return head.astype(np.float32)
    edge = np.roll(outline, -1, axis=0) - outline
    inward = np.stack([-edge[:, 1], edge[:, 0]], axis=1)
    inward /= np.maximum(np.hypot(inward[:, 0], inward[:, 1]), 1e-12)[:, None]
    if float(np.sum((outline.mean(axis=0) - outline) * inward)) < 0:
        inward = -inward
    depth = np.full(u.shape, np.inf)
    for corner, normal in zip(outline, inward, strict=True):
        depth = np.minimum(depth, (u - corner[0]) * normal[0] + (v - corner[1]) * normal[1])
    return (_smoothstep(depth / feather + 0.5) * np.minimum(head * 2.0, 1.0)).astype(np.float32)


def _smoothstep(values: NDArray[np.float64]) -> NDArray[np.float64]:
    t = np.clip(values, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _warp(values: Float32Array, to_unit: Float64Array, region: _Region) -> Float32Array:
    """Sample an (n, n) array that covers the square at every pixel of the region."""
    return _transform(Image.fromarray(values), to_unit, region, Image.Resampling.BILINEAR)


def _warp_picture(picture: RgbU8, to_unit: Float64Array, region: _Region, square: float) -> Float32Array:
    """(h, w, 3) float32 0..255; scaled down first where the square is smaller than the picture."""
    target = max(8, round(square))
    channels = [Image.fromarray(np.ascontiguousarray(picture[:, :, k])).convert("F") for k in range(3)]
    if target < picture.shape[0]:
        channels = [channel.resize((target, target), Image.Resampling.LANCZOS) for channel in channels]
    return np.stack([_transform(c, to_unit, region, Image.Resampling.BICUBIC) for c in channels], axis=2)


def _transform(image: Image.Image, to_unit: Float64Array, region: _Region, resample: Image.Resampling) -> Float32Array:
    size = np.array([image.width, image.height], np.float64)[:, None]
    affine = to_unit * size
    offset = affine[:, 2] + affine[:, :2] @ np.array([region.left, region.top], np.float64)
    data = (*affine[0, :2], offset[0], *affine[1, :2], offset[1])
    warped: Any = image.transform(region.size, Image.Transform.AFFINE, tuple(map(float, data)), resample)
    return np.asarray(warped, np.float32)


def _colour_shift(photo: Float32Array, pixels: Float32Array, weight: Float32Array, floor: float) -> Float32Array:
    """Smooth field (h, w, 3) that takes the generated colours to the photo's along the rim.

    Works on a small grid: a weighted mean of the difference near each place. Rim places whose difference is far from
    the rim's median show something else in the two pictures (hair against skin) and say nothing about colour, so they
    count little; where most of the rim is like that, nothing is shifted.
    """
    from scipy.ndimage import gaussian_filter

    height, width = weight.shape
    scale = min(1.0, _COLOUR_GRID / max(height, width))
    small = (max(2, round(width * scale)), max(2, round(height * scale)))
    rim = _resize((4.0 * weight * (1.0 - weight)).astype(np.float32), small, Image.Resampling.BOX).astype(np.float64)
    on_rim = rim > 0.25
    if not on_rim.any():
        return np.zeros_like(photo)
    gap = np.stack(
        [_resize(photo[:, :, k] - pixels[:, :, k], small, Image.Resampling.BOX) for k in range(3)], axis=2
    ).astype(np.float64)
    usual = np.clip(np.median(gap[on_rim], axis=0), -_COLOUR_LIMIT, _COLOUR_LIMIT)
    odd = np.abs(gap - usual).max(axis=2)
    alike = float((odd[on_rim] < 1.5 * _COLOUR_SPREAD).mean())
    trust = float(np.clip((alike - 0.2) / 0.4, 0.0, 1.0))
    sigma = _COLOUR_REACH * max(small)
    spread = gaussian_filter(rim, sigma, truncate=9.0)
    amount = trust * (floor + (1.0 - floor) * np.minimum(spread / spread.max() * 1.5, 1.0))
    votes = rim * np.exp(-((odd / _COLOUR_SPREAD) ** 2))
    near, prior = gaussian_filter(votes, sigma, truncate=9.0), 0.1 * spread + 1e-12
    shift = np.empty((*photo.shape[:2], 3), np.float32)
    for k in range(3):
        field = (gaussian_filter(gap[:, :, k] * votes, sigma, truncate=9.0) + prior * usual[k]) / (near + prior)
        limited = (np.clip(field, -_COLOUR_LIMIT, _COLOUR_LIMIT) * amount).astype(np.float32)
        shift[:, :, k] = _resize(limited, (width, height), Image.Resampling.BICUBIC)
    return shift


def _resize(values: Float32Array, size: tuple[int, int], resample: Image.Resampling) -> Float32Array:
    return np.asarray(Image.fromarray(np.ascontiguousarray(values)).resize(size, resample), np.float32)
