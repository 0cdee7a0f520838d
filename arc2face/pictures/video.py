"""Short videos come in: which of their frames are wanted, and those frames as pictures.

Frames are chosen by their timestamps, never by their number, because recordings of browsers and phones have no constant
rate. Decoding is OpenCV's (FFmpeg inside the package, nothing on the system is needed or asked).
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arc2face import checks
from arc2face.errors import VideoError
from arc2face.types import RgbU8

__all__ = ["MAX_FRAMES_READ", "MAX_VIDEO_BYTES", "Sample", "pictures_at", "sample", "timestamps"]

MAX_VIDEO_BYTES = 512 << 20
MAX_FRAMES_READ = 20_000
"""More frames than this are not looked at: some eleven minutes at 30 a second."""
MAX_SIDE = 1280
"""Pixels; larger frames are scaled down, since one face in them is all that is read."""
MAX_FRAME_PIXELS = 8192 * 4320

_HEADS = {b"ftyp": 4, b"\x1a\x45\xdf\xa3": 0, b"RIFF": 0, b"GIF8": 0, b"moov": 4, b"mdat": 4, b"wide": 4, b"free": 4}
"""How the containers that we take begin, and where: MP4 and MOV, WebM and Matroska, AVI, GIF.

FFmpeg guesses by content, and would also follow playlists, which name other files and addresses.
"""
KINDS = "MP4, MOV, WebM, MKV, AVI or GIF"


@dataclass(frozen=True, slots=True)
class Sample:
    """One wanted frame. `frame`: its number in the file. `time`: seconds from the file's start when it is on screen.

    `until`: seconds at which the next wanted frame takes over.
    """

    frame: int
    time: float
    until: float


def timestamps(path: Path) -> list[float]:
    """When each frame comes on screen, seconds from the first, never falling. Raises VideoError."""
    found: list[float] = []
    with _opened(path) as video:
        rate = _rate(video)
        while video.grab():
            if len(found) >= MAX_FRAMES_READ:
                raise VideoError(
                    f"{path.name} has more than {MAX_FRAMES_READ} frames. Cut out the piece that you want."
                )
            found.append(float(video.get(_cv2().CAP_PROP_POS_MSEC)) / 1000.0)
    if not found:
        raise VideoError(f"{path.name} holds no readable picture. It may be damaged; save or record it again.")
    return _repaired(found, rate)


def sample(times: Sequence[float], rate: float, start: float = 0.0, end: float | None = None) -> list[Sample]:
    """The frames on screen at `start`, `start` + 1 / `rate` and so on, each frame at most once.

    Args:
        times: what `timestamps` gives.
        rate: wanted pictures per second.
        start: seconds, the first moment that is looked at.
        end: seconds, the first moment that is not; None for the end of the video.

    Raises:
        VideoError: nothing lies between start and end.
    """
    last = times[-1] + _usual_gap(times)
    stop = last if end is None else min(end, last)
    if not start < stop:
        raise VideoError(f"The video is {last:.1f} s long; nothing lies between {start:g} s and {stop:g} s.")
    chosen: list[tuple[int, float]] = []
    frame = 0
    for number in range(math.ceil((stop - start) * rate - 1e-6)):
        moment = start + number / rate
        while frame + 1 < len(times) and times[frame + 1] <= moment + 1e-6:
            frame += 1
        if not chosen or chosen[-1][0] != frame:
            chosen.append((frame, moment))
    ends = [moment for _, moment in chosen[1:]] + [stop]
    return [Sample(frame, moment, until) for (frame, moment), until in zip(chosen, ends, strict=True)]


def pictures_at(path: Path, frames: Sequence[int]) -> Iterator[RgbU8]:
    """The frames with these rising numbers, upright, (H, W, 3) uint8 RGB; fewer where the file ends early.

    Raises VideoError.
    """
    wanted = list(frames)
    with _opened(path) as video:
        number = 0
        while wanted and video.grab():
            if number == wanted[0]:
                wanted.pop(0)
                done, picture = video.retrieve()
                if not done:
                    return
                yield _as_rgb(picture)
            number += 1


def _cv2() -> Any:
    # Read when OpenCV opens its first video: a damaged file is our message, not the native library's.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    return cv2


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    _check_head(path)
    cv2 = _cv2()
    said = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    finally:
        cv2.utils.logging.setLogLevel(said)
    try:
        if not video.isOpened():
            raise VideoError(f"{path.name} cannot be played: it is damaged, or in a format unknown here. Take {KINDS}.")
        size = video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if size[0] * size[1] > MAX_FRAME_PIXELS:
            raise VideoError(f"{path.name} is {size[0]:.0f} x {size[1]:.0f} pixels large. Save it smaller.")
        yield video
    finally:
        video.release()


def _check_head(path: Path) -> None:
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise VideoError(f"The video {path.name} cannot be read ({error.strerror or error}).") from error
    if size > MAX_VIDEO_BYTES:
        raise VideoError(
            f"{path.name} has {size / 2**20:.0f} MB; at most {MAX_VIDEO_BYTES >> 20} are read. Cut out a shorter piece."
        )
    if not any(head[place:].startswith(mark) for mark, place in _HEADS.items()):
        what = "is empty" if not size else "is no video that is known here"
        raise VideoError(f"{checks.shown(path.name)} {what}. Take {KINDS}.")


def _rate(video: Any) -> float:
    rate = float(video.get(_cv2().CAP_PROP_FPS))
    return rate if math.isfinite(rate) and 0.1 <= rate <= 1000 else 25.0


def _repaired(times: list[float], rate: float) -> list[float]:
    """Rising from 0. A file without usable timestamps counts by its stated rate."""
    if len(times) > 1 and not times[-1] > times[0]:
        return [number / rate for number in range(len(times))]
    steady: list[float] = []
    for moment in times:
        usable = moment - times[0] if math.isfinite(moment) else 0.0
        steady.append(max(usable, steady[-1] if steady else 0.0))
    return steady


def _usual_gap(times: Sequence[float]) -> float:
    """Seconds that the last frame stays, which no file says: as long as most of the others."""
    gaps = np.diff(np.asarray(times))
    rising = gaps[gaps > 0]
    return float(np.median(rising)) if rising.size else 0.04


def _as_rgb(picture: Any) -> RgbU8:
    cv2 = _cv2()
    height, width = picture.shape[:2]
    if max(height, width) > MAX_SIDE:
        scale = MAX_SIDE / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
