"""Short videos for tests: steady ones from OpenCV; of varying rate as GIF, whose frames last as long as they say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from arc2face.types import RgbU8
from tests.tiny_faces import blank, draw_face

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # OpenCV reads it when it opens its first video
GREEN, YELLOW = (40, 190, 60), (190, 180, 40)


def face(x: int = 64, side: int = 128, colour: tuple[int, int, int] = GREEN) -> RgbU8:
    """A frame in which the tiny detector finds one face."""
    picture = blank(side, side)
    draw_face(picture, x, side // 2, 24, colour)
    return picture


def nobody(side: int = 128) -> RgbU8:
    return np.full((side, side, 3), 90, np.uint8)


def steady(path: Path, frames: Sequence[RgbU8], rate: float = 10.0) -> Path:
    """A video of constant rate: Motion JPEG in AVI, MPEG-4 in MP4."""
    code = "MJPG" if path.suffix == ".avi" else "mp4v"
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), rate, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
    writer.release()
    return path


def uneven(path: Path, frames: Sequence[RgbU8], milliseconds: Sequence[int]) -> Path:
    """A GIF whose frames last as long as `milliseconds` says."""
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=list(milliseconds), loop=0)
    return path
