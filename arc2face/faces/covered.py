"""Whether something lies over the eyes or the mouth of a face: glasses too dark to see through, a mask, a bar.

A face says who it is by these parts; without them an identity embedding is a guess. They are told by what every
uncovered one shows and no plain cover does: within a few pixels of the aligned crop, dark beside bright (lashes, iris,
white; lips beside skin). No network is needed, and a hand or a patterned scarf may pass.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arc2face.types import RgbU8

EYES, MOUTH = ((38, 52), (74, 52)), (56, 92)
"""Middle of the eyes and of the mouth in the crop of 112 x 112 pixels that recognisers take, x and y."""
EYE_REACH, MOUTH_REACH = (9, 5), (16, 8)
"""Pixels from the middle to the border of the looked-at part, across and down."""
FACE = np.s_[30:105, 25:87]
USUAL = 130.0
"""Brightness of a face to which contrasts are scaled, of 255."""
LEAST_EYES, LEAST_MOUTH = 24.0, 18.0
"""Contrast below which a part counts as covered. Of 400 rendered faces 398 have 44 and 35 or more, blurred by two
pixels 25 and 23; plain bars have 7 and 15 at most."""
DARKEST_EYES = 85.0
"""Brightness that a quarter of an eye's part reaches, on the brighter side: 98 or more without dark glasses."""
LUMA = np.array([0.299, 0.587, 0.114])
WARNINGS: dict[tuple[str, ...], str] = {
    ("eyes",): "Something seems to cover the eyes ({}). Use a photo that shows the whole face.",
    ("mouth",): "Something seems to cover the mouth ({}). Use a photo that shows the whole face.",
    ("eyes", "mouth"): "Something seems to cover eyes and mouth ({}). Use a photo that shows the whole face.",
}
"""What is said about a photo, by what is covered."""


def covered_parts(crop_rgb_u8: RgbU8) -> tuple[str, ...]:
    """Which of `eyes` and `mouth` are covered in a (112, 112, 3) uint8 RGB crop aligned as for ArcFace."""
    bright, redness = _channels(crop_rgb_u8)
    eyes = max(_contrast(bright, eye, EYE_REACH) for eye in EYES)
    brightest = max(float(np.percentile(_part(bright, eye, EYE_REACH), 75)) for eye in EYES)
    lips = max(_contrast(bright, MOUTH, MOUTH_REACH), _contrast(redness, MOUTH, MOUTH_REACH))
    found = {"eyes": eyes < LEAST_EYES or brightest < DARKEST_EYES, "mouth": lips < LEAST_MOUTH}
    return tuple(part for part, covered in found.items() if covered)


def warning_of(covered: tuple[str, ...], photo: str) -> str:
    """One sentence for the user about a photo, which is called `photo`; empty where nothing is covered."""
    return WARNINGS[covered].format(photo) if covered else ""


def _channels(crop_rgb_u8: RgbU8) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Brightness and red over green, both scaled as if the face were as bright as usual."""
    colours = crop_rgb_u8.astype(np.float64)
    bright = colours @ LUMA
    colours *= USUAL / max(float(bright[FACE].mean()), 1.0)
    return colours @ LUMA, colours[..., 0] - colours[..., 1]


def _contrast(values: NDArray[np.float64], middle: tuple[int, int], reach: tuple[int, int]) -> float:
    low, high = np.percentile(_part(values, middle, reach), (10, 90))
    return float(high - low)


def _part(values: NDArray[np.float64], middle: tuple[int, int], reach: tuple[int, int]) -> NDArray[np.float64]:
    (x, y), (across, down) = middle, reach
    return values[y - down : y + down + 1, x - across : x + across + 1]
