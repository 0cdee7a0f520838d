"""Several people in one photo, and regions of one face from several photos, with the real engine at tiny size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from arc2face import Engine
from arc2face.errors import NoFaceError, SettingsError
from arc2face.expression.values import from_parts
from arc2face.faces.photo import Photo
from arc2face.sources import ExpressionSource, Wish, group_requests, mix_expressions, paste_group
from arc2face.types import Expression
from tests.app import bundle

OPEN, SHUT = from_parts(jaw=(0.4, 0.0, 0.0)), from_parts(eyelids=(1.0, 1.0))
QUICK = {"steps": 1, "seed": 5, "score": False}


@pytest.fixture(scope="module")
def engine(tiny_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine.open(bundle.make_bundle(tiny_tree, tmp_path_factory.mktemp("several") / "tree"), device="cpu")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Photo:
    return Photo(bundle.two_people(tmp_path_factory.mktemp("photo") / "two.png"))


def test_each_person_keeps_who_they_are(engine: Engine, two: Photo) -> None:
    """Point 8: identity, look and expression belong to the face that they were asked for."""
    requests = group_requests(engine, two, [Wish(1, OPEN, 0.7), Wish(0, SHUT)], QUICK, look=0.9)
    small, large = requests
    assert np.array_equal(small.identity.vector, engine.perception.embed(two, 1).vector)
    assert np.array_equal(large.identity.vector, engine.perception.embed(two, 0).vector)
    assert small.identity.cosine(large.identity) < 0.9
    assert np.array_equal(small.reference.image, engine.align(two, 1))
    assert small.reference.strength == 0.9 and small.expression.strength == 0.7
    assert np.array_equal(large.expression.expression.values, SHUT.values)
    assert small.num_images == large.num_images == 1 and small.seed == large.seed == 5


def test_both_go_back_into_one_picture(engine: Engine, two: Photo) -> None:
    requests = group_requests(engine, two, [Wish(0, OPEN), Wish(1, SHUT)], QUICK)
    pictures = [engine.generate(request).images[0].rgb_u8 for request in requests]
    whole = paste_group(engine, two, [0, 1], pictures)
    first = paste_group(engine, two, [0], pictures[:1])
    assert whole.shape == two.rgb_u8.shape
    boxes = [face.box.astype(int) for face in two.faces(engine.faces)]
    for left, top, right, bottom in boxes:
        middle = np.s_[
            (top + bottom) // 2 - 5 : (top + bottom) // 2 + 5, (left + right) // 2 - 5 : (left + right) // 2 + 5
        ]
        assert not np.array_equal(whole[middle], two.rgb_u8[middle])
    left, top, right, bottom = boxes[1]
    assert np.array_equal(first[top:bottom, left:right], two.rgb_u8[top:bottom, left:right])  # nobody asked for it
    assert np.array_equal(whole[:4], two.rgb_u8[:4])


def test_an_expression_may_come_from_anywhere(engine: Engine, two: Photo, tmp_path: Path) -> None:
    photo = bundle.person_photo(tmp_path / "one.png")
    wishes = [Wish(0, ExpressionSource(photo=photo)), Wish(1, ExpressionSource(preset="yawn"))]
    read, yawn = group_requests(engine, two, wishes, QUICK)
    assert np.array_equal(read.expression.expression.values, engine.read_expression(photo).values)
    assert yawn.expression.expression.jaw[0] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ([], "at least one person"),
        ([Wish(0, OPEN), Wish(0, SHUT)], "Face 1 was given two"),
        ([Wish(k, OPEN) for k in range(9)], "At most 8 people"),
        ([Wish(7, OPEN)], "face"),
        ([Wish(-1, OPEN)], "A face number"),
        ([Wish(0, OPEN, 3.0)], "strength"),
        ([Wish(0, ExpressionSource(preset="nope"))], "no preset"),
    ],
)
def test_unusable_wishes_are_refused(engine: Engine, two: Photo, wishes: list[Wish], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        group_requests(engine, two, wishes, QUICK)


def test_a_photo_of_nobody_is_said(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(NoFaceError, match="the photo of several people"):
        group_requests(engine, bundle.nobody(tmp_path / "nobody.png"), [Wish(0, OPEN)], QUICK)
    with pytest.raises(SettingsError, match="mask"):
        paste_group(engine, bundle.nobody(tmp_path / "nobody.png"), [0], [np.zeros((64, 64, 3), np.uint8)], "hat")


def test_regions_come_from_photos_and_presets(engine: Engine) -> None:
    base = ExpressionSource(values=OPEN)
    mixed = mix_expressions(engine, base, {"eyes": ExpressionSource(preset="Eyes closed")})
    assert mixed.expression.eyelids.tolist() == [1.0, 1.0]
    assert mixed.expression.jaw[0] == pytest.approx(0.4)
    assert mix_expressions(engine, Expression.neutral(), {"mouth": OPEN}).expression.jaw[0] == pytest.approx(0.4)
