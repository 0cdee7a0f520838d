"""Recordings of ARKit's shapes as expressions: names, times, what is exact and what is refused; regions of a face."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arc2face.errors import CorruptWeightsError, ExpressionError, SettingsError
from arc2face.expression.blendshapes import ARKIT, expressions_of, missing_shapes, read_recording
from arc2face.expression.regions import HeadBasis, mix_regions
from arc2face.expression.shapes import SHAPES_FILE, Shapes, load_shapes
from arc2face.expression.values import from_parts
from arc2face.types import Expression

STARTER = Path(__file__).resolve().parents[1] / "models" / "starter"

COLUMNS = tuple(
    name
    for name in ARKIT
    if not name.startswith(("eyeLook", "eyeBlink")) and name not in ("jawForward", "jawLeft", "jawRight", "jawOpen")
)
PEOPLE = Shapes(COLUMNS, jaw={"jawOpen": 0.36})
OTHERS = Shapes(("smile", "frown", "brow_raise"), ("blink_left", "blink_right"))


def write(path: Path, names: Sequence[str], rows: Sequence[Mapping[str, object]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, names, restval=0.0)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_there_are_52_names_and_38_of_them_are_columns_of_the_people() -> None:
    from arc2face_training.people.columns import EXPRESSION_COLUMNS, EYELID_NAMES

    assert len(set(ARKIT)) == len(ARKIT) == 52
    assert set(EXPRESSION_COLUMNS) == set(COLUMNS)
    assert set(EYELID_NAMES) < set(ARKIT)


def test_numbers_are_copied_one_by_one(tmp_path: Path) -> None:
    """Point 7: exact where the head knows the shapes; gaze is named, not guessed."""
    moved = {"mouthSmileLeft": 0.7, "eyeBlinkRight": 0.9, "jawOpen": 0.5, "eyeLookUpLeft": 0.6, "jawLeft": 0.05}
    found = read_recording(write(tmp_path / "face.csv", ARKIT, [{}, moved]))
    expressions, left_out = expressions_of(found, PEOPLE)
    assert not expressions[0].values.any()
    expected = np.zeros(55, np.float32)
    expected[COLUMNS.index("mouthSmileLeft")], expected[51], expected[52] = 0.7, 0.9, 0.18
    assert np.allclose(expressions[1].values, expected, atol=1e-7)
    assert left_out == ("eyeLookUpLeft",)  # jawLeft hardly moves
    assert found.times == (0.0, pytest.approx(1 / 30))


def test_spellings_of_live_link_face_and_mediapipe(tmp_path: Path) -> None:
    live = ["Timecode", "BlendshapeCount", *(name[0].upper() + name[1:] for name in ARKIT), "HeadYaw"]
    rows = [
        {"Timecode": f"10:00:0{k // 60}:{k % 60:02d}.000", "BlendshapeCount": 61, "TongueOut": 0.3} for k in (0, 30, 60)
    ]
    found = read_recording(write(tmp_path / "live.csv", live, rows))
    assert found.times == pytest.approx((0.0, 0.5, 1.0))
    assert found.weights[:, ARKIT.index("tongueOut")] == pytest.approx([0.3] * 3)
    mediapipe = ["timestamp_ms", "_neutral", *ARKIT[:-1]]
    rows = [{"timestamp_ms": k, "jawOpen": 1.0} for k in (0, 33, 67)]
    found = read_recording(write(tmp_path / "mediapipe.csv", mediapipe, rows))
    assert found.times == pytest.approx((0.0, 0.033, 0.067))
    assert not found.weights[:, ARKIT.index("tongueOut")].any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("mouthPucker", "pout"), "lacks 1 of ARKit's 52 names .first: mouthPucker"),
        (lambda text: text.replace("0.25", "nan"), "line 3: a blendshape must lie between -2 and 2, not 'nan'"),
        (lambda text: text.replace("0.25", "70"), "line 3"),
        (lambda text: text.replace("0.25", "much"), "line 3"),
        (lambda text: text.splitlines()[0], "no row of numbers"),
        (lambda text: text.replace("9.5,", "0.0,"), "out of order"),
        (lambda text: text.replace("9.5,", "1:2:3,"), "a time that cannot be read"),
        (lambda text: "", "no row of numbers"),
        (lambda text: "\x00\x01\x02", "no row of numbers|not a CSV"),
    ],
)
def test_unusable_recordings_are_said(tmp_path: Path, change: object, words: str) -> None:
    path = write(tmp_path / "face.csv", ["time", *ARKIT], [{"time": 9.0}, {"time": 9.5, "jawOpen": 0.25}])
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with pytest.raises(ExpressionError, match=words):
        read_recording(path)


def test_other_heads_are_a_clear_no() -> None:
    """Point 7: FLAME's components have no names, other heads' have others; both say so and what to do."""
    assert missing_shapes(PEOPLE) == ""
    assert "have no names" in missing_shapes(None)
    assert "smile, frown, brow_raise" in missing_shapes(OTHERS)
    with pytest.raises(ExpressionError, match="Use a video of the face instead"):
        expressions_of(read_recording_of_nothing(), OTHERS)
    assert "otherwise" in missing_shapes(replace(PEOPLE, jaw={}))


def read_recording_of_nothing() -> object:
    from arc2face.expression.blendshapes import Recording

    return Recording((0.0,), np.zeros((1, 52), np.float32))


def test_names_come_with_the_models(tmp_path: Path) -> None:
    assert load_shapes(tmp_path) is None
    path = tmp_path / SHAPES_FILE
    path.write_text(
        json.dumps({"columns": list(COLUMNS), "jaw": {"jawOpen": 0.36}, "regions": {"noseSneerLeft": "eyes"}})
    )
    found = load_shapes(tmp_path)
    assert found is not None and found.columns == COLUMNS
    assert [found.region(name) for name in ("browInnerUp", "eyeWideLeft", "cheekPuff", "noseSneerLeft")] == [
        "brows",
        "eyes",
        "mouth",
        "eyes",
    ]


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        '{"columns": "a"}',
        '{"columns": ["a", "a"]}',
        '{"columns": ["a"], "eyelids": ["x"]}',
        '{"columns": ["a"], "jaw": {"b": 4}}',
        '{"columns": ["a"], "jaw": {"b": "wide"}}',
        '{"columns": ["a"], "regions": {"a": "gaze"}}',
        '{"columns": [1]}',
    ],
)
def test_damaged_names_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / SHAPES_FILE).write_text(content)
    with pytest.raises(CorruptWeightsError, match=r"expression_shapes\.json"):
        load_shapes(tmp_path)


A = from_parts(np.linspace(0.1, 1, 50), (0.1, 0.2), (0.1, 0.0, 0.0))
B = from_parts(np.linspace(-1, -0.1, 50), (0.8, 0.9), (0.5, 0.1, 0.0))


def test_named_shapes_are_mixed_exactly() -> None:
    """Point 8: where the head has names, the numbers of a region are copied."""
    mixed = mix_regions(A, {"eyes": B}, PEOPLE, None)
    assert mixed.exact and not mixed.fit
    wide = COLUMNS.index("eyeWideLeft")
    assert mixed.expression.values[wide] == B.values[wide]
    changed = {COLUMNS[k] for k in np.flatnonzero(mixed.expression.values[:38] != A.values[:38])}
    assert changed == {"eyeWideLeft", "eyeWideRight", "eyeSquintLeft", "eyeSquintRight"}
    assert np.array_equal(mixed.expression.eyelids, B.eyelids)
    assert np.array_equal(mixed.expression.jaw, A.jaw)
    assert np.array_equal(mix_regions(A, {"mouth": B}, PEOPLE, None).expression.jaw, B.jaw)


def head(local: bool) -> HeadBasis:
    """A wall of vertices before the eyes' height 0 and the mouth's -1; components move rows, alone or all of them."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(-1, 1, 20), np.linspace(-2, 1.5, 200))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
    if local:
        centres = np.linspace(-1.9, 1.4, 50)
        directions = np.exp(-(((points[:, 1:2] - centres) / 0.04) ** 2))[:, None, :] * np.array([0, 0, 1.0])[:, None]
    else:
        directions = rng.standard_normal((len(points), 3, 50))
    return HeadBasis(points, directions, np.array([0.0, 0, 0]), np.array([0.0, -1, 0]))


