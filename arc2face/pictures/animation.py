"""Pictures in a row as a short film: WebP and GIF with Pillow, MP4 (H.264) with PyAV, which is an extra package."""

from __future__ import annotations

import importlib
import importlib.util
import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from arc2face.errors import SettingsError
from arc2face.settings import ANIMATION_KINDS, one_of
from arc2face.types import RgbU8
from arc2face.weights.writing import replace_with

__all__ = ["NO_MP4", "animation_bytes", "can_write", "save_animation"]

REST = 3
"""How many times as long a film that runs back again rests at either end."""
NO_MP4 = "MP4 needs one more package: pip install av. WebP and GIF need nothing."
_MP4_SECONDS = 4.0
"""An MP4 does not repeat by itself, so a short film is repeated until it lasts about this long."""
_CRF = "18"
"""x264's quality; visually lossless."""


def can_write(kind: str) -> bool:
    """Whether films of this kind can be written here."""
    return kind in ANIMATION_KINDS and (kind != "mp4" or importlib.util.find_spec("av") is not None)


def animation_bytes(images: Sequence[RgbU8], kind: str = "webp", milliseconds: int = 220, bounce: bool = True) -> bytes:
    """A film of (H, W, 3) uint8 RGB pictures of one size; WebP and GIF repeat for ever.

    Args:
        images: the pictures, in order.
        kind: webp, gif or mp4.
        milliseconds: how long each is shown.
        bounce: run back again, resting at both ends, so that nothing jumps.

    Raises:
        SettingsError: an unknown kind, no pictures, pictures of several sizes, or MP4 without the package for it.
    """
    if kind not in ANIMATION_KINDS or not images:
        raise SettingsError(
            f"An animation needs pictures and is saved as {one_of(f'.{one}' for one in ANIMATION_KINDS)}."
        )
    if len({image.shape for image in images}) != 1:
        raise SettingsError("The pictures of an animation must have one size.")
    order = list(images) + (list(images[-2:0:-1]) if bounce else [])
    lasting = [1] * len(order)
    if bounce:
        lasting[0] = lasting[len(images) - 1] = REST
    if kind == "mp4":
        return _mp4([image for image, times in zip(order, lasting, strict=True) for _ in range(times)], milliseconds)
    frames = [Image.fromarray(image) for image in order]
    options: dict[str, Any] = {"quality": 88, "method": 4} if kind == "webp" else {"optimize": 1}
    options |= {"duration": [times * milliseconds for times in lasting], "loop": 0}
    buffer = io.BytesIO()
    frames[0].save(buffer, kind.upper(), save_all=True, append_images=frames[1:], **options)
    return buffer.getvalue()


def save_animation(images: Sequence[RgbU8], path: Path, milliseconds: int = 220, bounce: bool = True) -> Path:
    """Writes a film, whole or not at all; the suffix decides between WebP, GIF and MP4. Raises as `animation_bytes`.

    Raises StorageError too, when the disk refuses.
    """
    data = animation_bytes(images, path.suffix.lower().lstrip("."), milliseconds, bounce)
    with replace_with(path) as temporary:
        temporary.write_bytes(data)
    return path


def _mp4(frames: Sequence[RgbU8], milliseconds: int) -> bytes:
    """H.264 with 4:2:0 colours, which every player knows; it wants even sides, so an odd one gets a pixel more."""
    if not can_write("mp4"):
        raise SettingsError(NO_MP4)
    av: Any = importlib.import_module("av")
    height, width = frames[0].shape[:2]
    room = ((0, height % 2), (0, width % 2), (0, 0))
    rounds = max(1, round(_MP4_SECONDS * 1000 / (milliseconds * len(frames))))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(1000, milliseconds), options={"crf": _CRF})
        stream.height, stream.width, stream.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
        for picture in list(frames) * rounds:
            frame = av.VideoFrame.from_ndarray(np.pad(picture, room, mode="edge"), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()
