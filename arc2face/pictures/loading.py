"""Pictures in and out: anything a person uploads becomes upright 8-bit RGB.

Only decoders of common picture formats are switched on, so that an upload never reaches an interpreter such as the
PostScript one, and size limits are checked on the header, before any pixel is decoded.
Colour profiles are not applied: the networks were trained on pictures read without them.
"""

from __future__ import annotations

import importlib
import io
import logging
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from arc2face.errors import ImageError
from arc2face.types import RgbU8

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Largest accepted file, in bytes."""
MAX_PIXELS = 80_000_000
"""Largest accepted picture, width times height. Stays below the size at which Pillow warns of a bomb."""
MAX_SIDE = 30_000
"""Longest accepted side in pixels; OpenCV's warps stop at 32767."""
MIN_SIDE = 8
"""Shortest accepted side in pixels."""

_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM", "TGA", "AVIF", "HEIF")
_USE_ANOTHER = "Use a JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP or GIF picture."

ImageSource: TypeAlias = "str | Path | bytes | Image.Image | NDArray[Any]"


def load_rgb_u8(source: ImageSource) -> RgbU8:
    """Read any picture as upright RGB.

    Args:
        source: path, encoded file contents, Pillow image, or array (H, W), (H, W, 1 to 4): grey, grey + alpha, RGB or
            RGBA. Arrays may be uint8, uint16 (0 to 65535), bool, integers within 0 to 255, or floats within 0 to 1.

    Returns:
        (H, W, 3) uint8, RGB, contiguous, with the EXIF rotation applied, transparency laid on white, grey, palette,
        CMYK and 16-bit pictures converted, and the first frame of an animation.

    Raises:
        ImageError: not a picture, truncated, empty, or beyond MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE or MIN_SIDE.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    picture = open_picture(source)
    try:
        rgb = np.asarray(_to_rgb(picture), dtype=np.uint8)
    except Exception as error:
        raise ImageError(f"The colour mode {picture.mode} cannot be converted to RGB. {_USE_ANOTHER}") from error
    return np.ascontiguousarray(rgb)


def open_picture(source: str | Path | bytes | Image.Image) -> Image.Image:
    """Decode a picture and turn it upright, in its own colour mode; limits and errors as for `load_rgb_u8`."""
    if isinstance(source, Image.Image):
        _check_size(source.size)
        return _decode(source)
    if isinstance(source, bytes | bytearray | memoryview):
        contents, name = bytes(source), "The picture"
        _check_bytes(len(contents), name)
    else:
        contents, name = _read_file(source)
    picture = _open(contents, name)
    _check_size(picture.size)
    return _decode(picture)


def resize_square(rgb_u8: RgbU8, size: int = 512) -> RgbU8:
    """Cut the largest centred square out of a picture and scale it to (size, size, 3), Lanczos."""
    height, width = rgb_u8.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = rgb_u8[top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    scaled = Image.fromarray(np.ascontiguousarray(square)).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(scaled).copy()


def to_png_bytes(rgb_u8: RgbU8, pnginfo: PngImagePlugin.PngInfo | None = None) -> bytes:
    """Encode (H, W, 3) uint8 RGB, or (H, W) uint8 grey, as PNG; `pnginfo` carries text chunks."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb_u8)).save(buffer, format="PNG", pnginfo=pnginfo)
    return buffer.getvalue()


def _read_file(source: object) -> tuple[bytes, str]:
    if not isinstance(source, str | Path):
        raise ImageError(f"A picture is needed, not {type(source).__name__}. {_USE_ANOTHER}")
    path = Path(source)
    name = f"The file {path.name!r}"
    try:
        if not path.is_file():
            raise ImageError(f"{name} does not exist, or is not a file. Choose another picture.")
        _check_bytes(path.stat().st_size, name)
        return path.read_bytes(), name
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ImageError(f"{name} cannot be read ({_reason(error)}). Choose another picture.") from error


