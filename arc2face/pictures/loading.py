"""Pictures in and out: anything a person uploads becomes upright 8-bit RGB, through one door, `as_rgb_u8`.

Colour profiles are not applied: the networks were trained on pictures read without them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from arc2face.errors import ImageError
from arc2face.pictures.convert import array_to_rgb, pillow_to_rgb
from arc2face.pictures.decoding import (
    MAX_PIXELS,
    MAX_SIDE,
    MIN_SIDE,
    USE_ANOTHER,
    check_size,
    decode,
    decode_bytes,
    reason_of,
)
from arc2face.types import RgbU8

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MIN_SIDE",
    "ImageSource",
    "as_photos",
    "as_rgb_u8",
    "load_rgb_u8",
    "open_picture",
    "resize_square",
    "to_png_bytes",
]

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Largest accepted file, in bytes."""


class Readable(Protocol):
    """An open binary file or BytesIO."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes."""
        ...


ImageSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | Readable | Image.Image | NDArray[Any]"
)


def as_rgb_u8(source: ImageSource, name: str = "The picture") -> RgbU8:
    """Any picture as upright RGB.

    Args:
        source: path (`~` counts), encoded file contents, open binary file, Pillow image, or array (H, W) or
            (H, W, 1 to 4): grey, grey + alpha, RGB or RGBA. Arrays may be uint8, uint16 (0 to 65535), bool, integers
            within 0 to 255, or floats within 0 to 1.
        name: what error messages call it, unless it is a file.

    Returns:
        (H, W, 3) uint8, RGB, contiguous, with the EXIF rotation applied, transparency laid on white, grey, palette,
        CMYK and 16-bit pictures converted, and the first frame of an animation. An array that is all that already
        comes back as it is. Files of more than 50.5 million pixels come at half their size.

    Raises:
        ImageError: not a picture, damaged, empty, beyond MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE or MIN_SIDE, or a JPEG
            in too many passes.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    picture = open_picture(source, name)
    try:
        return pillow_to_rgb(picture)
    except MemoryError as error:
        raise ImageError("There is not enough memory to open this picture. Scale it down first.") from error
    except Exception as error:
        raise ImageError(f"The colour mode {picture.mode} cannot be converted to RGB. {USE_ANOTHER}") from error


def load_rgb_u8(source: ImageSource) -> RgbU8:
    """Read any picture as upright RGB: (H, W, 3) uint8. See `as_rgb_u8`; raises ImageError."""
    return as_rgb_u8(source)


def as_photos(photos: ImageSource | Iterable[ImageSource]) -> list[ImageSource]:
    """One picture or several as a list, undecoded: an array of four dimensions is several, one of three is one.

    Raises ImageError for what is neither.
    """
    if isinstance(photos, np.ndarray):
        return list(photos) if photos.ndim == 4 else [photos]
    if isinstance(photos, str | bytes | bytearray | memoryview | os.PathLike | Image.Image) or hasattr(photos, "read"):
        return [cast("ImageSource", photos)]
    if isinstance(photos, Iterable):
        return list(photos)
    raise ImageError(f"A picture or a list of pictures is needed, not {type(photos).__name__}. {USE_ANOTHER}")


def open_picture(source: ImageSource, name: str = "The picture") -> Image.Image:
    """Decode a picture and turn it upright, in its own colour mode; limits and errors as for `as_rgb_u8`."""
    if isinstance(source, Image.Image):
        check_size(source.size)
        return decode(source)
    if isinstance(source, np.ndarray):
        return Image.fromarray(_from_array(source))
    contents, name = _contents(source, name)
    return decode_bytes(contents, name)


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


def _contents(source: object, name: str) -> tuple[bytes, str]:
    if isinstance(source, bytes | bytearray | memoryview):
        _check_bytes(memoryview(source).nbytes, name)
        return bytes(source), name
    if isinstance(source, str | os.PathLike):
        return _read_file(cast("str | os.PathLike[str]", source))
    if hasattr(source, "read"):
        try:
            data: Any = cast("Readable", source).read(MAX_FILE_BYTES + 1)
        except Exception as error:
            raise ImageError(f"{name} cannot be read ({reason_of(error)}). Choose another picture.") from error
        if isinstance(data, bytes):
            _check_bytes(len(data), name)
            return data, name
        raise ImageError(f"{name} was opened as text; open the file in binary mode.")
    raise ImageError(f"A picture is needed, not {type(source).__name__}. {USE_ANOTHER}")


def _read_file(source: str | os.PathLike[str]) -> tuple[bytes, str]:
    try:
        path = Path(source).expanduser()
        name = f"The file {path.name!r}"
        if not path.is_file():
            raise ImageError(f"{name} does not exist, or is not a file. Choose another picture.")
        _check_bytes(path.stat().st_size, name)
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # a null byte in the path, no home folder
        raise ImageError(
            f"The file {str(source)!r} cannot be read ({reason_of(error)}). Choose another one."
        ) from error
    _check_bytes(len(data), name)
    return data, name


def _check_bytes(size: int, name: str) -> None:
    if size == 0:
        raise ImageError(f"{name} is empty (0 bytes). Upload it again, or choose another picture.")
    if size > MAX_FILE_BYTES:
        limit, megabyte = MAX_FILE_BYTES // 2**20, size / 2**20
        raise ImageError(f"{name} has {megabyte:.0f} MB; at most {limit} MB are accepted. Use a smaller picture.")


def _from_array(array: NDArray[Any]) -> RgbU8:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4)):
        raise ImageError(f"A picture array has the shape (height, width, 1 to 4 channels), not {array.shape}.")
    check_size((int(array.shape[1]), int(array.shape[0])))
    return array_to_rgb(array)
