"""From an encoded photo to square pixels, in one way for the trainers and for the annotator.

Labels belong to what the trainer sees: the photo turned upright (EXIF), without transparency, its largest centred
square cut out, not squashed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arc2face.pictures.loading import load_rgb_u8, resize_square

HEAD, TAIL = 16, 2048


def square_picture(content: bytes, size: int | None = None) -> NDArray[np.uint8]:
    """(S, S, 3) uint8 RGB; `size` None keeps the photo's own resolution. Raises ImageError, with the reason."""
    rgb = load_rgb_u8(content)
    return resize_square(rgb, min(rgb.shape[:2]) if size is None else size)


def looks_whole(head: bytes, tail: bytes, size: int) -> bool:
    """Whether a photo's first and last bytes are those of a JPEG, PNG or WebP of `size` bytes that was not cut off."""
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in tail
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return tail.endswith(b"IEND\xaeB`\x82")
    riff = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return riff and int.from_bytes(head[4:8], "little") + 8 <= size
