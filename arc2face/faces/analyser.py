"""Finding faces, embedding them, and their 68 landmarks.

Networks: SCRFD (Guo et al., 2021), ArcFace (Deng et al., 2019) and insightface's 3D landmarks, run by insightface's
own classes. Each is loaded on first use.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face import checks, forks
from arc2face.errors import EmbeddingError, IncompatibleWeightsError, MissingWeightsError, NoFaceError, SettingsError
from arc2face.faces import search
from arc2face.faces.boxes import draw_boxes
from arc2face.faces.covered import covered_parts
from arc2face.faces.face import Face
from arc2face.faces.networks import load_detector, load_landmarks, load_recogniser, understood
from arc2face.faces.recogniser import check_recogniser, check_recogniser_file
from arc2face.faces.search import DETECTION_LADDER
from arc2face.faces.turns import quarter_turns, turn_face, turn_picture, turn_points
from arc2face.pictures.loading import ImageSource, as_rgb_u8
from arc2face.types import Float32Array, IdentityEmbedding, RgbU8

__all__ = ["DETECTION_LADDER", "Face", "FaceAnalyser", "check_recogniser", "choose_face", "draw_boxes"]

logger = logging.getLogger(__name__)

ONE_CLEAR_FACE = "Use a photo that shows one face clearly, upright and not too small."
SURE = 0.97
"""Score from which nobody asks whether the picture lies on its side."""
CLOSE_ENOUGH = 48.0
"""Side in the detector's pixels from which half its usual input shows which way up a face is."""
TURN_GAIN = 0.03
"""By how much a quarter turn must raise the score to be believed."""


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
        device_id: int = 0,
    ) -> None:
        """`providers`: onnxruntime's, None for CUDA where it has it. `device_id`: which CUDA device, from 0."""
        self.detector_path = Path(detector_path)
        self.recogniser_path = Path(recogniser_path)
        self.landmarks_path = Path(landmarks_path) if landmarks_path is not None else None
        self._providers = tuple(providers) if providers is not None else None
        self._device_id = device_id
        self._lock = threading.RLock()
        self._nets: dict[str, Any] = {}
        self._recogniser_sha256: str | None = None
        forks.remake_in_child(self)

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

    def detect(
        self,
        rgb_u8: ImageSource,
        *,
        ladder: Sequence[tuple[float, int]] = DETECTION_LADDER,
        turns: bool = True,
    ) -> tuple[Face, ...]:
        """The faces of the first ladder rung that finds any, likeliest first, without embeddings; empty when none.

        The likeliest has the largest squared score times area; boxes that are hardly faces beside it are left out
        (see `arc2face.faces.search.believable`), and at most eight are given.

        Args:
            rgb_u8: (H, W, 3) uint8 RGB, or anything `as_rgb_u8` takes.
            ladder: (canvas factor, detector input) pairs.
            turns: where the score is low, the face not upright, or there is none, look at the picture's quarter turns
                too. The faces' points are in pixels of the picture as it came in any case; theirs tell how it lies.

        Raises:
            ImageError: not a picture.
            WeightsError: the detector is missing or damaged.
        """
        picture = as_rgb_u8(rgb_u8)
        found = self._look(picture, ladder)
        if turns and _best(found) < SURE:
            turn = self._way_up(picture, found)
            turned = turn_picture(picture, turn)
            again = self._look(turned, ladder) if turn else []
            if again:
                found = [turn_face(face, -turn, _size(turned)) for face in again]
        return search.believable(found)

    def closer(self, rgb_u8: RgbU8, face: Face) -> Face:
        """The same face, found again in a crop twice its size when the detector saw it very small; else as it is.

        In a large photo a small face has only a few pixels of the detector's input, too few for exact points.
        """
        crop = search.close_up(face, _size(rgb_u8))
        if crop is None:
            return face
        left, top, right, bottom = crop
        turn = quarter_turns(face)
        part = turn_picture(np.ascontiguousarray(rgb_u8[top:bottom, left:right]), turn)
        offset = np.array([left, top], np.float32)
        again = [turn_face(found, -turn, _size(part)) for found in self._look(part, DETECTION_LADDER)]
        moved = [replace(f, box=f.box + np.tile(offset, 2), points=f.points + offset) for f in again]
        nearest = max(moved, key=lambda found: search.shared(found, face), default=None)
        if nearest is None or search.shared(nearest, face) < 0.3 * max(face.area, nearest.area):
            return face
        return replace(face, box=nearest.box, points=nearest.points)

    def embed(self, rgb_u8: RgbU8, face: Face) -> IdentityEmbedding:
        """ArcFace embedding of one detected face, with the recogniser's hash. Small faces get a second look.

        Raises:
            EmbeddingError: the five points are unusable, or the network returned NaN or zeros.
        """
        if not np.isfinite(face.points).all() or float(np.ptp(face.points, axis=0).max()) < 1.0:
            raise EmbeddingError("The face's five points are unusable; detect the face again in a clearer picture.")
        digest = self.recogniser_sha256
        face = self.closer(rgb_u8, face)
        bgr_u8 = np.ascontiguousarray(rgb_u8[:, :, ::-1])
        with self._lock:
            net = self._net(
                "recogniser", lambda: load_recogniser(self.recogniser_path, self._providers, self._device_id)
            )
            with understood(self.recogniser_path):
                vector = np.asarray(net.get(bgr_u8, _insight_face(face)), np.float32)
        return IdentityEmbedding(vector, digest)

    def covered(self, rgb_u8: RgbU8, face: Face) -> tuple[str, ...]:
        """Which of `eyes` and `mouth` of one detected face something seems to lie over."""
        from insightface.utils.face_align import norm_crop

        crop = norm_crop(rgb_u8, self.closer(rgb_u8, face).points)
        return covered_parts(np.asarray(crop, np.uint8))

    def landmarks(self, rgb_u8: RgbU8, face: Face) -> Float32Array:
        """(68, 2) float32 x, y in pixels, iBUG order; projections of 3D points, so the far jaw may lie behind the face.

        Raises:
            MissingWeightsError: the landmark network is not there.
        """
        path = self.landmarks_path
        if path is None:
            raise MissingWeightsError("The landmark network 1k3d68.onnx is missing. Run: arc2face download pose")
        face = self.closer(rgb_u8, face)
        turn = quarter_turns(face)  # the network knows upright faces only
        turned = turn_picture(rgb_u8, turn)
        lying = turn_face(face, turn, _size(rgb_u8))
        bgr_u8 = np.ascontiguousarray(turned[:, :, ::-1])
        with self._lock:
            net = self._net("landmarks", lambda: load_landmarks(path, self._providers, self._device_id))
            with understood(path):
                points = np.asarray(net.get(bgr_u8, _insight_face(lying)), np.float32)
        if points.shape[0] != 68:
            raise IncompatibleWeightsError(f"{path.name} gives {points.shape[0]} points instead of 68.")
        return np.ascontiguousarray(turn_points(points[:, :2], -turn, _size(turned)))

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

    def after_fork(self) -> None:
        """In a forked child: the networks' threads do not exist there, so they are loaded again."""
        self._lock = threading.RLock()
        forks.abandon(self._nets)
        self._nets = {}

    def _look(self, picture: RgbU8, ladder: Sequence[tuple[float, int]]) -> list[Face]:
        """What the first rung that sees anything sees."""
        bgr_u8 = np.ascontiguousarray(picture[:, :, ::-1])
        with self._lock:
            load = lambda: load_detector(self.detector_path, self._providers, self._device_id)  # noqa: E731
            net = self._net("detector", load)
            for factor, size in search.rungs(ladder, net.static_input_size):
                canvas = search.canvas_of(bgr_u8, factor)
                with understood(self.detector_path):
                    boxes, points = net.detect(canvas.bgr_u8, input_size=(size, size))
                    faces = search.faces_of(boxes, points, canvas)
                if faces:
                    return faces
        return []

    def _way_up(self, picture: RgbU8, found: Sequence[Face]) -> int:
        """How many quarter turns show the most certain upright face; 0 unless one is clearly better."""
        part, ladder = picture, search.TURNED_LADDER
        if found:
            likeliest = search.believable(found)[0]
            # very small faces say little about which way up they are; a crop around the likeliest one does
            left, top, right, bottom = search.close_up(likeliest, _size(picture)) or (0, 0, *_size(picture)[::-1])
            part = picture[top:bottom, left:right]
            half = search.INPUT_SIDE // 2
            ladder = ((1.0, half if search.seen_side(likeliest, _size(part), half) >= CLOSE_ENOUGH else 2 * half),)
        scores = [_best(self._look(turn_picture(part, turn), ladder)) for turn in range(4)]
        if part.shape == picture.shape:
            scores[0] = max(scores[0], _best(found))
        turn = max(range(4), key=lambda turn: scores[turn])
        return turn if scores[turn] > scores[0] + TURN_GAIN else 0

    def _net(self, name: str, load: Callable[[], Any]) -> Any:
        if name not in self._nets:
            logger.info("loading the face %s", name)
            self._nets[name] = load()
        return self._nets[name]


