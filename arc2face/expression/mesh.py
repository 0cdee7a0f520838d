"""MediaPipe's face mesh, where the optional package and its model file are present.

SMIRK was trained on crops around this mesh. Package: mediapipe, never installed unasked, because its native library can
report usage to its maker (docs/privacy.md); model: `face_landmarker.task`, which the package does not ship.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np

from arc2face.errors import CorruptWeightsError, MissingWeightsError
from arc2face.faces.face import Face
from arc2face.faces.ffhq import Float64Array
from arc2face.types import RgbU8

logger = logging.getLogger(__name__)

INSTALL = 'pip install "arc2face-studio[mediapipe]"'
"""How to add the package (`arc2face.advice` says it as it works where the user is)."""

_CONFIDENCE = 0.1  # the original application's thresholds
_NEIGHBOURHOOD = 2.2  # side of the second look around a face, in box sides


def mediapipe_installed() -> bool:
    """Whether the package is there; it is not imported."""
    return importlib.util.find_spec("mediapipe") is not None


class FaceMesh:
    """MediaPipe's Face Landmarker for single pictures, one face at a time."""

    def __init__(self, model_path: Path) -> None:
        """Load the model.

        Raises:
            MissingWeightsError: the package or the file is missing.
            CorruptWeightsError: the file is not a landmarker bundle.
        """
        if not model_path.is_file():
            raise MissingWeightsError(f"{model_path.name} is missing. Fetch it with: arc2face download expression")
        self._lock = threading.Lock()
        self._mediapipe, vision, base = _import_mediapipe()
        options = vision.FaceLandmarkerOptions(
            # from memory, not by path: MediaPipe cannot open paths with some characters on Windows
            base_options=base.BaseOptions(model_asset_buffer=model_path.read_bytes()),
            num_faces=1,
            min_face_detection_confidence=_CONFIDENCE,
            min_face_presence_confidence=_CONFIDENCE,
        )
        try:
            self._landmarker = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise CorruptWeightsError(
                f"{model_path.name} cannot be opened ({error}). Delete it and run: arc2face download expression"
            ) from error

    def points(self, rgb_u8: RgbU8) -> Float64Array | None:
        """Mesh of the most prominent face, (478, 2) x, y in pixels, float64; None when none is found, or on failure."""
        picture = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(rgb_u8)
        )
        try:
            with self._lock:
                found = self._landmarker.detect(picture).face_landmarks
        except (RuntimeError, ValueError) as error:  # the reader then takes its other landmarks
            logger.warning("MediaPipe failed on this picture: %s", error)
            return None
        if not found:
            return None
        height, width = rgb_u8.shape[:2]
        return np.array([(point.x * width, point.y * height) for point in found[0]], np.float64)

    def close(self) -> None:
        """Release MediaPipe's graph; unreleased, it complains when the interpreter ends."""
        self._landmarker.close()

    def points_of(self, rgb_u8: RgbU8, face: Face) -> Float64Array | None:
        """Mesh of this face: looks at the whole picture first, as the original does, then around the face alone."""
        whole = self.points(rgb_u8)
        if whole is not None and _belongs(whole, face):
            return whole
        left, top, right, bottom = _neighbourhood(face, rgb_u8)
        if right - left < 16 or bottom - top < 16:
            return None
        near = self.points(rgb_u8[top:bottom, left:right])
        if near is None:
            return None
        near = near + np.array([left, top])
        return near if _belongs(near, face) else None


def _import_mediapipe() -> tuple[Any, Any, Any]:
    try:
        return (
            importlib.import_module("mediapipe"),
            importlib.import_module("mediapipe.tasks.python.vision"),
            importlib.import_module("mediapipe.tasks.python"),
        )
    except (ImportError, OSError) as error:  # OSError: a system library such as libGL is missing
        raise MissingWeightsError(f"MediaPipe cannot be used here ({error}). Install it with: {INSTALL}") from error


def _belongs(points: Float64Array, face: Face) -> bool:
    """Whether the mesh lies on this face and not on a neighbour."""
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    reach = max(face.box[2] - face.box[0], face.box[3] - face.box[1]) * 0.4
    return bool(np.hypot(middle[0] - face.centre[0], middle[1] - face.centre[1]) <= reach)


def _neighbourhood(face: Face, rgb_u8: RgbU8) -> tuple[int, int, int, int]:
    side = float(max(face.box[2] - face.box[0], face.box[3] - face.box[1])) * _NEIGHBOURHOOD / 2
    height, width = rgb_u8.shape[:2]
    x, y = face.centre
    return max(int(x - side), 0), max(int(y - side), 0), min(int(x + side), width), min(int(y + side), height)