def _check_bytes(size: int, name: str) -> None:
    if size == 0:
        raise ImageError(f"{name} is empty (0 bytes). Upload it again, or choose another picture.")
    if size > MAX_FILE_BYTES:
        limit, megabyte = MAX_FILE_BYTES // 2**20, size / 2**20
        raise ImageError(f"{name} has {megabyte:.0f} MB; at most {limit} MB are accepted. Use a smaller picture.")


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if min(size) < MIN_SIDE:
        raise ImageError(f"The picture has only {width} x {height} pixels; each side needs at least {MIN_SIDE}.")
    if max(size) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"The picture has {width} x {height} pixels; at most {MAX_PIXELS // 10**6} million pixels and "
            f"{MAX_SIDE} per side are accepted. Scale it down first."
        )


@lru_cache(maxsize=1)
def _known_formats() -> tuple[str, ...]:
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except (ImportError, AttributeError):
        logger.debug("pillow-heif is not installed; HEIC pictures cannot be read")
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _open(contents: bytes, name: str) -> Image.Image:
    """Parse the header only."""
    try:
        return Image.open(io.BytesIO(contents), formats=_known_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = MAX_PIXELS // 10**6
        raise ImageError(f"{name} has too many pixels; at most {limit} million. Scale it down first.") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture that can be read here. {_USE_ANOTHER}") from error
    except Exception as error:  # decoders raise many types on damaged headers
        raise ImageError(f"{name} cannot be read ({_reason(error)}). {_USE_ANOTHER}") from error


def _decode(picture: Image.Image) -> Image.Image:
    try:
        picture.load()
    except MemoryError as error:
        raise ImageError("There is not enough memory to open this picture. Scale it down first.") from error
    except Exception as error:  # truncated and damaged data surface as many types
        raise ImageError(
            f"The picture is damaged or incomplete ({_reason(error)}). Save or upload it again, or use another."
        ) from error
    return _upright(picture)


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF data must not cost the user a readable picture
        logger.debug("EXIF data cannot be read; the picture is taken as stored", exc_info=True)
        return picture


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode[:1] in ("I", "F"):
        return Image.fromarray(_eight_bit(np.asarray(picture))).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA") if picture.mode not in ("RGBa", "La") else _unmultiplied(picture)
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")


def _unmultiplied(picture: Image.Image) -> Image.Image:
    return picture.convert("LA" if picture.mode == "La" else "RGBA").convert("RGBA")


def _eight_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Bring 16-bit, 32-bit and float grey values to 0..255."""
    clean = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(clean.max(initial=0.0))
    if values.dtype.kind == "f" and top <= 1.0:
        scale = 255.0
    elif values.dtype.itemsize == 2 or 255.0 < top <= 65535.0:
        scale = 255.0 / 65535.0
    else:
        scale = 255.0 / max(top, 255.0)
    return np.clip(np.rint(clean * scale), 0, 255).astype(np.uint8)


def _from_array(array: NDArray[Any]) -> RgbU8:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4)):
        raise ImageError(f"A picture array has the shape (height, width, 1 to 4 channels), not {array.shape}.")
    _check_size((int(array.shape[1]), int(array.shape[0])))
    values = _array_eight_bit(array)
    if values.ndim == 2:
        values = values[:, :, None]
    channels = values.shape[2]
    if channels in (2, 4):
        alpha = values[:, :, -1:].astype(np.float32) / 255.0
        colour = values[:, :, :-1].astype(np.float32)
        values = np.rint(colour * alpha + 255.0 * (1.0 - alpha)).astype(np.uint8)
    if values.shape[2] == 1:
        values = np.repeat(values, 3, axis=2)
    return np.ascontiguousarray(values)


def _array_eight_bit(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return cast("NDArray[np.uint8]", array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return np.rint(array / 257.0).astype(np.uint8)
    if array.dtype.kind in "iu" and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    if array.dtype.kind == "f" and np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1:
        return np.rint(array.astype(np.float64) * 255.0).astype(np.uint8)
    raise ImageError(
        f"A picture array of {array.dtype} must hold finite values: integers from 0 to 255, or floats from 0 to 1."
    )


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:120] or type(error).__name__
