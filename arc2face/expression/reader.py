"""From a photo and a detected face to an expression, with the best face box that is available."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arc2face import forks
from arc2face.errors import WeightsError
from arc2face.expression.mesh import FaceMesh, mediapipe_installed
from arc2face.expression.smirk import SmirkEncoder
from arc2face.faces.face import Face
from arc2face.types import Expression, RgbU8

logger = logging.getLogger(__name__)

BoxSource = Literal["mediapipe", "landmarks68", "detector"]


@dataclass(frozen=True, slots=True, eq=False)
class ExpressionReading:
    """An expression and where its crop came from. `note`: one sentence when it was not MediaPipe, else empty."""

    expression: Expression
    box_from: BoxSource
    note: str = ""


class ExpressionReader:
    """SMIRK with its face box. Loads on first use; may be called from several threads."""

    def __init__(self, smirk_path: Path, landmarker_path: Path | None = None, device: str = "cpu") -> None:
        self.smirk_path = Path(smirk_path)
        self.landmarker_path = Path(landmarker_path) if landmarker_path is not None else None
        self.device = device
        self._lock = threading.Lock()
        self._encoder: SmirkEncoder | None = None
        self._mesh: FaceMesh | None = None
        self._mesh_problem = ""
        forks.remake_in_child(self)

    @property
    def encoder(self) -> SmirkEncoder:
        """The network. Raises the errors of `SmirkEncoder.from_file`."""
        with self._lock:
            if self._encoder is None:
                self._encoder = SmirkEncoder.from_file(self.smirk_path, self.device)
            return self._encoder

    @property
    def loaded(self) -> bool:
        """Whether the network is in memory."""
        return self._encoder is not None

    def read(self, rgb_u8: RgbU8, face: Face, landmarks68: ArrayLike | None = None) -> ExpressionReading:
        """Expression of one detected face.

        The crop follows MediaPipe's mesh where it is installed and finds this face, else the 68 landmarks (argument
        or `face.landmarks68`), else the detector's box.
        """
        points, source, note = self._box_points(rgb_u8, face, landmarks68)
        return ExpressionReading(self.encoder.read(rgb_u8, points), source, note)

    def close(self) -> None:
        """Forget the loaded networks; the next call loads them again."""
        with self._lock:
            if self._mesh is not None:
                self._mesh.close()
            self._encoder = self._mesh = None
            self._mesh_problem = ""

    def after_fork(self) -> None:
        """In a forked child: a new lock, and MediaPipe is loaded again, for its threads do not exist there."""
        self._lock = threading.Lock()
        forks.abandon(self._mesh)
        self._mesh = None

    def _box_points(
        self, rgb_u8: RgbU8, face: Face, landmarks68: ArrayLike | None
    ) -> tuple[NDArray[np.floating], BoxSource, str]:
        mesh = self._open_mesh()
        points = mesh.points_of(rgb_u8, face) if mesh is not None else None
        if points is not None:
            return points, "mediapipe", ""
        reason = self._mesh_problem if mesh is None else "MediaPipe does not find this face."
        landmarks = landmarks68 if landmarks68 is not None else face.landmarks68
        if landmarks is not None:
            return (
                np.asarray(landmarks, np.float64),
                "landmarks68",
                f"{reason} The crop follows the 68 face landmarks instead.",
            )
        corners = face.box.reshape(2, 2).astype(np.float64)
        return corners, "detector", f"{reason} The crop follows the detector's box instead, which is less exact."

    def _open_mesh(self) -> FaceMesh | None:
        with self._lock:
            if self._mesh is None and not self._mesh_problem:
                self._mesh_problem = self._load_mesh()
            return self._mesh

    def _load_mesh(self) -> str:
        """Load MediaPipe; returns why not, or an empty text."""
        if self.landmarker_path is None or not self.landmarker_path.is_file():
            return "MediaPipe's model file face_landmarker.task is not there."
        if not mediapipe_installed():
            return "MediaPipe is not installed."
        try:
            self._mesh = FaceMesh(self.landmarker_path)
        except WeightsError as error:
            logger.warning("%s", error)
            return str(error)
        return ""
