from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arc2face.errors import ExpressionError
from arc2face.expression.presets import BUILT_IN, PRESETS_FILE, load_presets
from arc2face.expression.values import (
    amplify,
    blend,
    check_expression,
    clamped,
    from_dict,
    from_parts,
    load_expression,
    neutralise,
    save_expression,
    to_dict,
    with_components,
    with_eyelids,
    with_jaw,
)
from arc2face.types import Expression

SMILE = from_parts(np.linspace(-2, 2, 50), (0.2, 0.4), (0.3, 0.05, -0.1))


def test_parts_land_in_the_adapters_order() -> None:
    assert SMILE.values.dtype == np.float32
    assert np.allclose(SMILE.values[:50], np.linspace(-2, 2, 50))
    assert np.allclose(SMILE.values[50:], [0.2, 0.4, 0.3, 0.05, -0.1])
    assert np.array_equal(from_parts([1.5]).values[:2], [1.5, 0])
    assert not from_parts().values.any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"components": [11.0]}, "component number 1 must lie between -10 and 10"),
        ({"components": np.zeros(51)}, "at most 50"),
        ({"components": [float("nan")]}, "NaN"),
        ({"components": ["a"]}, "numbers"),
        ({"eyelids": (0.0, 1.2)}, "between 0 and 1, not 1.2"),
        ({"eyelids": (0.0,)}, "2 eyelids"),
        ({"eyelids": (float("inf"), 0.0)}, "NaN"),
        ({"jaw": (-0.1, 0.0, 0.0)}, "between 0 and 0.9"),
        ({"jaw": (1.0, 0.0, 0.0)}, "between 0 and 0.9"),
        ({"jaw": (0.1, 0.31, 0.0)}, "between -0.3 and 0.3"),
        ({"jaw": (0.1, 0.0)}, "3 jaw"),
    ],
)
def test_ranges_are_named(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ExpressionError, match=words):
        from_parts(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [np.zeros(54), np.zeros(56), np.full(55, np.nan)])
def test_wrong_vectors(values: np.ndarray) -> None:
    with pytest.raises(ExpressionError):
        Expression(values)


def test_amplify() -> None:
    assert not amplify(SMILE, 0).values.any()
    assert np.array_equal(amplify(SMILE, 1.0).values, SMILE.values)
    assert np.allclose(amplify(SMILE, 0.5).values, SMILE.values / 2)
    more = amplify(SMILE, 1.5)
    assert np.allclose(more.components, SMILE.components * 1.5)
    assert np.allclose(more.jaw, [0.45, 0.075, -0.15])
    assert amplify(with_eyelids(SMILE, 0.9, 0.9), 1.5).eyelids.max() == 1.0
    assert check_expression(amplify(from_parts(jaw=(0.9, 0.2, -0.2)), 1.5)).jaw == pytest.approx([0.9, 0.3, -0.3])


def test_what_a_photo_gives_may_leave_the_ranges() -> None:
    wild = Expression(np.concatenate([np.full(50, 12.0), [1, 0], [1.4, 0.2, 0]]))
    assert np.array_equal(amplify(wild, 1.0).values, wild.values)
    with pytest.raises(ExpressionError):
        check_expression(wild)
    tame = check_expression(clamped(wild))
    assert tame.components.max() == 10 and tame.jaw[0] == pytest.approx(0.9)


@pytest.mark.parametrize("amount", [-0.1, 1.6, float("nan"), True])
def test_amplitude_range(amount: float) -> None:
    with pytest.raises(ExpressionError, match=r"between 0 and 1\.5"):
        amplify(SMILE, amount)


def test_blend() -> None:
    other = from_parts(jaw=(0.1, 0, 0))
    assert np.array_equal(blend(SMILE, other, 0).values, SMILE.values)
    assert np.array_equal(blend(SMILE, other, 1).values, other.values)
    assert np.allclose(blend(SMILE, other, 0.25).values, SMILE.values * 0.75 + other.values * 0.25)
    with pytest.raises(ExpressionError, match="blend"):
        blend(SMILE, other, 1.01)


