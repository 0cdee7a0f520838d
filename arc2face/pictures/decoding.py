"""From a file's bytes to an upright Pillow picture, within limits on size and on work.

Only decoders of common picture formats are switched on, so that an upload never reaches an interpreter such as the
PostScript one. Sizes are checked on the header and the passes of a JPEG on its markers, before any pixel is decoded.
Large pictures are decoded one after the other, and reduced where they are far larger than anything here needs.
"""

from __future__ import annotations

import importlib
import io
import logging
import threading
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from arc2face import forks
from arc2face.errors import ImageError
from arc2face.pictures.convert import array_to_rgb
from arc2face.pictures.jpeg import END_OF_IMAGE, FILLER, read_scans

__all__ = ["USE_ANOTHER", "check_size", "decode", "decode_bytes", "reason_of"]

logger = logging.getLogger(__name__)

MAX_PIXELS = 80_000_000
"""Largest accepted picture, width times height. Stays below the size at which Pillow warns of a bomb."""
MAX_SLOW_PIXELS = 40_000_000
"""The same for JPEG 2000, whose decoder needs twelve bytes and some hundred nanoseconds per pixel."""
MAX_SIDE = 30_000
"""Longest accepted side in pixels; OpenCV's warps stop at 32767."""
MIN_SIDE = 8
"""Shortest accepted side in pixels."""
KEPT_PIXELS = 50_500_000
"""Pictures with more are halved while they are decoded; cameras of telephones end at 50 million."""
LARGE_PIXELS = 12_000_000
"""Pictures with more are decoded one at a time in the whole process."""
MAX_SCANS = 64
"""Most passes of a progressive JPEG; usual are ten."""
MAX_SCAN_PIXELS = 800_000_000
"""Most passes times pixels of a JPEG, which is what decoding costs."""
USE_ANOTHER = "Use a JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP or GIF picture."

_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM", "TGA", "AVIF", "HEIF")
_REDUCIBLE = ("L", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "F", "I")
_LOST_ROWS = 0.02  # share of a JPEG's rows that may be missing at its end


class _OneAtATime:
    """A lock that a forked child finds open."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        forks.remake_in_child(self)

    def after_fork(self) -> None:
        self.lock = threading.Lock()


_large = _OneAtATime()


def decode_bytes(contents: bytes, name: str = "The picture") -> Image.Image:
    """Decode a file's contents and turn the picture upright, in its own colour mode. Raises ImageError."""
    picture = _open(contents, name)
    check_size(picture.size)
    if picture.format == "JPEG2000" and picture.width * picture.height > MAX_SLOW_PIXELS:
        raise _too_large(picture.size, MAX_SLOW_PIXELS)
    with _large.lock if picture.width * picture.height > LARGE_PIXELS else nullcontext():
        if contents[:2] == b"\xff\xd8":
            return _decode_jpeg(picture, contents, name)
        if picture.format == "TIFF" and _has_deep_planes(picture):
            return _decode_planes(picture, contents)
        return decode(picture)


