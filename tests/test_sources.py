"""Who, which pose, which expression, whose look, and series: each told once, with the real engine at tiny size.

Run alone: ./run test tests/test_sources.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arc2face import Engine, GenerationRequest, save_identity
from arc2face.errors import ExpressionError, InputError, NoFaceError, PoseError, SettingsError
from arc2face.expression.values import amplify, blend, clamped, to_dict, with_eyelids, with_jaw
from arc2face.faces.analyser import FaceAnalyser
from arc2face.faces.photo import Photo
from arc2face.series import expression_gallery, expression_strip, save_series, turntable
from arc2face.sources import (
    ExpressionSource,
    LookSource,
    Mixed,
    PoseSource,
    check_settings,
    edit_expression,
    find_expression,
    find_look,
    find_person,
    find_pose,
    paste_all,
)
from arc2face.types import Expression
from tests.app import bundle

RNG = np.random.default_rng(5)
SMILE = Expression(np.concatenate([RNG.normal(0, 1, 50), [0.2, 0.1], [0.2, 0.0, 0.0]]).astype(np.float32))
OTHER = Expression(np.concatenate([RNG.normal(0, 1, 50), [0.8, 0.9], [0.5, 0.1, -0.1]]).astype(np.float32))


@pytest.fixture(scope="module")
def engine(tiny_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine.open(bundle.make_bundle(tiny_tree, tmp_path_factory.mktemp("sources") / "tree"), device="cpu")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.person_photo(tmp_path_factory.mktemp("photo") / "one.png")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the real loader and the real networks are asked."""
    calls: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def counting(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)

    from arc2face.faces import photo as photo_module

    count(photo_module, "as_rgb_u8")
    for name in ("detect", "embed", "landmarks"):
        count(FaceAnalyser, name)
    return calls


def test_twelve_photos_are_read_once(engine: Engine, photo: Path, tmp_path: Path, counted: Counter[str]) -> None:
    """From upload to click: 12 decodes, 12 detections, 12 embeddings, however often the person is asked for."""
    paths = [bundle.person_photo(tmp_path / f"{k}.png") for k in range(12)]
    photos = [Photo(path) for path in paths]
    first = find_person(engine, photos)
    again = find_person(engine, photos, method="median")
    assert first.report is not None and again.report is not None
    assert counted == {"as_rgb_u8": 12, "detect": 12, "embed": 12}


def test_one_photo_gives_person_look_and_pasting_with_one_detection(
    engine: Engine, photo: Path, counted: Counter[str]
) -> None:
    person = find_person(engine, [Photo(photo)])
    look = find_look(engine, LookSource(keep=True, paste="face"), person)
    assert look is not None
    paste_all(engine, person, [look.image], "face")
    assert counted["as_rgb_u8"] == 2  # the file, and the drawn picture, which is an array
    assert counted["detect"] == 2  # the photo, and the drawn picture
    assert counted["landmarks"] == 2


def test_a_photo_that_forgot_its_pixels_keeps_what_was_found(
    engine: Engine, photo: Path, counted: Counter[str]
) -> None:
    one = Photo(photo)
    find_person(engine, [one])
    one.forget_pixels()
    assert one.pixel_bytes == 0
    find_person(engine, [one])
    assert counted == {"as_rgb_u8": 1, "detect": 1, "embed": 1}


