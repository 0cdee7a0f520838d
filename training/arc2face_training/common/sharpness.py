"""How sharp pictures are, as numbers that blur cannot pass: gradients, second derivatives, high frequencies.

Each is a mean over pictures; a set of generated pictures is judged by its ratio to real ones of the same size and
framing. All work on brightness (Rec. 601) in 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
LUMA = np.array([0.299, 0.587, 0.114])
HIGH_BAND = (0.25, 0.5)
"""Cycles per pixel; 0.5 is the finest that a picture can hold."""


def sharpness(pictures: U8 | Sequence[U8]) -> dict[str, float]:
    """Of (n, S, S, 3) uint8 RGB: `gradient`, `laplacian` (mean absolute), `high_frequency` (mean power of the band)."""
    bright = np.asarray(pictures).astype(np.float64) @ LUMA / 255
    across, down = np.diff(bright, axis=2), np.diff(bright, axis=1)
    middle = bright[:, 1:-1, 1:-1]
    sides = bright[:, :-2, 1:-1] + bright[:, 2:, 1:-1] + bright[:, 1:-1, :-2] + bright[:, 1:-1, 2:]
    return {
        "gradient": float((np.abs(across).mean() + np.abs(down).mean()) / 2),
        "laplacian": float(np.abs(4 * middle - sides).mean()),
        "high_frequency": _band_power(bright),
    }


def sharpness_ratios(pictures: U8 | Sequence[U8], real: U8 | Sequence[U8]) -> dict[str, float]:
    """Each number of `pictures` over that of `real`; 1 is as sharp, 0.75 to 1.25 is wanted."""
    found, wanted = sharpness(pictures), sharpness(real)
    return {f"{name}_ratio": value / max(wanted[name], 1e-12) for name, value in found.items()}


def _band_power(bright: NDArray[np.float64]) -> float:
    """Mean power in HIGH_BAND of the windowed pictures, without their mean."""
    size = bright.shape[1]
    window = np.hanning(size)[:, None] * np.hanning(size)[None]
    spectrum = np.abs(np.fft.fft2((bright - bright.mean((1, 2), keepdims=True)) * window)) ** 2 / size**2
    frequency = np.fft.fftfreq(size)
    radius = np.hypot(frequency[:, None], frequency[None])
    return float(spectrum[:, (radius >= HIGH_BAND[0]) & (radius < HIGH_BAND[1])].mean())
