"""The avatar world: determinism, labels that fit the picture, the FLAME format, both rasterisers, datasets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from arc2face_training.avatars import AvatarWorld, State, raster, raster_numpy
from arc2face_training.avatars.columns import EXPRESSION_COLUMNS, IDENTITY_COLUMNS, UNIT_METRES
from arc2face_training.avatars.dataset import CROP_POINTS, DatasetConfig, align_crop, write_dataset
from arc2face_training.avatars.looks import N_ATTRIBUTES, sample_look
from arc2face_training.common.errors import TrainingError


@pytest.fixture(scope="module")
def world() -> AvatarWorld:
    return AvatarWorld()


def test_equal_seeds_give_equal_pictures_and_other_seeds_other_people(world: AvatarWorld) -> None:
    first = world.render(world.identity(7), world.sample_state(np.random.default_rng(3)), 64)
    again = world.render(world.identity(7), world.sample_state(np.random.default_rng(3)), 64)
    other = world.render(world.identity(9), world.sample_state(np.random.default_rng(3)), 64)
    assert first.rgb_u8 is not None and again.rgb_u8 is not None and other.rgb_u8 is not None
    np.testing.assert_array_equal(first.rgb_u8, again.rgb_u8)
    assert np.abs(first.rgb_u8.astype(int) - other.rgb_u8).mean() > 5


def test_seeds_are_split_by_parity_with_a_reserved_range(world: AvatarWorld) -> None:
    assert world.identity(4).is_training
    assert not world.identity(5).is_training
    assert not world.identity(2**31).is_training
    with pytest.raises(ValueError, match="0 or more"):
        world.identity(-1)


def test_labels_are_where_the_face_is(world: AvatarWorld) -> None:
    picture = world.render(world.identity(3), State(), 128)
    assert picture.alpha_u8 is not None and picture.rgb_u8 is not None
    left, right = picture.points5[0], picture.points5[1]
    assert left[0] < picture.points5[2][0] < right[0] and picture.points5[3][1] > picture.points5[2][1]
    columns, rows = picture.landmarks68.astype(int).T
    assert (picture.alpha_u8[rows, columns] > 0).all()
    height = picture.box[3] - picture.box[1]
    assert 0.45 * 128 < height < 0.7 * 128


def test_yaw_and_roll_follow_the_documented_signs(world: AvatarWorld) -> None:
    person = world.identity(3)
    turned = world.render(person, State(yaw=0.5), 128, ("normals",)).points5
    middle = (turned[0, 0] + turned[1, 0]) / 2
    assert turned[2, 0] > middle + 3, "positive yaw moves the nose to the image's right"
    tilted = world.render(person, State(roll=0.3), 128, ("normals",)).points5
    eyes, mouth = tilted[:2].mean(0), tilted[3:].mean(0)
    assert eyes[0] < mouth[0] - 3, "positive roll moves the head's top to the image's left"


def test_jaw_smile_and_lids_move_what_they_name(world: AvatarWorld) -> None:
    person = world.identity(3)

    def landmarks(state: State) -> np.ndarray:
        return world.render(person, state, 128, ("rgb",)).landmarks68

    rest, smile, jaw, wink = landmarks(State()), State().set(smile=1.0), State(), State()
    jaw.jaw[0], wink.eyelids[0] = 0.3, 1.0
    opened, closed = landmarks(jaw), landmarks(wink)
    assert (opened[66] - opened[62])[1] > (rest[66] - rest[62])[1] + 5
    assert np.ptp(landmarks(smile)[48:60, 0]) > np.ptp(rest[48:60, 0]) + 2
    left, right = slice(42, 48), slice(36, 42)
    assert np.ptp(closed[left, 1]) < 0.6 * np.ptp(rest[left, 1])
    # The camera follows the lids by a fraction of a pixel.
    np.testing.assert_allclose(closed[right], rest[right], atol=1.0)


def test_normal_map_is_emocas(world: AvatarWorld) -> None:
    emoca = pytest.importorskip("arc2face_emoca")
    person, state = world.identity(3), State(yaw=0.3, pitch=-0.1, roll=0.05).set(smile=0.7)
    state.jaw[0] = 0.15
    ours = world.render(person, state, 128, ("normals",))
    assert ours.normal_map_u8 is not None
    shape = np.zeros(100, np.float32)
    shape[: len(IDENTITY_COLUMNS)] = person.look.shape
    from arc2face.pose.geometry import axis_angle

    pose = np.concatenate([axis_angle(*np.degrees([state.yaw, state.pitch, state.roll])), state.jaw])
    model = emoca.Emoca(emoca.FlameGeometry.from_arrays(world.head.flame_arrays()))
    tform = np.diag([224 / 128, 224 / 128, 1]).astype(np.float32)
    theirs = model.decode(shape, state.expression, pose, ours.camera, tform, 128).normal_map[0].numpy()
    difference = np.abs(theirs.astype(int) - ours.normal_map_u8.astype(int)).max(-1)
    assert (difference > 2).mean() < 0.01
    assert (ours.normal_map_u8[0, 0] == 127).all()


def test_flame_arrays_have_flames_layout(world: AvatarWorld) -> None:
    arrays = world.head.flame_arrays()
    n = world.head.n_vertices
    assert arrays["shapedirs"].shape == (n, 3, 400) and arrays["posedirs"].shape == (n, 3, 36)
    assert arrays["J_regressor"].shape == (5, n) and arrays["weights"].shape == (n, 5)
    np.testing.assert_allclose(arrays["weights"].sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(arrays["J_regressor"].sum(1), 1, atol=1e-5)
    assert arrays["kintree_table"][0, 0] == 2**32 - 1
    named = np.abs(arrays["shapedirs"]).max((0, 1)) > 0
    assert named[: len(IDENTITY_COLUMNS)].all() and named[300 : 300 + len(EXPRESSION_COLUMNS)].all()
    assert not named[len(IDENTITY_COLUMNS) : 300].any() and not named[300 + len(EXPRESSION_COLUMNS) :].any()
    assert float(np.ptp(arrays["v_template"][:, 1])) > 1.5 * UNIT_METRES


def test_both_rasterisers_agree(world: AvatarWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    person, state = world.identity(5), world.sample_state(np.random.default_rng(1))
    fast = world.render(person, state, 48)
    monkeypatch.setattr(raster, "_library", lambda: None)
    slow = world.render(person, state, 48)
    assert fast.rgb_u8 is not None and slow.rgb_u8 is not None
    assert fast.normal_map_u8 is not None and slow.normal_map_u8 is not None
    assert np.abs(fast.rgb_u8.astype(int) - slow.rgb_u8).mean() < 1.0
    assert (np.abs(fast.normal_map_u8.astype(int) - slow.normal_map_u8).max(-1) > 1).mean() < 0.01


def test_numpy_zbuffer_keeps_the_nearer_face() -> None:
    screen = np.array([[0, 0, 2], [8, 0, 2], [0, 8, 2], [0, 0, 1], [8, 0, 1], [0, 8, 1]], np.float32)
    ids, bary = raster_numpy.zbuffer(screen, np.array([[0, 1, 2], [3, 4, 5]], np.int32), 8)
    assert set(ids.tolist()) == {-1, 1}
    assert (bary[ids >= 0] >= 0).all()


def test_attributes_describe_the_person() -> None:
    one, other = sample_look(2).attributes(), sample_look(4).attributes()
    assert one.shape == (N_ATTRIBUTES,) and np.isfinite(one).all()
    assert not np.allclose(one, other)


def test_crop_puts_the_points_on_the_template() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    points = CROP_POINTS * 0.5 + 20
    for x, y in points.astype(int):
        picture[y - 1 : y + 2, x - 1 : x + 2] = 255
    crop = align_crop(picture, points)
    at = CROP_POINTS.astype(int)
    assert (crop[at[:, 1], at[:, 0]] > 100).all()


def test_dataset_resumes_and_refuses_another_configuration(tmp_path: Path) -> None:
    config = DatasetConfig(people=3, per_person=2, first=1, size=48)
    whole = write_dataset(tmp_path / "a", config, processes=1)
    assert np.asarray(whole.done).all() and whole.seeds.tolist() == [1, 3, 5]
    picture = np.array(whole.rgb[4])
    done = np.lib.format.open_memmap(tmp_path / "a" / "done.npy", "r+")
    done[2] = False
    done.flush()
    again = write_dataset(tmp_path / "a", config, processes=1)
    np.testing.assert_array_equal(again.rgb[4], picture)
    assert again.label("expression55").shape == (6, 55)
    with pytest.raises(TrainingError, match="another configuration"):
        write_dataset(tmp_path / "a", DatasetConfig(people=4, per_person=2, first=1, size=48), processes=1)


def test_state_vector_order() -> None:
    state = State().set(frown=0.5)
    state.eyelids[:], state.jaw[:] = (0.1, 0.2), (0.3, 0.01, 0.0)
    vector = torch.from_numpy(state.expression55)
    assert vector.shape == (55,)
    assert vector[EXPRESSION_COLUMNS.index("frown")] == 0.5
    np.testing.assert_allclose(vector[50:], [0.1, 0.2, 0.3, 0.01, 0.0], atol=1e-6)