def test_vertices_decide_where_there_are_no_names() -> None:
    """Point 8: least squares; a component that moves the mouth alone follows the mouth's source."""
    mixed = mix_regions(A, {"mouth": B}, None, head(local=True))
    values = mixed.expression.values
    assert np.allclose(values[:15], B.values[:15], atol=0.02)  # heights -1.9 to -0.9
    assert np.allclose(values[30:50], A.values[30:50], atol=0.02)
    assert not mixed.exact and mixed.fit["mouth"] > 0.99
    assert np.array_equal(mixed.expression.jaw, B.jaw) and np.array_equal(mixed.expression.eyelids, A.eyelids)


def test_what_cannot_be_met_is_said() -> None:
    mixed = mix_regions(A, {"mouth": B}, None, head(local=False))
    assert mixed.fit["mouth"] < 0.9  # every component moves the whole head
    same = mix_regions(A, {"mouth": A}, None, head(local=False))
    assert np.allclose(same.expression.values, A.values, atol=1e-5) and same.fit["mouth"] == 1.0


def test_regions_need_a_head_and_gaze_is_none() -> None:
    with pytest.raises(SettingsError, match="no region 'gaze'"):
        mix_regions(A, {"gaze": B}, PEOPLE, None)
    with pytest.raises(SettingsError, match="needs a head model"):
        mix_regions(A, {"eyes": B}, None, None)


def test_the_models_head_tells_regions_apart() -> None:
    """On the head that the starter models bring: an opened mouth is fitted where the mouth is."""
    from arc2face.pose.reader import PoseReader
    from arc2face.weights.folder import ModelsFolder

    basis = PoseReader.of_models(ModelsFolder(STARTER)).basis()
    weights = basis.weights()
    assert all(part.min() >= 0.0 and part.max() <= 1.0 for part in weights.values())
    assert all(part.sum() > 20 for part in weights.values())
    pucker = Expression(np.eye(55, dtype=np.float32)[2])
    mixed = mix_regions(Expression.neutral(), {"mouth": pucker}, None, basis)
    assert mixed.expression.values[2] == pytest.approx(1.0, abs=0.05) and mixed.fit["mouth"] > 0.95
    other = mix_regions(Expression.neutral(), {"brows": pucker}, None, basis)
    assert abs(other.expression.values[2]) < 0.05
