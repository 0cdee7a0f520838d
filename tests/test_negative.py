"""Guidance that leads away from another person. Issue 14, section 1."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from arc2face import Engine, GenerationRequest, IdentityEmbedding, NegativeIdentity, save_identity
from arc2face.diffusion.together import batch_kind
from arc2face.errors import NoFaceError, SettingsError
from arc2face.pictures.recipes import png_bytes, read_recipe, request_from_recipe
from arc2face.sources import find_negative

SOMEBODY = IdentityEmbedding(np.linspace(-1, 1, 512, dtype=np.float32))
OTHER = IdentityEmbedding(np.cos(np.arange(512, dtype=np.float32)))
PLAIN = GenerationRequest(identity=SOMEBODY, num_images=1, steps=3, score=False, keep_latents=True)


@pytest.fixture(scope="module")
def engine(tiny_tree: Path) -> Iterator[Engine]:
    with Engine.open(tiny_tree / "models", device="cpu") as opened:
        yield opened


def latents(engine: Engine, request: GenerationRequest) -> np.ndarray:
    found = engine.generate(request).images[0].latents
    assert found is not None
    return found


def test_leading_away(engine: Engine) -> None:
    """Strength 0 is the empty prompt; away from oneself is no guidance at all; another person moves the picture."""
    exact = latents(engine, PLAIN)
    assert np.array_equal(latents(engine, PLAIN.with_(negative=NegativeIdentity(OTHER, 0.0))), exact)
    away = latents(engine, PLAIN.with_(negative=NegativeIdentity(OTHER, 1.0)))
    half = latents(engine, PLAIN.with_(negative=NegativeIdentity(OTHER, 0.5)))
    assert 1e-4 < np.abs(half - exact).max() < np.abs(away - exact).max()
    # The same prompt on both sides: the difference that guidance amplifies is zero.
    oneself = latents(engine, PLAIN.with_(negative=NegativeIdentity(SOMEBODY, 1.0)))
    unguided = latents(engine, PLAIN.with_(guidance_scale=1.0))
    assert np.allclose(oneself, unguided, atol=1e-4)
    assert np.array_equal(latents(engine, PLAIN), exact)


def test_batches_keep_each_request_its_own(tiny_tree: Path) -> None:
    """Requests with and without a negative identity may share a batch; each row has its own prompts."""
    away = PLAIN.with_(negative=NegativeIdentity(OTHER))
    assert batch_kind(away) == batch_kind(PLAIN)
    with Engine.open(tiny_tree / "models", device="cpu", batching="on") as engine:
        solo = [latents(engine, request) for request in (PLAIN, away)]
        results = engine.generate_batch([PLAIN, PLAIN, away])
        found = [result.images[0].latents for result in results]
    assert np.allclose(found[1], solo[0], atol=1e-4) and np.allclose(found[2], solo[1], atol=1e-4)


def test_needs_guidance_and_a_sane_strength() -> None:
    with pytest.raises(SettingsError, match="takes guidance"):
        PLAIN.with_(guidance_scale=1.0, negative=NegativeIdentity(OTHER))
    with pytest.raises(SettingsError, match=r"1\.5 in fast mode"):
        GenerationRequest(identity=SOMEBODY, fast=True, negative=NegativeIdentity(OTHER))
    with pytest.raises(SettingsError, match="strength of the negative identity"):
        NegativeIdentity(OTHER, 1.5)


def test_recipe_names_no_biometric_data(engine: Engine) -> None:
    """The recipe says that somebody was avoided, by hash alone; reading it back asks for the person again."""
    result = engine.generate(PLAIN.with_(negative=NegativeIdentity(OTHER, 0.75)))
    recipe = read_recipe(png_bytes(result.images[0], result))
    assert recipe["negative"]["strength"] == 0.75 and len(recipe["negative"]["embedding_sha256"]) == 64
    assert "0.54030" not in json.dumps(recipe)  # cos(1), the second number of the embedding
    assert request_from_recipe(recipe, SOMEBODY).negative is None
    recipe["negative"]["strength"] = 7
    with pytest.raises(SettingsError, match="strength of the negative identity"):
        request_from_recipe(recipe, SOMEBODY)


def test_sources(project_root: Path, tmp_path: Path) -> None:
    """A saved identity, a photo, an embedding, nobody; a picture without a face is refused."""
    save_identity(tmp_path / "other.npz", OTHER)
    with Engine.open(project_root / "models" / "starter", device="cpu") as engine:
        saved = find_negative(engine, tmp_path / "other.npz", 0.5)
        assert saved is not None and saved.strength == 0.5
        assert np.array_equal(saved.identity.vector, OTHER.vector)
        assert find_negative(engine, None) is None
        direct = find_negative(engine, OTHER)
        assert direct is not None and direct.identity is OTHER
        photo = project_root / "tests" / "data" / "cases" / "person.png"
        read = find_negative(engine, photo)
        assert read is not None and read.identity.cosine(engine.identify(photo).identity) > 0.999
        with pytest.raises(NoFaceError):
            find_negative(engine, np.full((256, 256, 3), 127, np.uint8))
