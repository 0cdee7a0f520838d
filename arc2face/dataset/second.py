"""What an independent recogniser says of a person's pictures: does it, too, see one and the same person?

The identity that was asked for is known in the first recogniser's space only. The second one therefore compares each
picture with the mean of the person's other pictures, among which nothing is shared but the person.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arc2face.evaluation.judge import Judge
from arc2face.faces.analyser import FaceAnalyser
from arc2face.types import Float32Array, RgbU8

__all__ = ["second_similarities"]


def second_similarities(judge: Judge, analyser: FaceAnalyser, pictures: Sequence[RgbU8 | None]) -> list[float | None]:
    """Per picture of one person, (H, W, 3) uint8 RGB or None: cosine to the mean of the others' unit embeddings.

    None where there is no picture, no face, or no other picture with a face. Raises EmbeddingError, WeightsError.
    """
    units = [None if picture is None else _unit(judge, analyser, picture) for picture in pictures]
    total = np.sum([unit for unit in units if unit is not None] or [np.zeros(1)], axis=0)
    found: list[float | None] = []
    for unit in units:
        rest = total - unit if unit is not None else total
        length = float(np.linalg.norm(rest))
        found.append(None if unit is None or length < 1e-6 else float(rest @ unit / length))
    return found


def _unit(judge: Judge, analyser: FaceAnalyser, picture: RgbU8) -> Float32Array | None:
    faces = analyser.detect(picture, turns=False)
    if not faces:
        return None
    vector = judge.embed(analyser, picture, faces[0])
    return (vector / np.linalg.norm(vector)).astype(np.float32)
