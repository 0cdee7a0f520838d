"""Guidance between two shares of the steps: a declared approximation. Issue 12, point 5."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from arc2face import Engine, ExpressionCondition, GenerationRequest, IdentityEmbedding, PoseCondition
from arc2face.diffusion.together import batch_kind
from arc2face.errors import SettingsError
from arc2face.pictures.recipes import png_bytes, read_recipe, request_from_recipe
from arc2face.types import Expression, ReferenceCondition

NOBODY = IdentityEmbedding(np.linspace(-1, 1, 512, dtype=np.float32))
PICTURE = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
PLAIN = GenerationRequest(identity=NOBODY, num_images=2, steps=4, score=False, keep_latents=True)
EVERYTHING = PLAIN.with_(
    pose=PoseCondition(PICTURE),
    expression=ExpressionCondition(Expression(np.linspace(0, 0.2, 55, dtype=np.float32)), 0.7),
    reference=ReferenceCondition(PICTURE),
)


@pytest.fixture(scope="module")
def engine(tiny_tree: Path) -> Iterator[Engine]:
    with Engine.open(tiny_tree / "models", device="cpu") as opened:
        yield opened


def latents(engine: Engine, request: GenerationRequest) -> np.ndarray:
    return np.stack([image.latents for image in engine.generate(request).images if image.latents is not None])


@pytest.mark.parametrize("request_", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_steps_without_guidance_equal_the_unguided_ones(engine: Engine, request_: GenerationRequest) -> None:
    """12.5: a step outside is an unguided step, with every adapter; the whole interval is the exact run."""
    exact, unguided = latents(engine, request_), latents(engine, request_.with_(guidance_scale=1.0))
    middle = latents(engine, request_.with_(guidance_start=0.25, guidance_end=0.75))
    assert np.array_equal(latents(engine, request_.with_(guidance_start=0.0, guidance_end=1.0)), exact)
    assert np.abs(middle - exact).max() > 1e-3 and np.abs(middle - unguided).max() > 1e-3
    # With a scale that is next to 1 a guided step is next to an unguided one, so the two ways must meet.
    near = {"guidance_scale": 1.0 + 1e-6}
    wanted = latents(engine, request_.with_(**near))
    found = latents(engine, request_.with_(**near, guidance_start=0.25, guidance_end=0.75))
    assert np.linalg.norm(found - wanted) < 1e-4 * np.linalg.norm(wanted)


def test_fewer_rows_are_computed_outside(engine: Engine) -> None:
    """12.5: half the work in the steps outside."""
    rows = []
    hook = engine.registry.part("unet").conv_in.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    latents(engine, PLAIN.with_(num_images=1, guidance_start=0.25, guidance_end=0.75))
    hook.remove()
    assert rows == [1, 2, 2, 1]


def test_interval_without_a_whole_step_is_refused() -> None:
    """12.5: at the door, with a sentence."""
    with pytest.raises(SettingsError, match="none of the 4 steps"):
        PLAIN.with_(guidance_start=0.3, guidance_end=0.45)
    assert PLAIN.with_(guidance_start=0.3, guidance_end=0.45, guidance_scale=1.0).guided_steps == 0


def test_recipe_and_batches_know_it(engine: Engine) -> None:
    """12.5: recipes record it, and requests of different intervals do not share a batch."""
    request = PLAIN.with_(num_images=1, guidance_start=0.25, guidance_end=0.75)
    result = engine.generate(request)
    again = request_from_recipe(read_recipe(png_bytes(result.images[0], result)), NOBODY)
    assert (again.guidance_start, again.guidance_end) == (0.25, 0.75)
    assert batch_kind(request) != batch_kind(PLAIN)
