"""What the shipped starter models have learned, end to end, on people and seeds no training saw.

The bounds lie well below what the model card measures on many more pictures, so that they hold over seeds and machines.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from arc2face import Engine
from arc2face.expression.presets import PRESETS_FILE, load_presets
from arc2face.faces.alignment import align_rgb_u8
from arc2face.types import Expression, ExpressionCondition, PoseCondition, ReferenceCondition
from arc2face.weights.folder import ModelsFolder
from arc2face_training.evaluate import figures
from arc2face_training.evaluate.figures import Bench
from arc2face_training.people import PeopleWorld
from arc2face_training.people.presets import PRESETS, lines
from tests.conftest import PROJECT

U8 = NDArray[np.uint8]
PEOPLE = 8
STARTER = PROJECT / "models" / "starter"


@pytest.fixture(scope="module")
def bench(world: PeopleWorld) -> Iterator[Bench]:
    engine = Engine.open(STARTER, device="cpu")
    yield Bench(engine, PEOPLE, steps=12)
    engine.close()


def test_bundle_is_complete_small_and_named() -> None:
    files = [path for path in STARTER.rglob("*") if path.is_file()]
    sizes = [path.stat().st_size for path in files]
    assert sum(sizes) <= 60e6
    assert max(sizes) <= 25e6
    assert ModelsFolder(STARTER).kind == "starter"
    card = (STARTER / "MODEL_CARD.md").read_text(encoding="utf-8")
    for path in files:
        if path.suffix in (".safetensors", ".onnx", ".bin", ".pt", ".ckpt"):
            assert path.relative_to(STARTER).as_posix() in card


def test_different_people_stay_themselves(bench: Bench) -> None:
    plain = figures.identity(bench)
    assert plain["face_found"] >= 0.85
    assert plain["rank1"] >= 0.6
    assert plain["margin"] >= 0.2
    assert plain["seed_difference"] > 8


def test_four_fast_steps_keep_the_person(bench: Bench) -> None:
    fast = figures.fast_mode(bench)
    assert fast["rank1"] >= 0.5
    assert fast["margin"] >= 0.15


def test_jaw_number_opens_the_mouth(bench: Bench) -> None:
    opened = []
    for number in range(5):
        gaps = []
        for jaw in (0.0, 0.32):
            numbers = np.zeros(55, np.float32)
            numbers[52] = jaw
            picture = bench.picture(number, expression=ExpressionCondition(Expression(numbers)))
            points = bench.engine.perception.landmarks(picture)
            gaps.append(_mouth_gap(points))
        opened.append(gaps[1] - gaps[0])
    assert np.median(opened) > 0.06
    assert sum(gap > 0 for gap in opened) >= 4


def test_normal_map_turns_the_head(bench: Bench) -> None:
    turned = []
    for number in range(4):
        subject = bench.subjects[number]
        sides = []
        for yaw in (-0.5, 0.5):
            state = bench.cast.turned(number)
            state.yaw, state.pitch, state.roll = yaw, 0.0, 0.0
            drawn = bench.cast.render(subject.person, state, bench.engine.native_size)
            assert drawn.normal_map_u8 is not None
            picture = bench.picture(number, pose=PoseCondition(drawn.normal_map_u8))
            sides.append(_nose_offset(bench.engine.perception.landmarks(picture)))
        turned.append(sides[1] - sides[0])
    assert np.median(turned) > 0.15
    assert sum(turn > 0 for turn in turned) == 4


def test_reference_keeps_the_background(bench: Bench) -> None:
    gains = []
    for number in range(4):
        photo = bench.subjects[number].rgb_u8
        landmarks = bench.engine.perception.landmarks(photo)
        aligned = align_rgb_u8(photo, landmarks, bench.engine.native_size)
        kept = bench.picture(number, reference=ReferenceCondition(aligned), seed=5)
        plain = bench.picture(number, seed=5)
        gains.append(_border_error(plain, aligned) - _border_error(kept, aligned))
    assert np.mean(gains) > 10
    assert sum(gain > 0 for gain in gains) >= 3


def _mouth_gap(points: NDArray[np.float32]) -> float:
    """Height of the inner lips relative to the distance of the eyes."""
    eyes = np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
    return float((points[[65, 66, 67], 1].mean() - points[[61, 62, 63], 1].mean()) / eyes)


def _nose_offset(points: NDArray[np.float32]) -> float:
    """How far the nose's tip lies to the right of the middle of the jaw line, relative to the face's width."""
    return float((points[30, 0] - (points[0, 0] + points[16, 0]) / 2) / np.ptp(points[:17, 0]))


def _border_error(picture: U8, aligned: U8) -> float:
    """Mean absolute difference in the upper corners, where no head is."""
    side = picture.shape[0] // 6
    parts = (np.s_[:side, :side], np.s_[:side, -side:])
    return float(np.mean([np.abs(picture[p].astype(float) - aligned[p]).mean() for p in parts]))


def test_presets_are_those_of_the_people_head() -> None:
    assert (STARTER / PRESETS_FILE).read_text(encoding="utf-8") == lines()
    shipped = load_presets(STARTER)
    for name, wanted in PRESETS.items():
        np.testing.assert_allclose(shipped[name].values, wanted.values, atol=1e-3)