def test_edits_touch_only_their_part() -> None:
    winking = with_eyelids(SMILE, left=1.0)
    assert np.allclose(winking.eyelids, [1.0, 0.4]) and np.array_equal(winking.components, SMILE.components)
    assert np.allclose(with_eyelids(SMILE, right=0.0).eyelids, [0.2, 0.0])
    opened = with_jaw(SMILE, open=0.6)
    assert np.allclose(opened.jaw, [0.6, 0.05, -0.1]) and np.array_equal(opened.eyelids, SMILE.eyelids)
    assert np.allclose(with_jaw(SMILE, side=-0.2, roll=0.1).jaw, [0.3, -0.2, 0.1])
    shaped = with_components(SMILE, [3.0])
    assert shaped.components[0] == 3 and not shaped.components[1:].any()
    assert np.array_equal(shaped.values[50:], SMILE.values[50:])
    for edit in (
        lambda: with_eyelids(SMILE, left=2.0),
        lambda: with_jaw(SMILE, open=-1),
        lambda: with_jaw(SMILE, roll=1),
    ):
        with pytest.raises(ExpressionError, match="must lie between"):
            edit()


def test_neutralise() -> None:
    assert not neutralise(SMILE).values.any()
    kept = neutralise(SMILE, keep_eyelids=True)
    assert np.array_equal(kept.eyelids, SMILE.eyelids) and not kept.jaw.any()
    assert np.array_equal(neutralise(SMILE, keep_jaw=True).jaw, SMILE.jaw)


def test_expressions_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="read-only"):
        SMILE.values[0] = 1


def test_json_round_trip(tmp_path: Path) -> None:
    path = save_expression(tmp_path / "smile.json", SMILE)
    assert np.array_equal(load_expression(path).values, SMILE.values)
    data = json.loads(path.read_text(encoding="utf-8"))
    assert data["eyelids"] == {"left": pytest.approx(0.2), "right": pytest.approx(0.4)}
    assert set(data["jaw"]) == {"open", "side", "roll"} and "radians" in data["units"]["jaw"]


def test_json_short_forms() -> None:
    assert not from_dict({}).values.any()
    assert from_dict({"jaw": {"open": 0.4}}).jaw[0] == pytest.approx(0.4)
    assert from_dict({"eyelids": [1, 0]}).eyelids[0] == 1
    assert np.allclose(from_dict([float(v) for v in SMILE.values]).values, SMILE.values)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "hello",
        "3",
        '"text"',
        "[1, 2]",
        '{"format": "something-else"}',
        '{"jaw": {"open": 3}}',
        '{"jaw": {"wide": 0.1}}',
        '{"jaw": 0.3}',
        '{"eyelids": [1]}',
        '{"components": {"0": 1}}',
        '{"components": [NaN]}',
        '{"components": [null]}',
        "[" * 100000,
    ],
)
def test_bad_json(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ExpressionError):
        load_expression(path)


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00\x80")
    (tmp_path / "large.json").write_bytes(b" " * 300_000)
    for name in ("binary.json", "large.json", "none.json"):
        with pytest.raises(ExpressionError, match=name):
            load_expression(tmp_path / name)


def test_built_in_presets_are_valid_and_use_no_unnamed_component() -> None:
    assert not BUILT_IN["Neutral"].values.any()
    for name, preset in BUILT_IN.items():
        check_expression(preset)
        assert not preset.components.any(), name
    assert load_presets(None) == BUILT_IN


def test_presets_beside_the_models(tmp_path: Path) -> None:
    assert load_presets(tmp_path) == BUILT_IN
    fields = {"Smile": to_dict(SMILE), "Yawn": {"jaw": {"open": 0.7}}}
    (tmp_path / PRESETS_FILE).write_text(json.dumps(fields), encoding="utf-8")
    presets = load_presets(tmp_path)
    assert np.array_equal(presets["Smile"].values, SMILE.values)
    assert presets["Yawn"].jaw[0] == pytest.approx(0.7) and "Eyes closed" in presets
    (tmp_path / PRESETS_FILE).write_text('{"Odd": {"jaw": {"open": 9}}}', encoding="utf-8")
    with pytest.raises(ExpressionError, match=r"'Odd'.*between 0 and 0\.9"):
        load_presets(tmp_path)
    (tmp_path / PRESETS_FILE).write_text("[]", encoding="utf-8")
    with pytest.raises(ExpressionError, match=PRESETS_FILE.replace(".", r"\.")):
        load_presets(tmp_path)


def test_to_dict_is_plain_json() -> None:
    assert json.loads(json.dumps(to_dict(SMILE))) == to_dict(SMILE)
    assert to_dict(SMILE) is not to_dict(SMILE)
