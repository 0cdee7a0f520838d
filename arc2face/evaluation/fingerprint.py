"""Small prints of a picture: one that finds copies, one that shows how much two looks differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from arc2face.faces.alignment import image_align
from arc2face.types import RgbU8

HASH_WORDS = 4
THUMB = 32


def difference_hash(rgb_u8: RgbU8) -> NDArray[np.uint64]:
    """(4,) uint64: 256 bits, whether each of 16 x 16 grey cells is brighter than the one to its right.

    Copies that were scaled or saved again differ in a few bits (dHash, N. Krawetz, 2013).
    """
    small = Image.fromarray(rgb_u8).convert("L").resize((17, 16), Image.Resampling.BOX)
    grey = np.asarray(small, np.int16)
    # a margin of two grey levels, or a flat background would be noise
    bits = grey[:, :-1] > grey[:, 1:] + 2
    return np.packbits(bits).view(">u8").astype(np.uint64)


def thumb(rgb_u8: RgbU8, landmarks68: ArrayLike) -> RgbU8:
    """(32, 32, 3) uint8: the FFHQ-aligned face, very small."""
    return np.asarray(image_align(rgb_u8, landmarks68, output_size=THUMB, transform_size=4 * THUMB)).copy()


def hamming(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[Any]:
    """(n, m) differing bits between (n, 4) and (m, 4) hashes."""
    total = np.zeros((len(a), len(b)), np.uint16)
    for word in range(a.shape[1]):
        total += np.bitwise_count(a[:, None, word] ^ b[None, :, word])
    return total
