"""Finding faces, embedding them, and their 68 landmarks.

Networks: SCRFD (Guo et al., 2021), ArcFace (Deng et al., 2019) and insightface's 3D landmarks, run by insightface's
own classes. Each is loaded on first use.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arc2face.errors import EmbeddingError, IncompatibleWeightsError, MissingWeightsError, NoFaceError, SettingsError
from arc2face.faces.boxes import draw_boxes
from arc2face.faces.face import Face
from arc2face.faces.networks import load_detector, load_landmarks, load_recogniser
from arc2face.faces.recogniser import check_recogniser, check_recogniser_file
from arc2face.types import Float32Array, IdentityEmbedding, RgbU8

__all__ = ["Face", "FaceAnalyser", "check_recogniser", "choose_face", "draw_boxes"]

logger = logging.getLogger(__name__)

DETECTION_LADDER: tuple[tuple[float, int], ...] = (
    (1.0, 640),
    (1.0, 480),
    (1.0, 320),
    (1.0, 256),
    (1.6, 480),
    (1.6, 256),
    (2.6, 480),
)
"""(canvas side / picture side, detector input in pixels), tried in order until a face is found.

A face that fills the picture is too large for the detector's anchors at 640; smaller inputs and a wider black canvas
make it fit. The first rung is what the original demos use.
"""
CANVAS_PICTURE = 1280
"""Longest side in pixels of a picture that is laid on a canvas; larger ones are scaled down for the search."""
MAX_SHARED = 0.6
"""Share of the smaller box that may lie inside another face's box."""
ONE_CLEAR_FACE = "Use a photo that shows one face clearly, upright and not too small."
MAX_ASPECT = 16.0
"""Beyond this ratio of sides the short side is padded, so that scaling down leaves it some pixels."""


@dataclass(frozen=True, slots=True)
class _Canvas:
    """A picture, perhaps scaled down and laid on black: pixel p lies at p * scale + (left, top)."""

    bgr_u8: NDArray[np.uint8]
    left: int = 0
    top: int = 0
    scale: float = 1.0


