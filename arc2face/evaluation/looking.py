"""Looking at one picture: face, embeddings, pose, expression, prints. Each picture is opened once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.errors import InputError, MissingWeightsError
from arc2face.evaluation.fingerprint import HASH_WORDS, THUMB, difference_hash, thumb
from arc2face.evaluation.judge import Judge
from arc2face.evaluation.protocol import Protocol
from arc2face.evaluation.samples import Sample
from arc2face.faces.alignment import image_align
from arc2face.faces.photo import Photo
from arc2face.pictures.loading import as_rgb_u8
from arc2face.readers import Perception
from arc2face.types import EMBEDDING_SIZE, EXPRESSION_SIZE, RgbU8
from arc2face.weights.store import sha256_of

Row = dict[str, Any]
"""One picture's findings by column; see COLUMNS."""
COLUMNS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "faces": (np.int16, ()),
    "score": (np.float32, ()),
    "box": (np.float32, (4,)),
    "size": (np.int32, (2,)),
    "embedding": (np.float32, (EMBEDDING_SIZE,)),
    "judge": (np.float32, (EMBEDDING_SIZE,)),
    "pose": (np.float32, (3,)),
    "expression": (np.float32, (EXPRESSION_SIZE,)),
    "hash": (np.uint64, (HASH_WORDS,)),
    "pixels": (np.uint64, ()),
    "thumb": (np.uint8, (THUMB, THUMB, 3)),
    "aligned": (np.bool_, ()),
}
"""Type and shape of what is kept of each picture; floats are NaN where there is nothing. `size`: width, height.

`pixels`: first 64 bits of the SHA-256 of the decoded pixels. `aligned`: whether there is a `thumb`.
"""
ALIGNED_SIZE = 512
TRANSFORM_SIZE = 4096
"""Side at which the alignment samples before it scales down, as in the preparation of FFHQ."""


@dataclass(eq=False)
class Looker:
    """The readers in use. `inception`: (n, s, s, 3) uint8 to (n, d) features, None without a network.

    `pose_reason`, `expression_reason`: why a reader does not look, empty when it does.
    """

    perception: Perception
    protocol: Protocol
    judge: Judge | None = None
    inception: Callable[[RgbU8], NDArray[np.float32]] | None = None
    inception_size: int = 2048

    def __post_init__(self) -> None:
        if self.judge is not None:
            self.judge.check_independent(self.perception.faces)
        self.landmarks_reason = "" if self.perception.faces.landmarks_path else _missing("landmarks")
        self.pose_reason = self._why_no_pose()
        self.expression_reason = self._why_no_expression()

    @property
    def columns(self) -> dict[str, tuple[Any, tuple[int, ...]]]:
        """COLUMNS that this run fills."""
        chosen = {name: kind for name, kind in COLUMNS.items() if name != "judge" or self.judge is not None}
        return chosen | ({"inception": (np.float32, (self.inception_size,))} if self.inception else {})

    def models(self) -> dict[str, str]:
        """SHA-256 of every network that looks, by name."""
        faces, files = self.perception.faces, self.perception.models
        found = {"recogniser": faces.recogniser_sha256, "detector": sha256_of(faces.detector_path)}
        if faces.landmarks_path is not None:
            found["landmarks"] = sha256_of(faces.landmarks_path)
        wanted = {"smirk": not self.expression_reason, "emoca": not self.pose_reason}
        for name in (name for name, used in wanted.items() if used):
            path = files.locate(name)
            found |= {name: sha256_of(path)} if path is not None else {}
        return found | ({"judge": self.judge.sha256, "judge_order": self.judge.order} if self.judge else {})

    def look(self, sample: Sample) -> tuple[Row, str]:
        """The findings in one picture, and why there are none (empty when there are). Raises WeightsError."""
        row = {name: _nothing(kind, shape) for name, (kind, shape) in self.columns.items()}
        if sample.open is None:
            return row, (sample.asked.error if sample.asked else None) or "there is no picture"
        try:
            source = sample.open()
            rgb = as_rgb_u8(source, f"The picture {sample.key!r}" if isinstance(source, bytes) else sample.key)
        except InputError as error:
            return row, str(error)
        row["size"] = np.array([rgb.shape[1], rgb.shape[0]], np.int32)
        row["pixels"] = np.frombuffer(hashlib.sha256(rgb.tobytes()).digest()[:8], np.uint64)[0]
        row["hash"] = difference_hash(rgb)
        photo = Photo(rgb, sample.key)
        faces = photo.faces(self.perception.faces)
        row["faces"] = len(faces)
        if not faces:
            return row, "no face was found"
        try:
            self._look_at_face(row, photo)
        except InputError as error:
            return row, str(error)
        return row, ""

    def _look_at_face(self, row: Row, photo: Photo) -> None:
        analyser = self.perception.faces
        face = photo.faces(analyser)[0]
        row["score"], row["box"] = face.score, face.box
        row["embedding"] = photo.embedding(analyser, face).vector
        if self.judge is not None:
            row["judge"] = self.judge.embed(analyser, photo.rgb_u8, face)
        if not self.landmarks_reason:
            points = photo.landmarks(analyser, face)
            row["thumb"], row["aligned"] = thumb(photo.rgb_u8, points), True
            if self.inception is not None:
                row["inception"] = self.inception(_aligned(photo.rgb_u8, points)[None])[0]
        if not self.pose_reason:
            row["pose"] = _or_nan(lambda: self.perception.read_angles(photo), 3)
        if not self.expression_reason:
            row["expression"] = _or_nan(
                lambda: self.perception.read_expression(photo).expression.values, EXPRESSION_SIZE
            )

    def _why_no_pose(self) -> str:
        if not self.protocol.pose:
            return "the pose reader was switched off"
        if self.landmarks_reason:
            return self.landmarks_reason
        try:
            there = self.perception.pose_reader.available()[0]
        except MissingWeightsError:
            there = False
        return "" if there else _missing("emoca")

    def _why_no_expression(self) -> str:
        if not self.protocol.expression:
            return "the expression reader was switched off"
        return "" if self.perception.models.locate("smirk") is not None else _missing("smirk")


def _missing(key: str) -> str:
    from arc2face.weights.table import by_key

    return f"the file {by_key(key).path} is not there"


def _nothing(kind: Any, shape: tuple[int, ...]) -> Any:
    return np.full(shape, np.nan if np.dtype(kind).kind == "f" else 0, kind)


def _or_nan(read: Callable[[], Any], size: int) -> NDArray[np.float32]:
    """What a reader reads; NaN where it refuses this picture."""
    try:
        return np.asarray(read(), np.float32)
    except InputError:
        return np.full(size, np.nan, np.float32)


def aligned_face(perception: Perception, source: bytes | Path) -> RgbU8:
    """The FFHQ-aligned face of a picture, (512, 512, 3) uint8. Raises InputError when there is none."""
    photo = Photo(as_rgb_u8(source))
    return _aligned(photo.rgb_u8, perception.landmarks(photo))


def _aligned(rgb: RgbU8, landmarks68: NDArray[np.float32]) -> RgbU8:
    return np.asarray(image_align(rgb, landmarks68, ALIGNED_SIZE, TRANSFORM_SIZE)).copy()
