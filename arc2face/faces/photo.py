"""One photo and what was found in it, so that nothing is computed twice between upload and result."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from arc2face import forks
from arc2face.faces.analyser import ONE_CLEAR_FACE, FaceAnalyser, choose_face
from arc2face.faces.face import Face
from arc2face.pictures.loading import ImageSource, as_rgb_u8
from arc2face.types import Float32Array, IdentityEmbedding, RgbU8

T = TypeVar("T")


class Photo:
    """A picture file or array with its faces, identity embeddings and landmarks, each computed at most once.

    Thread-safe: two threads that ask at once get one computation. The decoded picture stays until `forget_pixels`;
    what was found stays as long as the object. A photo looked at through another analyser is looked at anew.

    `name`: how messages call it, such as "the photo of the person".
    """

    def __init__(self, source: ImageSource, name: str = "the picture") -> None:
        """`source`: whatever `as_rgb_u8` takes. Files are decoded when pixels are first needed, others now."""
        self.name = name
        self.path = Path(source) if isinstance(source, str | os.PathLike) else None
        self._pixels: RgbU8 | None = None if self.path is not None else as_rgb_u8(source, name[:1].upper() + name[1:])
        self._lock = threading.RLock()
        self._analyser: FaceAnalyser | None = None
        self._faces: tuple[Face, ...] | None = None
        self._embeddings: dict[int, IdentityEmbedding] = {}
        self._landmarks: dict[int, Float32Array] = {}
        self._covered: dict[int, tuple[str, ...]] = {}
        forks.remake_in_child(self)

    def after_fork(self) -> None:
        """In a forked child: a new lock."""
        self._lock = threading.RLock()

    @classmethod
    def of(cls, picture: Photo | ImageSource, name: str | None = None) -> Photo:
        """The photo itself, or a new one around a picture. `name`: what messages call it from now on."""
        if not isinstance(picture, Photo):
            return cls(picture, name or "the picture")
        picture.name = name or picture.name
        return picture

    @property
    def rgb_u8(self) -> RgbU8:
        """(H, W, 3) uint8 RGB, upright. Raises ImageError when the file cannot be used."""
        with self._lock:
            if self._pixels is None:
                assert self.path is not None
                self._pixels = as_rgb_u8(self.path)
            return self._pixels

    @property
    def pixel_bytes(self) -> int:
        """Memory that the decoded picture takes now."""
        return 0 if self._pixels is None else self._pixels.nbytes

    def forget_pixels(self) -> None:
        """Free the decoded picture of a file; it is decoded again when needed."""
        with self._lock:
            if self.path is not None:
                self._pixels = None

    def faces(self, analyser: FaceAnalyser) -> tuple[Face, ...]:
        """All faces, best first; empty when there is none."""
        with self._lock:
            if self._analyser is not analyser:
                self._analyser, self._faces = analyser, None
                self._embeddings, self._landmarks, self._covered = {}, {}, {}
            if self._faces is None:
                self._faces = analyser.detect(self.rgb_u8)
            return self._faces

    def face(self, analyser: FaceAnalyser, pick: int | None = None, advice: str = ONE_CLEAR_FACE) -> Face:
        """The best face, or number `pick` (0-based). Raises NoFaceError or SettingsError, naming the photo."""
        return choose_face(self.faces(analyser), pick, self.name, advice)

    def embedding(self, analyser: FaceAnalyser, face: Face) -> IdentityEmbedding:
        """Identity embedding of one of `faces`. Raises EmbeddingError."""
        return self._once(self._embeddings, analyser, face, lambda: analyser.embed(self.rgb_u8, face))

    def covered(self, analyser: FaceAnalyser, face: Face) -> tuple[str, ...]:
        """Which of `eyes` and `mouth` of one of `faces` something seems to lie over."""
        return self._once(self._covered, analyser, face, lambda: analyser.covered(self.rgb_u8, face))

    def landmarks(self, analyser: FaceAnalyser, face: Face) -> Float32Array:
        """(68, 2) float32 x, y in pixels of one of `faces`. Raises MissingWeightsError."""
        return self._once(self._landmarks, analyser, face, lambda: analyser.landmarks(self.rgb_u8, face))

    def _once(self, kept: dict[int, T], analyser: FaceAnalyser, face: Face, compute: Callable[[], T]) -> T:
        with self._lock:
            self.faces(analyser)
            if face.index not in kept:
                kept[face.index] = compute()
            return kept[face.index]
