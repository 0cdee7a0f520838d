"""One validator per kind of value; what people have is taken, what is no number is refused in words.

Run alone: ./run test tests/test_checks.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from arc2face import GenerationRequest, IdentityEmbedding
from arc2face.checks import choice, flag, number, shown, size, whole
from arc2face.errors import EmbeddingError, SettingsError
from arc2face.settings import FAST, FULL, MAX_SEED, SCHEDULERS, one_of

VECTOR = np.random.default_rng(1).standard_normal(512)
PERSON = IdentityEmbedding(VECTOR.astype(np.float32))


@pytest.mark.parametrize("value", [7, 7.0, np.int64(7), np.uint8(7), np.float32(7)])
def test_whole_numbers_of_every_kind(value: Any) -> None:
    """C1."""
    found = whole("It", value, (0, 10))
    assert found == 7 and type(found) is int


@pytest.mark.parametrize(
    "value",
    [True, np.True_, "7", "", None, 2.5, float("nan"), float("inf"), -float("inf"), 11, -1, [7], {}, 10**400, 7j],
)
def test_what_is_no_whole_number_in_the_range(value: Any) -> None:
    """K1."""
    with pytest.raises(SettingsError, match="It must be a whole number between 0 and 10, not "):
        whole("It", value, (0, 10))


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf"), 2.1, [1.0]])
def test_what_is_no_number_in_the_range(value: Any) -> None:
    with pytest.raises(SettingsError, match="It must lie between 0 and 2, not "):
        number("It", value, (0.0, 2.0))


def test_the_other_kinds() -> None:
    assert number("It", np.float32(0.5), (0, 1)) == 0.5
    assert flag("It", np.True_) is True
    assert choice("It", "a", ["a", "b"]) == "a"
    assert size("It", np.int32(128)) == 128
    for wrong in (1, "yes", None):
        with pytest.raises(SettingsError, match="true or false"):
            flag("It", wrong)
    for wrong in ("c", None, 3, ["a"]):
        with pytest.raises(SettingsError, match="a or b"):
            choice("It", wrong, ["a", "b"])
    for wrong in (100, "128", 32, 2048, 128.5):
        with pytest.raises(SettingsError, match="multiple of 8"):
            size("It", wrong)


def test_messages_stay_short_and_writable() -> None:
    assert len(shown("x" * 10_000)) <= 40
    assert shown("\ud800").encode("utf-8")
    assert one_of(["a", "b", "c"]) == "a, b or c"


def test_requests_take_numpy_numbers_and_bare_vectors() -> None:
    """C1, C2: and hold plain Python values afterwards."""
    request = GenerationRequest(
        identity=VECTOR,  # type: ignore[arg-type]
        seed=np.int64(7),  # type: ignore[arg-type]
        guidance_scale=np.float32(2.5),  # type: ignore[arg-type]
        height=np.int64(128),  # type: ignore[arg-type]
        num_images=np.uint8(2),  # type: ignore[arg-type]
    )
    kinds = {type(value) for value in (request.seed, request.height, request.num_images)}
    assert kinds == {int} and type(request.guidance_scale) is float
    assert np.allclose(request.identity.vector, PERSON.vector)


def test_the_modes_usual_values_fill_in() -> None:
    plain, fast = GenerationRequest(identity=PERSON), GenerationRequest(identity=PERSON, fast=True)
    assert (plain.steps, plain.guidance_scale) == (FULL.steps, FULL.guidance_scale) == (25, 3.0)
    assert (fast.steps, fast.guidance_scale) == (FAST.steps, FAST.guidance_scale) == (4, 1.0)
    assert plain.denoising_steps == 25 and fast.guidance == 1.0


@pytest.mark.parametrize(
    "fields",
    [
        {"height": "128"},
        {"height": 128.5},
        {"seed": MAX_SEED + 1},
        {"fast": "yes"},
        {"fast": True, "steps": 9},
        {"scheduler": "lcm"},
        {"scheduler": 3},
        {"keep_best": 5},
        {"steps": "4"},
    ],
)
def test_bad_settings_are_settings_errors(fields: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        GenerationRequest(identity=PERSON, **fields)


@pytest.mark.parametrize(
    "vector", [np.zeros(512), np.full(512, 1e38), np.full(512, np.nan), np.ones(3), "me", [[]], None]
)
def test_unusable_identities_are_embedding_errors(vector: Any) -> None:
    """K6: 1e38 overflows the norm."""
    with pytest.raises(EmbeddingError):
        IdentityEmbedding(vector)


def test_every_scheduler_has_a_name_for_people() -> None:
    assert all(title and title != name for name, title in SCHEDULERS.items())
