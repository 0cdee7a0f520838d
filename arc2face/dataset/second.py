"""What an independent recogniser says of a person's pictures: does it, too, see one and the same person?

The identity that was asked for is known in the first recogniser's space only. The second one therefore compares each
picture with the mean of the person's other pictures, among which nothing is shared but the person.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arc2face.evaluation.judge import Judge
from arc2face.faces.analyser import FaceAnalyser
from arc2face.faces.face import Face
from arc2face.types import Float32Array, RgbU8

__all__ = ["second_similarities"]


def second_similarities(
    judge: Judge, analyser: FaceAnalyser, pictures: Sequence[tuple[RgbU8, Face] | None]
) -> list[float | None]:
    """Per picture of one person, (H, W, 3) uint8 RGB and its face, or None: cosine to the mean of the others' unit
    embeddings.

    None where there is no picture with a face, or no other one. Raises EmbeddingError, WeightsError.
    """
    units = [None if seen is None else _unit(judge.embed(analyser, *seen)) for seen in pictures]
    total = np.sum([unit for unit in units if unit is not None] or [np.zeros(1)], axis=0)
    found: list[float | None] = []
    for unit in units:
        rest = total if unit is None else total - unit
        length = float(np.linalg.norm(rest))
        found.append(None if unit is None or length < 1e-6 else float(rest @ unit / length))
    return found


def _unit(vector: Float32Array) -> Float32Array:
    return (vector / np.linalg.norm(vector)).astype(np.float32)