class FaceAnalyser:
    """Detector, recogniser and landmark network on files of the antelopev2 folder.

    Building it opens no file. All methods may be called from several threads; the networks run one call at a time.
    """

    def __init__(
        self,
        detector_path: Path,
        recogniser_path: Path,
        landmarks_path: Path | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        self.detector_path = Path(detector_path)
        self.recogniser_path = Path(recogniser_path)
        self.landmarks_path = Path(landmarks_path) if landmarks_path is not None else None
        self._providers = tuple(providers) if providers is not None else None
        self._lock = threading.RLock()
        self._nets: dict[str, Any] = {}
        self._recogniser_sha256: str | None = None

    @classmethod
    def from_folder(cls, folder: Path, providers: Sequence[str] | None = None) -> FaceAnalyser:
        """The files of an `antelopev2` folder under their usual names.

        Raises:
            WrongRecogniserError, MissingWeightsError: see `check_recogniser`.
        """
        check_recogniser(folder)
        landmarks = folder / "1k3d68.onnx"
        return cls(
            folder / "scrfd_10g_bnkps.onnx",
            folder / "arcface.onnx",
            landmarks if landmarks.is_file() else None,
            providers,
        )

    @property
    def recogniser_sha256(self) -> str:
        """Hash of the recogniser file; refuses the known wrong ones with WrongRecogniserError."""
        with self._lock:
            if self._recogniser_sha256 is None:
                self._recogniser_sha256 = check_recogniser_file(self.recogniser_path)
            return self._recogniser_sha256

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the networks in memory: detector, recogniser, landmarks."""
        return tuple(sorted(self._nets))

    def detect(self, rgb_u8: RgbU8, *, ladder: Sequence[tuple[float, int]] = DETECTION_LADDER) -> tuple[Face, ...]:
        """All faces of the first ladder rung that finds any, largest first, without embeddings; empty when none.

        Args:
            rgb_u8: (H, W, 3) uint8 RGB, upright.
            ladder: (canvas factor, detector input) pairs.
        """
        bgr_u8 = np.ascontiguousarray(rgb_u8[:, :, ::-1])
        with self._lock:
            net = self._net("detector", lambda: load_detector(self.detector_path, self._providers))
            for factor, size in _rungs(ladder, net.static_input_size):
                canvas = _canvas(bgr_u8, factor)
                boxes, points = net.detect(canvas.bgr_u8, input_size=(size, size))
                faces = _faces(boxes, points, canvas)
                if faces:
                    return faces
        return ()

    def embed(self, rgb_u8: RgbU8, face: Face) -> IdentityEmbedding:
        """ArcFace embedding of one detected face, with the recogniser's hash.

        Raises:
            EmbeddingError: the five points are unusable, or the network returned NaN or zeros.
        """
        if not np.isfinite(face.points).all() or float(np.ptp(face.points, axis=0).max()) < 1.0:
            raise EmbeddingError("The face's five points are unusable; detect the face again in a clearer picture.")
        digest = self.recogniser_sha256
        bgr_u8 = np.ascontiguousarray(rgb_u8[:, :, ::-1])
        with self._lock:
            net = self._net("recogniser", lambda: load_recogniser(self.recogniser_path, self._providers))
            vector = net.get(bgr_u8, _insight_face(face))
        return IdentityEmbedding(np.asarray(vector, np.float32), digest)

    def landmarks(self, rgb_u8: RgbU8, face: Face) -> Float32Array:
        """(68, 2) float32 x, y in pixels, iBUG order; projections of 3D points, so the far jaw may lie behind the face.

        Raises:
            MissingWeightsError: the landmark network is not there.
        """
        path = self.landmarks_path
        if path is None:
            raise MissingWeightsError("The landmark network 1k3d68.onnx is missing. Run: arc2face download pose")
        bgr_u8 = np.ascontiguousarray(rgb_u8[:, :, ::-1])
        with self._lock:
            net = self._net("landmarks", lambda: load_landmarks(path, self._providers))
            points = np.asarray(net.get(bgr_u8, _insight_face(face)), np.float32)
        if points.shape[0] != 68:
            raise IncompatibleWeightsError(f"{path.name} gives {points.shape[0]} points instead of 68.")
        return np.ascontiguousarray(points[:, :2])

    def analyse(self, rgb_u8: RgbU8, face: Face, *, embed: bool = True, landmarks: bool = False) -> Face:
        """The same face with embedding and, or landmarks filled in."""
        return replace(
            face,
            embedding=self.embed(rgb_u8, face) if embed else face.embedding,
            landmarks68=self.landmarks(rgb_u8, face) if landmarks else face.landmarks68,
        )

    def close(self) -> None:
        """Forget the loaded networks; the next call loads them again."""
        with self._lock:
            self._nets.clear()

    def _net(self, name: str, load: Callable[[], Any]) -> Any:
        if name not in self._nets:
            logger.info("loading the face %s", name)
            self._nets[name] = load()
        return self._nets[name]


def choose_face(
    faces: Sequence[Face], pick: int | None = None, picture: str = "the picture", advice: str = ONE_CLEAR_FACE
) -> Face:
    """The face with number `pick` (0-based, as on the preview minus one), or the largest.

    Raises:
        NoFaceError: `faces` is empty; the message names `picture` and ends with `advice`.
        SettingsError: no face with that number.
    """
    if not faces:
        raise NoFaceError(f"No face was found in {picture}. {advice}")
    if pick is None:
        return faces[0]
    if isinstance(pick, bool) or not 0 <= pick < len(faces):
        raise SettingsError(f"There is no face number {pick + 1} in {picture}; it shows {len(faces)}.")
    return faces[pick]


def _rungs(ladder: Sequence[tuple[float, int]], fixed: tuple[int, int] | None) -> Iterator[tuple[float, int]]:
    """The ladder; for a detector of fixed input size a wider canvas takes the place of a smaller input."""
    seen: set[float] = set()
    for factor, size in ladder:
        if fixed is None:
            yield factor, size
            continue
        wider = factor * max(1.0, fixed[0] / size)
        if wider not in seen:
            seen.add(wider)
            yield wider, fixed[0]


def _canvas(bgr_u8: NDArray[np.uint8], factor: float) -> _Canvas:
    height, width = bgr_u8.shape[:2]
    if factor == 1.0 and max(height, width) <= MAX_ASPECT * min(height, width):
        return _Canvas(bgr_u8)
    # the detector sees a few hundred pixels; a wide canvas around a huge picture would only fill memory
    scale = min(1.0, CANVAS_PICTURE / max(height, width))
    if scale < 1.0:
        smaller = Image.fromarray(bgr_u8).resize(
            (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BOX
        )
        bgr_u8 = np.asarray(smaller)
        height, width = bgr_u8.shape[:2]
    least = int(np.ceil(max(height, width) / MAX_ASPECT))
    new_height, new_width = round(max(height, least) * factor), round(max(width, least) * factor)
    top, left = (new_height - height) // 2, (new_width - width) // 2
    canvas = np.zeros((new_height, new_width, 3), np.uint8)
    canvas[top : top + height, left : left + width] = bgr_u8
    return _Canvas(canvas, left, top, scale)


def _faces(boxes: NDArray[Any], points: NDArray[Any] | None, canvas: _Canvas) -> tuple[Face, ...]:
    if points is None:
        return ()
    offset = np.array([canvas.left, canvas.top], np.float32)
    found: list[Face] = []
    for row, five in zip(boxes, points, strict=True):
        box = ((np.asarray(row[:4]) - np.tile(offset, 2)) / canvas.scale).astype(np.float32)
        five_points = ((np.asarray(five) - offset) / canvas.scale).astype(np.float32)
        usable = bool(np.isfinite(box).all() and np.isfinite(five_points).all())
        if usable and box[2] - box[0] >= 2 and box[3] - box[1] >= 2:
            found.append(Face(box, five_points, float(row[4])))
    found = _without_nested(found)
    found.sort(key=lambda face: face.area, reverse=True)
    return tuple(replace(face, index=index) for index, face in enumerate(found))


def _without_nested(faces: list[Face]) -> list[Face]:
    """Drop boxes that lie mostly inside a more certain one: a weak detector sees parts of a face as faces.

    The detector's own suppression compares intersection over union, which a small box inside a large one passes.
    """
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: face.score, reverse=True):
        if all(_shared(face, other) <= MAX_SHARED * min(face.area, other.area) for other in kept):
            kept.append(face)
    return kept


def _shared(a: Face, b: Face) -> float:
    low, high = np.maximum(a.box[:2], b.box[:2]), np.minimum(a.box[2:], b.box[2:])
    return float(np.prod(np.maximum(high - low, 0.0)))


def _insight_face(face: Face) -> Any:
    from insightface.app.common import Face as InsightFace

    return InsightFace(bbox=face.box.copy(), kps=face.points.copy(), det_score=face.score)
