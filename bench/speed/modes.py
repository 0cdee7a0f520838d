"""The modes that are timed, and inputs that are the same for every arm."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from arc2face import ExpressionCondition, GenerationRequest, IdentityEmbedding, PoseCondition
from arc2face.types import Expression, Float32Array, ReferenceCondition, RgbU8

GUIDANCE = 3.0
LOOK = 0.8


@dataclass(frozen=True)
class Mode:
    """One kind of request. `parts`: pose, expression, reference, as far as they are used."""

    name: str
    images: int = 1
    steps: int = 25
    fast: bool = False
    parts: tuple[str, ...] = ()

    @property
    def guided(self) -> bool:
        """Whether there are unconditional rows."""
        return not self.fast

    def of(self, steps: int | None) -> Mode:
        """The same at another number of steps; fast mode keeps its own."""
        return self if steps is None or self.fast else replace(self, steps=steps)


MODES = {
    mode.name: mode
    for mode in (
        Mode("identity"),
        Mode("identity x4", images=4),
        Mode("LCM-2", steps=2, fast=True),
        Mode("pose", parts=("pose",)),
        Mode("expression", parts=("expression",)),
        Mode("expression + reference", parts=("expression", "reference")),
        Mode("expression + reference x4", images=4, parts=("expression", "reference")),
        Mode("pose x4", images=4, parts=("pose",)),
    )
}


@dataclass(frozen=True)
class Inputs:
    """Fixed inputs for pictures of `side` latent pixels."""

    side: int

    def identity(self) -> IdentityEmbedding:
        """Somebody."""
        return IdentityEmbedding(_rng(1).standard_normal(512).astype(np.float32))

    def expression(self) -> Float32Array:
        """(55,) numbers that are not neutral."""
        return (0.3 * _rng(2).standard_normal(55)).astype(np.float32)

    def picture(self, seed: int) -> RgbU8:
        """A picture of noise at the native size; its content does not change the work."""
        return _rng(seed).integers(0, 256, (8 * self.side, 8 * self.side, 3), dtype=np.uint8)

    def noise(self, images: int) -> Float32Array:
        """(n, 4, side, side) standard normal."""
        return _rng(4).standard_normal((images, 4, self.side, self.side)).astype(np.float32)

    def step_noise(self, images: int, steps: int) -> Float32Array:
        """(steps - 1, n, 4, side, side) standard normal."""
        return _rng(5).standard_normal((steps - 1, images, 4, self.side, self.side)).astype(np.float32)

    def request(self, mode: Mode, seed: int = 0, *, given: bool = True) -> GenerationRequest:
        """The mode as a request to this project. `given`: with the noise that the other arms get, else drawn."""
        numbers = {}
        if given:
            numbers["noise"] = self.noise(mode.images)
            if mode.fast and mode.steps > 1:
                numbers["step_noise"] = self.step_noise(mode.images, mode.steps)
        return GenerationRequest(
            identity=self.identity(),
            num_images=mode.images,
            seed=seed,
            steps=mode.steps,
            guidance_scale=GUIDANCE if mode.guided else 1.0,
            fast=mode.fast,
            decoder="exact",
            score=False,
            keep_latents=True,
            pose=PoseCondition(self.picture(6)) if "pose" in mode.parts else None,
            expression=ExpressionCondition(Expression(self.expression())) if "expression" in mode.parts else None,
            reference=ReferenceCondition(self.picture(7), LOOK, self.noise(1)) if "reference" in mode.parts else None,
            **numbers,
        )


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
