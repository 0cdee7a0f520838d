"""One detected face."""

from __future__ import annotations

from dataclasses import dataclass

from arc2face.types import Float32Array, IdentityEmbedding


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One detected face, in pixels of the picture it was found in.

    `box`: (4,) float32 x0, y0, x1, y1; may reach beyond the picture. `points`: (5, 2) float32 x, y: the two eyes, the
    nose tip and the two mouth corners, left side of the picture first. `score`: detector confidence, 0 to 1.
    `landmarks68`: (68, 2) float32 or None. `index`: place in the list of faces, likeliest first, from 0.
    Where a photo lies on its side, so do the points.
    """

    box: Float32Array
    points: Float32Array
    score: float
    embedding: IdentityEmbedding | None = None
    landmarks68: Float32Array | None = None
    index: int = 0

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box, x, y."""
        return float(self.box[0] + self.box[2]) / 2, float(self.box[1] + self.box[3]) / 2
