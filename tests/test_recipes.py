"""Saved pictures carry what is needed to make them again, and say that they are synthetic."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arc2face.errors import ImageError, SettingsError, StorageError
from arc2face.pictures.recipes import SOURCE_TYPE, describe, png_bytes, read_recipe, request_from_recipe, save_png
from arc2face.types import (
    Expression,
    ExpressionCondition,
    GeneratedImage,
    GenerationRequest,
    GenerationResult,
    IdentityEmbedding,
    PoseCondition,
)

RNG = np.random.default_rng(2)
PERSON = IdentityEmbedding(RNG.standard_normal(512).astype(np.float32), recogniser_sha256="ab" * 32, photos=2)
PICTURE = RNG.integers(0, 255, (32, 32, 3), dtype=np.uint8)
EXPRESSION = ExpressionCondition(Expression(np.linspace(0, 0.2, 55, dtype=np.float32)), 0.7)
REQUEST = GenerationRequest(identity=PERSON, num_images=2, seed=30, steps=9, guidance_scale=2.5, expression=EXPRESSION)


def result(request: GenerationRequest = REQUEST) -> GenerationResult:
    images = tuple(GeneratedImage(PICTURE, request.seed + k, similarity=0.5) for k in range(2))
    return GenerationResult(images, request, describe(request, {"unet": "c" * 64}, "tiny"))


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    made = result()
    recipe = read_recipe(save_png(made.images[1], made, tmp_path / "a" / "picture.png"))
    assert recipe["settings"]["seed"] == 31 and recipe["settings"]["num_images"] == 1
    assert recipe["models"] == {"unet": "c" * 64} and recipe["similarity"] == 0.5
    again = request_from_recipe(recipe, PERSON)
    assert (again.seed, again.steps, again.guidance_scale, again.fast) == (31, 9, 2.5, False)
    assert again.expression is not None and again.expression.strength == 0.7
    assert np.abs(again.expression.expression.values - EXPRESSION.expression.values).max() < 1e-5


def test_pixels_survive() -> None:
    made = result()
    with Image.open(io.BytesIO(png_bytes(made.images[0], made))) as picture:
        assert np.array_equal(np.asarray(picture), PICTURE)


def test_file_is_marked_as_synthetic() -> None:
    made = result()
    assert SOURCE_TYPE.encode() in png_bytes(made.images[0], made)


def test_embedding_is_stored_only_on_request() -> None:
    made = result()
    secret = PERSON.vector.tobytes()
    without = read_recipe(png_bytes(made.images[0], made))
    assert without["identity"] == {
        "embedding_sha256": hashlib.sha256(secret).hexdigest(),
        "recogniser_sha256": "ab" * 32,
        "photos": 2,
    }
    with pytest.raises(SettingsError, match="photo"):
        request_from_recipe(without)
    with_it = read_recipe(png_bytes(made.images[0], made, embedding=True))
    assert np.array_equal(request_from_recipe(with_it).identity.vector, PERSON.vector)


def test_pose_is_described_by_its_hash() -> None:
    made = result(REQUEST.with_(pose=PoseCondition(PICTURE, strength=0.5, end=0.8)))
    pose = read_recipe(png_bytes(made.images[0], made))["pose"]
    digest = hashlib.sha256(PICTURE.tobytes()).hexdigest()
    assert pose == {"strength": 0.5, "start": 0.0, "end": 0.8, "normal_map_sha256": digest}


def test_foreign_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not a readable picture"):
        read_recipe(b"no picture")
    plain = io.BytesIO()
    Image.fromarray(PICTURE).save(plain, "PNG")
    with pytest.raises(SettingsError, match="no recipe"):
        read_recipe(plain.getvalue())
    made = result()
    damaged = json.loads(json.dumps(made.recipe))
    damaged["settings"]["steps"] = 100_000
    with pytest.raises(SettingsError, match="between"):
        request_from_recipe(damaged, PERSON)


def test_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    made = result()
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StorageError):
        save_png(made.images[0], made, blocked / "picture.png")
    assert list(tmp_path.iterdir()) == [blocked]
