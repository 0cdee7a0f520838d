"""Saved pictures carry what is needed to make them again, and say that they are synthetic."""

from __future__ import annotations

import hashlib
import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from arc2face.diffusion.adapters import ADAPTERS
from arc2face.errors import ImageError, SettingsError, StorageError
from arc2face.pictures.recipes import (
    CHUNK,
    SOURCE_TYPE,
    describe,
    png_bytes,
    read_recipe,
    request_from_recipe,
    save_png,
)
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
    adapters = {adapter.name: adapter.recipe(request) for adapter in ADAPTERS if adapter.wanted(request)}
    return GenerationResult(images, request, describe(request, {"unet": "c" * 64}, "tiny", adapters))


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


def with_recipe(recipe: object) -> bytes:
    """A PNG that carries any text as its recipe."""
    info = PngInfo()
    info.add_text(CHUNK, recipe if isinstance(recipe, str) else json.dumps(recipe))
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def altered(**parts: object) -> dict[str, object]:
    made = result()
    recipe = json.loads(json.dumps(made.recipe))
    for name, value in parts.items():
        if name in recipe["settings"]:
            recipe["settings"][name] = value
        else:
            recipe[name] = value
    return recipe


@pytest.mark.parametrize(
    "recipe",
    [
        altered(steps=[1]),
        altered(steps=1e9),
        altered(steps="9"),
        altered(guidance_scale={}),
        altered(guidance_scale=float("nan")),
        altered(scheduler="<b>x</b>"),
        altered(fast="yes"),
        altered(num_images=-1),
        altered(expression="smile"),
        altered(expression={"strength": 1, "values": "x"}),
        altered(expression={"strength": 99, "values": [0.0] * 55}),
        altered(expression={"strength": 1, "values": [0.0] * 54}),
        altered(pose=3),
        altered(pose={"strength": 1, "angles": [1, 2]}),
        altered(reference=[1]),
        altered(identity={"embedding": 3}),
        altered(settings=None),
        altered(app="\ud800"),
        "[" * 100_000,
        "[1]",
        "{",
        "",
    ],
    ids=str,
)
def test_hostile_recipes_are_refused_in_one_sentence(recipe: object) -> None:
    """K2, K3: whatever stands in a recipe, the answer is a SettingsError."""
    with pytest.raises(SettingsError, match="recipe"):
        read_recipe(with_recipe(recipe))


def test_a_bomb_of_pixels_costs_nothing() -> None:
    """K2: 20,000 x 20,000 pixels claimed, none decoded."""
    data = bytearray(with_recipe(result().recipe))
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    assert read_recipe(bytes(data))["settings"]["steps"] == 9


def test_a_text_that_inflates_without_end_is_refused() -> None:
    info = PngInfo()
    info.add_text(CHUNK, "a" * 5_000_000, zip=True)
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, "PNG", pnginfo=info)
    with pytest.raises(SettingsError, match="too large"):
        read_recipe(buffer.getvalue())


@pytest.mark.parametrize("name", ["read_recipe--deep", "recipe-surrogate", "request_from_recipe--emb-list",
                                  "request_from_recipe--expr-str"])  # fmt: skip
def test_recipes_that_once_failed(name: str) -> None:
    path = Path(__file__).parent / "data" / "cases" / f"{name}.png"
    with pytest.raises((SettingsError, ImageError)):
        request_from_recipe(read_recipe(path), PERSON)


def test_a_whole_number_written_as_a_float_is_one() -> None:
    """C1: 128.0 is a size; nothing dies later when the picture is saved."""
    path = Path(__file__).parent / "data" / "cases" / "request_from_recipe--h-float.png"
    request = request_from_recipe(read_recipe(path), PERSON)
    assert isinstance(request.height, int)
    assert json.loads(json.dumps(describe(request, {}, "tiny")))["settings"]["height"] == request.height


@pytest.mark.parametrize("recipe", [{}, {"settings": 3}, {"settings": {"steps": []}}, [], "x", None])
def test_a_recipe_of_the_wrong_shape_is_refused_by_the_library(recipe: object) -> None:
    """K3."""
    with pytest.raises(SettingsError, match="recipe"):
        request_from_recipe(recipe, PERSON)  # type: ignore[arg-type]


def test_the_run_behind_a_picture_is_remembered() -> None:
    """F6: how many pictures were asked for, and how many were kept."""
    made = result(REQUEST.with_(keep_best=1))
    assert read_recipe(png_bytes(made.images[1], made))["run"] == {"num_images": 2, "keep_best": 1, "seed": 30}
