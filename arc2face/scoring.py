"""How like the person each finished picture is, and which pictures to keep. A score never costs a picture."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from arc2face.errors import Arc2FaceError
from arc2face.readers import Perception
from arc2face.types import GeneratedImage, GenerationResult, IdentityEmbedding

__all__ = ["keep_best", "score_all", "scored"]

log = logging.getLogger(__name__)


def scored(result: GenerationResult, perception: Perception) -> GenerationResult:
    """The result with what its request asks for: each picture's score, and only the best pictures."""
    images, ranked, asked = result.images, True, result.request
    if asked.score:
        images, ranked = score_all(images, asked.identity, perception)
    # Without all scores nobody knows which are the best, so all are kept.
    return replace(result, images=keep_best(images, asked.keep_best if ranked else 0))


def score_all(
    images: Sequence[GeneratedImage], identity: IdentityEmbedding, perception: Perception
) -> tuple[tuple[GeneratedImage, ...], bool]:
    """The pictures, each with its cosine to `identity` where one could be had, and whether all could."""
    found: list[GeneratedImage] = []
    failures: list[Exception] = []
    for image in images:
        try:
            found.append(_scored(image, identity, perception))
        except Exception as error:  # finished pictures are not thrown away for want of a score
            failures.append(error)
            found.append(image)
    if failures:
        count = f"{len(failures)} of {len(images)} pictures are not scored"
        unexpected = None if isinstance(failures[0], Arc2FaceError) else failures[0]
        log.warning("%s: %s", count, failures[0], exc_info=unexpected)
    return tuple(found), not failures


def keep_best(images: Sequence[GeneratedImage], count: int) -> tuple[GeneratedImage, ...]:
    """The `count` most similar pictures, best first; 0 keeps all in order. Pictures without a face come last."""
    if count == 0:
        return tuple(images)
    ranked = sorted(images, key=lambda image: -2.0 if image.similarity is None else image.similarity, reverse=True)
    return tuple(ranked[:count])


def _scored(image: GeneratedImage, identity: IdentityEmbedding, perception: Perception) -> GeneratedImage:
    faces = perception.faces.detect(image.rgb_u8, turns=False)  # what was just drawn is upright
    if not faces:
        return replace(image, face_found=False)
    embedding = perception.faces.embed(image.rgb_u8, faces[0])
    return replace(image, face_found=True, similarity=embedding.cosine(identity))
