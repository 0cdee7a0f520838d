"""What the product's own networks see in a photo: embedding, expression, normal map, aligned face.

The networks that find and recognise faces take one photo at a time; the head's encoders, where nearly all the time
goes, take a batch. The head is drawn straight into the photo's frame, without aligning the photo first: an aligned
photo would only be aligned to itself, at a second's cost.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arc2face.engine import Engine
from arc2face.errors import ImageError, InputError, NoFaceError
from arc2face.faces.alignment import image_align
from arc2face.faces.face import Face
from arc2face.faces.photo import Photo
from arc2face.faces.turns import quarter_turns
from arc2face.pictures.loading import resize_square, to_png_bytes
from arc2face.pose.geometry import FacePoints, five_points
from arc2face.pose.values import FAIL_ERROR
from arc2face_training.photos.annotations import DONE, NO_FACE, UNREADABLE
from arc2face_training.photos.pictures import square_picture

Alignment = Literal["none", "ffhq", "arcface"]
ARCFACE_SIDE = 112
SUPERSAMPLED = 4
"""The aligned face is sampled at so many times its side, then reduced. (FFHQ's own script: 4,096 pixels for any.)"""
RgbU8 = NDArray[np.uint8]


@dataclass
class Reading:
    """One photo. `state`: DONE, NO_FACE or UNREADABLE, and `reason`; `picture`: the aligned face, where asked for."""

    state: int = DONE
    reason: str = ""
    picture: RgbU8 | None = None
    embedding: NDArray[np.float32] | None = None
    expression: NDArray[np.float32] | None = None
    normals: bytes | None = None


class PhotoReader:
    """Reads photos with an engine's networks.

    `kinds`: embedding, expression, normals. `size`: side of the normal maps and of FFHQ-aligned faces.
    """

    def __init__(self, engine: Engine, kinds: tuple[str, ...], size: int, alignment: Alignment = "none") -> None:
        self.perception, self.kinds, self.size, self.alignment = engine.perception, kinds, size, alignment
        self.points: FacePoints | None = None

    def read(self, contents: list[bytes | Exception]) -> list[Reading]:
        """A batch of encoded photos, or why they could not be fetched."""
        photos = [self._prepared(content) for content in contents]
        readings = [self._faces(photo) if isinstance(photo, Photo) else photo for photo in photos]
        if "normals" in self.kinds:
            found = [
                (reading, photo)
                for reading, photo in zip(readings, photos, strict=True)
                if isinstance(photo, Photo) and reading.state == DONE
            ]
            self._heads(found)
        return readings

    def _prepared(self, content: bytes | Exception) -> Photo | Reading:
        """The photo that annotations belong to: upright, square, aligned where asked for."""
        if isinstance(content, Exception):
            return Reading(UNREADABLE, str(content))
        try:
            if self.alignment == "none":
                return Photo(square_picture(content))
            return Photo(self._aligned(Photo(content)))
        except ImageError as error:
            return Reading(UNREADABLE, str(error))
        except InputError as error:
            return Reading(NO_FACE, str(error))

    def _aligned(self, photo: Photo) -> RgbU8:
        if self.alignment == "ffhq":
            landmarks = self.perception.landmarks(photo)
            aligned = image_align(photo.rgb_u8, landmarks, self.size, min(SUPERSAMPLED * self.size, 4096))
            return np.asarray(aligned).copy()
        from insightface.utils import face_align

        face = photo.face(self.perception.faces)
        bgr = np.ascontiguousarray(photo.rgb_u8[:, :, ::-1])
        crop: Any = face_align.norm_crop(bgr, face.points, ARCFACE_SIDE)
        return np.ascontiguousarray(crop[:, :, ::-1])

    def _faces(self, photo: Photo) -> Reading:
        reading = Reading(picture=photo.rgb_u8 if self.alignment != "none" else None)
        if not self.kinds:
            return reading
        try:
            self._upright_face(photo)
            if "embedding" in self.kinds:
                reading.embedding = np.asarray(self.perception.embed(photo).normalized, np.float32)
            if "expression" in self.kinds:
                reading.expression = np.asarray(self.perception.read_expression(photo).expression.values, np.float32)
        except InputError as error:
            return Reading(NO_FACE, str(error))
        return reading

    def _upright_face(self, photo: Photo) -> Face:
        face = photo.face(self.perception.faces)
        if quarter_turns(face):
            raise NoFaceError("The face lies on its side; align the photos first (--align ffhq).")
        return face

    def _heads(self, found: list[tuple[Reading, Photo]]) -> None:
        """Normal maps of a batch, in the photos' own frames; a head that does not fit counts as no face."""
        import arc2face_emoca as emoca

        if not found:
            return
        model = self.perception.pose_reader.model
        self.points = self.points or FacePoints.of(model.geometry)
        squares = [resize_square(photo.rgb_u8, self.size) for _, photo in found]
        landmarks = [self.perception.landmarks(photo) * (self.size / photo.rgb_u8.shape[0]) for _, photo in found]
        crops = [emoca.preprocess(square, points) for square, points in zip(squares, landmarks, strict=True)]
        codes = model.encode(np.stack([crop.image for crop in crops]))
        frames = np.stack([crop.tform for crop in crops])
        drawn = model.decode(codes.shape, codes.exp, codes.pose, codes.cam, frames, self.size)
        for k, (reading, _) in enumerate(found):
            error = self._distance(self.points.on(drawn.projected[k]), landmarks[k])
            if error > FAIL_ERROR:
                reading.state, reading.reason = NO_FACE, f"The head could not be reconstructed (error {error:.2f})."
            else:
                reading.normals = to_png_bytes(np.asarray(drawn.normal_map[k].cpu().numpy(), np.uint8))

    def _distance(self, drawn: NDArray[np.float64], landmarks: NDArray[np.floating[Any]]) -> float:
        """Mean distance of the five drawn points from the detected ones, over the face's size."""
        pixels = (drawn[:, :2] + 1) / 2 * self.size - 0.5
        low, high = landmarks.min(0), landmarks.max(0)
        face = float(np.sqrt(max(float(np.prod(high - low)), 1.0)))
        error = float(np.hypot(*(pixels - five_points(landmarks)).T).mean()) / face
        return error if np.isfinite(error) else float("inf")


def jpeg_or_png(rgb_u8: RgbU8, kind: str) -> bytes:
    """An aligned face as a file: png, or jpg of quality 95 without colour subsampling."""
    if kind == "png":
        return to_png_bytes(rgb_u8)
    stream = io.BytesIO()
    Image.fromarray(rgb_u8).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()
