"""Something over the eyes or the mouth of a photo is said, and nothing is said of uncovered ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from arc2face import Engine
from arc2face.faces.covered import covered_parts, warning_of
from arc2face.faces.made_up import made_up_person
from tests.conftest import PROJECT

U8 = NDArray[np.uint8]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine.open(PROJECT / "models" / "starter", device="cpu") as engine:
        yield engine


def between(picture: U8, points: NDArray[np.float32], reach: float, colour: int) -> U8:
    """The picture with a bar from the left of `points` to the right."""
    middle, half = points.mean(0), np.ptp(points[:, 0])
    top, bottom = int(middle[1] - reach * half), int(middle[1] + reach * half)
    left, right = int(points[:, 0].min() - half / 2), int(points[:, 0].max() + half / 2)
    covered = picture.copy()
    covered[top:bottom, left:right] = colour
    return covered


def test_bars_over_eyes_or_mouth_are_said_and_whole_faces_are_not(engine: Engine) -> None:
    said = {"nothing": 0, "eyes": 0, "mouth": 0}
    for seed in range(12):
        picture = made_up_person(seed)
        face = engine.perception.face(picture)
        said["nothing"] += bool(engine.perception.faces.covered(picture, face))
        blurred = gaussian_filter(picture, (1.5, 1.5, 0)) // 2  # dark and out of focus
        said["nothing"] += bool(engine.perception.faces.covered(blurred, face))
        said["eyes"] += engine.perception.faces.covered(between(picture, face.points[:2], 0.3, 20), face) == ("eyes",)
        bar = between(picture, face.points[3:], 0.4, 200)
        said["mouth"] += engine.perception.faces.covered(bar, face) == ("mouth",)
    assert said == {"nothing": 0, "eyes": 12, "mouth": 12}


def test_the_warning_comes_with_the_identity_and_names_the_photo(engine: Engine) -> None:
    picture = made_up_person(0)
    assert engine.identify(picture).warnings == ()
    face = engine.perception.face(picture)
    bar = between(picture, face.points[:2], 0.25, 30)
    report = engine.identify([picture, bar])
    assert [text for text in report.warnings if text.startswith("Something seems to cover the eyes (photo 2)")]
    assert not [text for text in report.warnings if "photo 1" in text]


def test_the_sentence_is_grammatical() -> None:
    assert warning_of((), "the photo") == ""
    assert warning_of(("mouth",), "the photo").startswith("Something seems to cover the mouth (the photo).")
    assert warning_of(("eyes", "mouth"), "photo 3").startswith("Something seems to cover eyes and mouth (photo 3).")


def test_a_crop_of_one_colour_is_covered() -> None:
    assert covered_parts(np.full((112, 112, 3), 120, np.uint8)) == ("eyes", "mouth")
