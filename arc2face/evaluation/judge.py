"""An independent second recogniser: any network in ArcFace's format, which the generator was not conditioned on.

The recogniser that conditions a generator flatters it; a second one that it never saw says how much.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from arc2face import checks
from arc2face.errors import EmbeddingError, MissingWeightsError, SettingsError
from arc2face.faces.analyser import FaceAnalyser
from arc2face.faces.face import Face
from arc2face.faces.networks import load_recogniser, understood
from arc2face.types import Float32Array, IdentityEmbedding, RgbU8
from arc2face.weights.store import sha256_of

ORDERS = ("rgb", "bgr")


class Judge:
    """A second recogniser (112 x 112 pixels in, 512 numbers out), loaded on first use."""

    def __init__(self, path: Path | str, order: str = "rgb", providers: list[str] | None = None) -> None:
        """`order`: the network's channel order; most are rgb, AdaFace is bgr.

        Raises MissingWeightsError when there is no such file, SettingsError for another order.
        """
        self.path = Path(path).expanduser()
        self.order = checks.choice("The channel order of the judge", order, ORDERS)
        if not self.path.is_file():
            raise MissingWeightsError(f"There is no second recogniser at {self.path}. Name an ONNX file.")
        self._providers = providers
        self._net: Any = None
        self._lock = threading.Lock()

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return sha256_of(self.path)

    @property
    def facts(self) -> dict[str, str]:
        """For the report."""
        return {"file": self.path.name, "sha256": self.sha256, "order": self.order}

    def check_independent(self, analyser: FaceAnalyser) -> None:
        """Raises SettingsError when this is the very file that conditions the generator."""
        if self.sha256 == analyser.recogniser_sha256:
            raise SettingsError(
                f"{self.path.name} is the recogniser that the pictures are made with, so it is no independent judge. "
                "Name another network."
            )

    def embed(self, analyser: FaceAnalyser, rgb_u8: RgbU8, face: Face) -> Float32Array:
        """(512,) float32 of one face, aligned as for the first recogniser. Raises EmbeddingError, WeightsError."""
        from insightface.app.common import Face as InsightFace

        face = analyser.closer(rgb_u8, face)
        # insightface's class turns BGR into what an RGB network wants; for a BGR network the channels start as RGB
        channels = rgb_u8[:, :, ::-1] if self.order == "rgb" else rgb_u8
        with self._lock, understood(self.path):
            if self._net is None:
                self._net = load_recogniser(self.path, self._providers)
            given = InsightFace(bbox=face.box.copy(), kps=face.points.copy(), det_score=face.score)
            vector = np.asarray(self._net.get(np.ascontiguousarray(channels), given), np.float32)
        try:
            return IdentityEmbedding(vector).vector
        except EmbeddingError as error:
            raise EmbeddingError(f"{self.path.name} gave no usable embedding ({error})") from error