def test_a_saved_identity_decides_who_and_photos_lend_their_look(engine: Engine, photo: Path, tmp_path: Path) -> None:
    known = find_person(engine, [photo])
    file = save_identity(tmp_path / "me.npz", known.identity)
    both = find_person(engine, [bundle.person_photo(tmp_path / "o.png", bundle.YELLOW)], identity_file=file)
    assert np.array_equal(both.identity.vector, known.identity.vector)
    assert find_look(engine, LookSource(keep=True), both) is not None
    alone = find_person(engine, identity_file=file)
    with pytest.raises(InputError, match="needs a photo"):
        find_look(engine, LookSource(keep=True), alone)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, InputError, "Add a photo"),
        ({"picks": [0, 1], "photos": 1}, SettingsError, "named for 2 photos"),
        ({"picks": [-1], "photos": 1}, SettingsError, "face number"),
        ({"picks": [7], "photos": 1}, SettingsError, "no face number 8"),
        ({"photos": 13}, SettingsError, "At most 12 photos"),
        ({"photos": 1, "method": "best"}, SettingsError, "mean or median"),
    ],
)
def test_nobody_is_said(
    engine: Engine, photo: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    rest = {name: value for name, value in arguments.items() if name != "photos"}
    with pytest.raises(error, match=message):
        find_person(engine, [photo] * arguments.get("photos", 0), **rest)


def test_the_photo_without_a_face_is_named(engine: Engine, photo: Path, tmp_path: Path) -> None:
    with pytest.raises(NoFaceError, match="photo 2"):
        find_person(engine, [photo, bundle.nobody(tmp_path / "n.png")])


def test_poses_by_angles_map_and_nothing_agree(engine: Engine) -> None:
    by_angle = find_pose(engine, PoseSource(yaw=30))
    assert by_angle is not None and by_angle.condition.angles == (30, 0, 0)
    by_map = find_pose(engine, PoseSource(normal_map=by_angle.condition.normal_map))
    assert by_map is not None
    assert np.array_equal(by_map.condition.normal_map, by_angle.condition.normal_map)
    assert find_pose(engine, PoseSource()) is None
    with pytest.raises(SettingsError, match="one pose"):
        find_pose(engine, PoseSource(yaw=3, normal_map=by_angle.condition.normal_map))


@pytest.mark.parametrize("angles", [{"yaw": 76}, {"pitch": -41}, {"roll": 31}, {"yaw": float("nan")}, {"yaw": "3"}])
def test_angles_are_refused_not_clamped(engine: Engine, angles: dict[str, Any]) -> None:
    """F13, C9."""
    with pytest.raises((SettingsError, PoseError), match="between"):
        find_pose(engine, PoseSource(**angles))


def test_a_square_photo_is_no_normal_map(engine: Engine) -> None:
    """F16."""
    picture = RNG.integers(0, 255, (128, 128, 3), dtype=np.uint8)
    with pytest.raises(InputError, match="normal map"):
        find_pose(engine, PoseSource(normal_map=picture))


def test_the_order_of_edits() -> None:
    """Blend, amplify, neutralise, eyelids and jaw, clamp."""
    edits = Mixed(share=0.25, amount=1.4, neutralise=("eyelids",), left_eyelid=0.6, jaw_open=0.3)
    wanted = amplify(blend(SMILE, OTHER, 0.25), 1.4).values.copy()
    wanted[50:52] = 0
    expected = clamped(with_jaw(with_eyelids(Expression(wanted), 0.6), 0.3))
    assert np.array_equal(edit_expression(SMILE, OTHER, edits).values, expected.values)


def test_a_photos_own_numbers_are_untouched() -> None:
    beyond = Expression(np.full(55, 12.0, np.float32))
    assert np.array_equal(edit_expression(beyond, None, Mixed()).values, beyond.values)


def test_sources_of_an_expression(engine: Engine, photo: Path, tmp_path: Path) -> None:
    read = find_expression(engine, ExpressionSource(photo=photo))
    assert read.values.shape == (55,)
    assert np.allclose(find_expression(engine, ExpressionSource(values=to_dict(SMILE))).values, SMILE.values)
    assert np.array_equal(find_expression(engine, ExpressionSource()).values, np.zeros(55))
    assert find_expression(engine, ExpressionSource(preset="mouth OPEN")).jaw[0] == pytest.approx(0.3)
    for source, error in (
        (ExpressionSource(photo=photo, preset="Yawn"), SettingsError),
        (ExpressionSource(preset="grin"), SettingsError),
        (ExpressionSource(second=photo), SettingsError),
        (ExpressionSource(values=[1, 2]), ExpressionError),
        (ExpressionSource(edits=Mixed(neutralise=("nose",))), SettingsError),
    ):
        with pytest.raises(error):
            find_expression(engine, source)


def test_pasting_needs_the_look() -> None:
    with pytest.raises(SettingsError, match="look kept"):
        LookSource(paste="face").check()
    with pytest.raises(SettingsError, match="face or head"):
        LookSource(keep=True, paste="hat").check()  # type: ignore[arg-type]


def test_settings_are_filled_in_for_the_mode() -> None:
    assert check_settings(fast=True, steps=None, guidance_scale=None) == {
        "fast": True,
        "steps": 4,
        "guidance_scale": 1.0,
    }
    assert check_settings(steps=None, guidance_scale=None) == {"steps": 25, "guidance_scale": 3.0}


def test_a_turntable_is_what_single_poses_are(engine: Engine, photo: Path) -> None:
    base = GenerationRequest(identity=find_person(engine, [photo]).identity, num_images=3, seed=4, steps=1, keep_best=1)
    frames = turntable(engine, base, 3, 40, 5)
    assert [frame.name for frame in frames] == ["-40°", "0°", "40°"]
    alone = find_pose(engine, PoseSource(yaw=-40, pitch=5))
    assert alone is not None and frames[0].request.pose is not None
    assert np.array_equal(frames[0].request.pose.normal_map, alone.condition.normal_map)
    assert {(frame.request.num_images, frame.request.keep_best, frame.request.seed) for frame in frames} == {(1, 0, 4)}
    for bad in ({"count": 0}, {"widest": 80}, {"pitch": 50}):
        with pytest.raises(SettingsError):
            turntable(engine, base, **bad)


def test_a_strip_runs_from_neutral_to_the_expression(engine: Engine, photo: Path) -> None:
    base = GenerationRequest(identity=find_person(engine, [photo]).identity, steps=1)
    frames = expression_strip(base, SMILE, 3, strength=0.5)
    values = [frame.request.expression.expression.values for frame in frames if frame.request.expression]
    assert np.array_equal(values[0], np.zeros(55))
    assert np.array_equal(values[1], amplify(SMILE, 0.5).values)
    assert np.array_equal(values[2], SMILE.values)
    assert [frame.name for frame in frames] == ["0%", "50%", "100%"]
    gallery = expression_gallery(base, [SMILE, OTHER], ["a", "b"])
    assert [frame.name for frame in gallery] == ["a", "b"]


def test_a_series_becomes_sheet_and_animation(tmp_path: Path) -> None:
    pictures = [RNG.integers(0, 255, (32, 32, 3), dtype=np.uint8) for _ in range(3)]
    sheet, animation = save_series(pictures, tmp_path / "s.png", tmp_path / "a.gif")
    with Image.open(sheet) as drawn, Image.open(animation) as movie:
        assert drawn.size == (3 * 32 + 2 * 4, 32)
        assert getattr(movie, "n_frames", 1) == 4  # there and back again