def decode(picture: Image.Image) -> Image.Image:
    """Decode an opened picture, reduced if it is very large, and turn it upright. Raises ImageError."""
    factor = 1
    while picture.width * picture.height > KEPT_PIXELS * factor**2:
        factor *= 2
    if factor > 1 and picture.format in ("JPEG", "MPO"):
        picture.draft(picture.mode, (picture.width // factor, picture.height // factor))
    try:
        picture.load()
    except MemoryError as error:
        raise ImageError("There is not enough memory to open this picture. Scale it down first.") from error
    except Exception as error:  # truncated and damaged data surface as many types
        raise _damaged(reason_of(error)) from error
    if picture.width * picture.height > KEPT_PIXELS:
        picture = _reduced(picture, factor)
    return _upright(picture)


def check_size(size: tuple[int, int]) -> None:
    """Refuse a (width, height) beyond the limits with ImageError."""
    width, height = size
    if min(size) < MIN_SIDE:
        raise ImageError(f"The picture has only {width} x {height} pixels; each side needs at least {MIN_SIDE}.")
    if max(size) > MAX_SIDE or width * height > MAX_PIXELS:
        raise _too_large(size, MAX_PIXELS)


def reason_of(error: BaseException) -> str:
    """The library's own words, on one line."""
    text = " ".join(str(error).split())
    return text[:120] or type(error).__name__


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
        raise ImageError(f"{name} is not a picture that can be read here. {USE_ANOTHER}") from error
    except Exception as error:  # decoders raise many types on damaged headers
        raise ImageError(f"{name} cannot be read ({reason_of(error)}). {USE_ANOTHER}") from error


def _decode_jpeg(picture: Image.Image, contents: bytes, name: str) -> Image.Image:
    scans = read_scans(contents)
    if scans.scans > MAX_SCANS or scans.scans * picture.width * picture.height > MAX_SCAN_PIXELS:
        raise ImageError(
            f"The picture is stored in {scans.scans} passes over {picture.width} x {picture.height} pixels, which "
            "takes too long to open. Scale it down, or save it as an ordinary (not progressive) JPEG."
        )
    if scans.ended or not scans.complete:
        return decode(picture)
    # Browsers show a file whose last bytes were lost. What differs when other data follows was not in the file.
    here, there = (decode(_open(contents + end + END_OF_IMAGE, name)) for end in (b"", FILLER))
    differs = np.asarray(here) != np.asarray(there)
    rows = np.flatnonzero(differs.any(axis=tuple(range(1, differs.ndim))))
    if len(rows) and here.height - rows[0] > max(16, _LOST_ROWS * here.height):
        raise _damaged("its last part is missing")
    return here


def _has_deep_planes(picture: Image.Image) -> bool:
    """Whether a TIFF stores more than eight bits per channel, channel after channel: Pillow reads that as noise."""
    tags: Any = getattr(picture, "tag_v2", {})
    return tags.get(284, 1) == 2 and tags.get(277, 1) > 1 and max(tags.get(258, (1,))) > 8


def _decode_planes(picture: Image.Image, contents: bytes) -> Image.Image:
    orientation = picture.getexif().get(0x0112, 1)
    try:
        tifffile = importlib.import_module("tifffile")
        with tifffile.TiffFile(io.BytesIO(contents)) as file:
            page: Any = file.pages[0]
            # Pillow has turned the size already; the limits on it were checked
            fits = sorted(page.shape[1:]) == sorted(picture.size) and page.shape[0] <= 4 and page.dtype.itemsize <= 4
            if not fits:
                raise ValueError("its size is not what its header says")
            planes: NDArray[Any] = page.asarray()
        rgb = Image.fromarray(array_to_rgb(np.moveaxis(planes, 0, -1)))
    except Exception as error:  # its parser raises many types
        raise ImageError(
            f"This kind of TIFF (deep colour, channel after channel) cannot be read ({reason_of(error)}). "
            "Save it as PNG, or with interleaved channels."
        ) from error
    rgb.getexif()[0x0112] = orientation
    return _upright(rgb)


def _reduced(picture: Image.Image, factor: int) -> Image.Image:
    if picture.mode in _REDUCIBLE:
        return _with_exif(picture.reduce(factor), picture)
    size = (max(1, picture.width // factor), max(1, picture.height // factor))
    return _with_exif(picture.resize(size, Image.Resampling.NEAREST), picture)


def _with_exif(picture: Image.Image, source: Image.Image) -> Image.Image:
    try:
        picture.getexif()[0x0112] = source.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF data must not cost the user a readable picture
        logger.debug("EXIF data cannot be read; the picture is taken as stored", exc_info=True)
    return picture


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF data must not cost the user a readable picture
        logger.debug("EXIF data cannot be read; the picture is taken as stored", exc_info=True)
        return picture


def _too_large(size: tuple[int, int], limit: int) -> ImageError:
    return ImageError(
        f"The picture has {size[0]} x {size[1]} pixels; at most {limit // 10**6} million pixels and "
        f"{MAX_SIDE} per side are accepted. Scale it down first."
    )


def _damaged(reason: str) -> ImageError:
    return ImageError(f"The picture is damaged or incomplete ({reason}). Save or upload it again, or use another.")
