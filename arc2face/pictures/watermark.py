"""An invisible watermark, for those who ask for it (`ARC2FACE_WATERMARK=on`): eight bytes in the picture's own pixels.

The package invisible-watermark writes them into singular values of the wavelet transform's low band (`dwtDctSvd`; no
network, no weights). It says that a picture was made here, never by whom: every copy of this program writes the same
bytes. What it survives was measured (docs/responsible-use.md); whoever wants it gone gets rid of it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arc2face import checks
from arc2face.errors import SettingsError
from arc2face.types import RgbU8

__all__ = ["LEAST_PIXELS", "SWITCH", "Watermark", "find_watermark", "wanted", "watermarked"]

SWITCH = "ARC2FACE_WATERMARK"
MARK = b"Arc2Face"
ENOUGH = 50
"""Bits of 64 that must agree. A picture of another origin reaches this once in 280,000 if its bits were coins."""
LEAST_PIXELS = 256 * 256
_METHOD = "dwtDctSvd"
_BITS = np.unpackbits(np.frombuffer(MARK, np.uint8))
_MISSING = f'{SWITCH} needs a package: pip install "arc2face-studio[watermark]"'


@dataclass(frozen=True, slots=True)
class Watermark:
    """`state`: `found`, `none`, or `too small` (such pictures never carry one). `bits`: how many of 64 agree."""

    state: str
    bits: int = 0


def wanted() -> bool:
    """Whether saved pictures get the watermark. Raises SettingsError for a wrong switch, or without the package."""
    if not checks.switched_on(SWITCH, usual=False):
        return False
    _library()
    return True


def watermarked(rgb_u8: RgbU8) -> RgbU8:
    """(H, W, 3) uint8 RGB with the watermark, if it is wanted and there are 256 x 256 pixels; else as it was."""
    if not wanted() or not _fits(rgb_u8):
        return rgb_u8
    encoder = _library().WatermarkEncoder()
    encoder.set_watermark("bytes", MARK)
    return np.ascontiguousarray(encoder.encode(np.ascontiguousarray(rgb_u8[:, :, ::-1]), _METHOD)[:, :, ::-1])


def find_watermark(source: Path | str | bytes) -> Watermark:
    """Look for it in a picture. Raises ImageError for an unreadable file, SettingsError without the package."""
    from arc2face.pictures.loading import as_rgb_u8

    library = _library()
    rgb_u8 = as_rgb_u8(source)
    if not _fits(rgb_u8):
        return Watermark("too small")
    told = library.WatermarkDecoder("bytes", len(_BITS)).decode(np.ascontiguousarray(rgb_u8[:, :, ::-1]), _METHOD)
    bits = int((np.unpackbits(np.frombuffer(told, np.uint8)) == _BITS).sum())
    return Watermark("found" if bits >= ENOUGH else "none", bits)


def _fits(rgb_u8: RgbU8) -> bool:
    return rgb_u8.shape[0] * rgb_u8.shape[1] >= LEAST_PIXELS


def _library() -> Any:
    try:
        return importlib.import_module("imwatermark")
    except ImportError as error:
        raise SettingsError(_MISSING) from error