def choose_face(
    faces: Sequence[Face], pick: int | None = None, picture: str = "the picture", advice: str = ONE_CLEAR_FACE
) -> Face:
    """The face with number `pick` (0-based, as on the preview minus one), or the likeliest.

    Raises:
        NoFaceError: `faces` is empty; the message names `picture` and ends with `advice`.
        SettingsError: no face with that number.
    """
    if not faces:
        raise NoFaceError(f"No face was found in {picture}. {advice}")
    if pick is None:
        return faces[0]
    pick = checks.whole("A face number", pick, (-1000, 1000))
    if not 0 <= pick < len(faces):
        raise SettingsError(f"There is no face number {pick + 1} in {picture}; it shows {len(faces)}.")
    return faces[pick]


def _insight_face(face: Face) -> Any:
    from insightface.app.common import Face as InsightFace

    return InsightFace(bbox=face.box.copy(), kps=face.points.copy(), det_score=face.score)


def _size(picture: NDArray[Any]) -> tuple[int, int]:
    return int(picture.shape[0]), int(picture.shape[1])


def _best(faces: Sequence[Face]) -> float:
    """Score of the likeliest face; one that is not upright counts for nothing."""
    likely = search.believable(faces)
    return likely[0].score if likely and not quarter_turns(likely[0]) else 0.0
