"""Poses from photos and from angles, the checks on a reconstruction, and what is said about missing files."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import arc2face_emoca as emoca
from arc2face.errors import (
    CorruptWeightsError,
    IncompatibleWeightsError,
    MissingWeightsError,
    NoFaceError,
    PoseError,
    SettingsError,
)
from arc2face.faces.alignment import align_rgb_u8
from arc2face.faces.ffhq import aligned_from_picture, transform_points
from arc2face.pose.geometry import FacePoints, angles_of, axis_angle, five_points, framing
from arc2face.pose.reader import (
    PITCH_LIMIT,
    ROLL_LIMIT,
    YAW_LIMIT,
    PoseReader,
    check_angles,
    check_normal_map,
    turntable_angles,
)
from arc2face.types import Expression
from arc2face.weights.folder import ModelsFolder
from tests.recipe3d import (
    CHECKPOINT,
    PICKLE,
    flame_arrays,
    geometry,
    golden,
    small_encoder,
    write_checkpoint,
    write_flame_pickle,
)

POSES = ((0.0, 0.0, 0.0), (30.0, -10.0, 5.0), (-60.0, 20.0, -15.0))


def landmarks_like(points: np.ndarray) -> np.ndarray:
    """68 points whose eyes, nose tip and mouth corners are the five given ones, with a plausible outline."""
    (right, left), nose, mouth = points[:2], points[2], points[3:]
    centre, reach = points.mean(0), float(np.hypot(*(left - right)))
    turn = np.linspace(0, np.pi, 17)
    outline = centre + np.stack([-np.cos(turn), 0.2 + np.sin(turn)], 1) * reach
    brows = np.concatenate([np.linspace(right, left, 10) - [0, 0.4 * reach]])
    ring = np.stack([np.cos(np.arange(6)), np.sin(np.arange(6))], 1) * 0.1 * reach
    ring -= ring.mean(0)
    nose_points = nose + np.stack([np.zeros(9), np.arange(-3, 6)], axis=1)
    lips = np.linspace(mouth[0], mouth[1], 20)
    lips[[0, 6]] = mouth
    return np.concatenate([outline, brows, nose_points, right + ring, left + ring, lips]).astype(np.float32)


def photo(seed: int, size: tuple[int, int] = (400, 360)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*size, 3)).astype(np.uint8)


def face_in_photo(angles: tuple[float, float, float]) -> np.ndarray:
    """Landmarks of the synthetic head at these angles, somewhere in a photo."""
    pose = torch.from_numpy(np.concatenate([axis_angle(*angles), np.zeros(3, np.float32)]))[None]
    verts = emoca.FlameLayer(geometry())(torch.zeros(1, 100), torch.zeros(1, 50), pose)[0]
    points = FacePoints.of(geometry()).on(verts)[:, :2] * [1, -1]
    return landmarks_like((points - points.mean(0)) * 1500 + [170, 190])


def fitting_camera(angles: tuple[float, float, float], landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pose and camera codes that put the head where the aligned landmarks are, when the photo is not tilted."""
    aligned = transform_points(aligned_from_picture(landmarks, (360, 400)), landmarks)
    tform = emoca.preprocess(np.zeros((512, 512, 3), np.uint8), aligned).tform
    pose = np.concatenate([axis_angle(*angles), np.zeros(3, np.float32)])
    verts = emoca.FlameLayer(geometry())(torch.zeros(1, 100), torch.zeros(1, 50), torch.from_numpy(pose)[None])[0]
    own = FacePoints.of(geometry()).on(verts)[:, :2]
    seen = (five_points(aligned) * tform[0, 0] + tform[:2, 2]) / 112 - 1
    seen[:, 1] *= -1
    scale = np.sqrt(seen.var(0).sum() / own.var(0).sum())
    return pose, np.array([scale, *(seen.mean(0) / scale - own.mean(0))])


def write_assets(root: Path, pose: np.ndarray, cam: np.ndarray) -> Path:
    """A checkpoint whose encoders answer every photo with these codes."""
    entries = emoca.checkpoint_entries(small_encoder(236, 1), small_encoder(50, 2), geometry())
    for name in [name for name in entries if ".layers.2." in name]:
        entries[name] = torch.zeros_like(entries[name])
    answer = torch.from_numpy(np.concatenate([pose, cam]).astype(np.float32))
    entries["deca.E_flame.layers.2.bias"][200:209] = answer
    write_checkpoint(root / "emoca" / CHECKPOINT, entries)
    return root


@pytest.fixture(scope="module")
def head_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("head")
    write_flame_pickle(root / "emoca" / PICKLE)
    return root


@pytest.fixture(scope="module")
def head_reader(head_folder: Path) -> PoseReader:
    return PoseReader(head_folder)


@pytest.fixture(scope="module")
def frontal_reader(tmp_path_factory: pytest.TempPathFactory) -> PoseReader:
    """Reads every photo as a frontal head that fits `face_in_photo((0, 0, 0))`."""
    root = tmp_path_factory.mktemp("frontal")
    return PoseReader([write_assets(root, *fitting_camera((0, 0, 0), face_in_photo((0, 0, 0))))])


@pytest.mark.parametrize("angles", POSES)
def test_angles_survive_the_way_through_axis_angle(angles: tuple[float, float, float]) -> None:
    rotation = emoca.rotation_matrices(torch.from_numpy(axis_angle(*angles))[None])[0].numpy()
    assert np.allclose(angles_of(rotation), angles, atol=1e-3)


def test_signs_of_the_angles() -> None:
    forward, up = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    yaw, pitch, roll = (
        emoca.rotation_matrices(torch.from_numpy(axis_angle(*angles))[None])[0].double().numpy()
        for angles in ((30, 0, 0), (0, 30, 0), (0, 0, 30))
    )
    assert (yaw @ forward)[0] > 0.4  # to the picture's right
    assert (pitch @ forward)[1] < -0.4  # down
    assert (roll @ up)[0] < -0.4  # top of the head to the picture's left


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 75.001, -1e9, 10**400, "abc", None, True, [1.0]])
def test_angles_outside_the_range_are_refused(head_reader: PoseReader, value: Any) -> None:
    """F13: an angle is never clamped without a word, and text is no angle."""
    with pytest.raises(PoseError, match="yaw"):
        check_angles(value, 0, 0)
    with pytest.raises(PoseError, match="roll"):
        head_reader.from_angles(0, 0, value, size=64)
    with pytest.raises(PoseError, match="jaw"):
        head_reader.from_angles(0, 0, 0, jaw=value, size=64)


def test_angles_of_any_number_type_are_taken() -> None:
    assert check_angles(np.float32(75), np.int64(-40), 30) == (YAW_LIMIT, -PITCH_LIMIT, ROLL_LIMIT)


def test_turntable() -> None:
    assert turntable_angles(1) == ((0.0, 0.0, 0.0),)
    assert [yaw for yaw, _, _ in turntable_angles(5, yaw=40)] == [-40, -20, 0, 20, 40]
    assert turntable_angles(2, yaw=75, pitch=10)[1] == (YAW_LIMIT, 10, 0)
    with pytest.raises(PoseError):
        turntable_angles(2, yaw=500)
    for n in (0, 65, True):
        with pytest.raises(SettingsError):
            turntable_angles(n)


def test_points_are_found_without_landmarks() -> None:
    points = FacePoints.of(geometry()).on(geometry().v_template)
    right, left, nose, mouth_right, mouth_left = points
    assert right[0] < -0.02 and left[0] > 0.02
    assert abs(right[1] - left[1]) < 0.005
    assert nose[2] > max(right[2], left[2])
    assert mouth_right[0] < nose[0] < mouth_left[0]
    assert max(mouth_right[1], mouth_left[1]) < nose[1] < right[1]


def test_landmarks_of_the_head_are_preferred() -> None:
    faces, weights = torch.arange(68), torch.full((68, 3), 1 / 3)
    head = geometry()
    marked = emoca.FlameGeometry(**{**vars(head), "landmark_faces": faces, "landmark_weights": weights})
    again = emoca.FlameGeometry.from_buffers(marked.to_buffers())
    points = FacePoints.of(again).on(head.v_template)
    centres = head.v_template[head.flame_faces[:68]].mean(1).numpy()
    assert np.allclose(points, np.stack([centres[36:42].mean(0), centres[42:48].mean(0), *centres[[30, 48, 54]]]))


def test_frame_follows_the_ffhq_rule() -> None:
    points = np.array([[-1, 0], [1, 0], [0, -1], [-0.8, -2], [0.8, -2]], float)
    x, y, side = framing(points)
    assert (x, y) == pytest.approx((0, -0.2))
    assert side == pytest.approx(2 * max(2 * 2, 1.8 * 2))


def test_normal_map_turns_with_the_sliders(head_reader: PoseReader) -> None:
    maps = {yaw: head_reader.from_angles(yaw, 0, 0, size=128) for yaw in (-40, 0, 40)}
    for picture in maps.values():
        assert picture.shape == (128, 128, 3)
        assert picture.dtype == np.uint8
        assert 0.2 < (picture != 127).any(axis=2).mean() < 0.9
    middle = {yaw: np.nonzero((picture != 127).any(axis=2))[1].mean() for yaw, picture in maps.items()}
    assert middle[40] < middle[0] - 8 < middle[-40] - 16  # the face stays in the middle, the head lies behind it
    down, level = (head_reader.from_angles(0, pitch, 0, size=128)[56:72, 56:72, 1].mean() for pitch in (30, 0))
    assert down < level - 20
    assert tuple(maps[0][0, 0]) == (127, 127, 127)


def test_angles_are_repeatable(head_reader: PoseReader) -> None:
    twice = [head_reader.from_angles(YAW_LIMIT, 0, 0, size=64) for _ in range(2)]
    assert np.array_equal(*twice)


def test_shape_expression_and_jaw_change_the_head(head_reader: PoseReader) -> None:
    plain = head_reader.from_angles(0, 0, 0, size=128)
    values = np.zeros(55, np.float32)
    values[52] = 0.3
    shape = np.zeros(100, np.float32)
    shape[0] = 2
    opened = head_reader.from_angles(0, 0, 0, jaw=np.degrees(0.3), size=128)
    assert not np.array_equal(plain, opened)
    assert not np.array_equal(plain, head_reader.from_angles(0, 0, 0, shape=shape, size=128))
    by_expression = head_reader.from_angles(0, 0, 0, expression=Expression(values), size=128)
    assert (by_expression != opened).any(axis=2).mean() < 0.01
    coefficients = np.zeros(50, np.float32)
    coefficients[0] = 3
    assert not np.array_equal(plain, head_reader.from_angles(0, 0, 0, expression=coefficients, size=128))


def test_normal_maps_are_told_from_photos(head_reader: PoseReader) -> None:
    for angles in POSES:
        check_normal_map(head_reader.from_angles(*angles, size=128))
    pictures = (photo(1), np.full((64, 64, 3), 127, np.uint8), np.full((64, 64, 3), 255, np.uint8), photo(2) // 4 + 90)
    for picture in pictures:
        with pytest.raises(PoseError):
            check_normal_map(picture)


def test_bad_angles_codes_and_sizes(head_reader: PoseReader) -> None:
    with pytest.raises(PoseError):
        head_reader.from_angles(float("inf"), 0, 0)
    with pytest.raises(PoseError):
        head_reader.from_angles(0, 0, 0, jaw=float("nan"))
    with pytest.raises(PoseError, match="100 finite"):
        head_reader.from_angles(0, 0, 0, shape=np.zeros(3, np.float32))
    for size in (0, 31, 4096):
        with pytest.raises(SettingsError):
            head_reader.from_angles(0, 0, 0, size=size)


def test_threads_share_one_reader(head_folder: Path) -> None:
    reader, results = PoseReader(head_folder), []
    threads = [threading.Thread(target=lambda: results.append(reader.from_angles(20, 0, 0, size=64))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(np.array_equal(picture, results[0]) for picture in results)


@pytest.mark.parametrize("angles", [(30.0, 0.0, 0.0), (-25.0, 10.0, 0.0)])
def test_reading_a_reference(tmp_path: Path, angles: tuple[float, float, float]) -> None:
    landmarks = face_in_photo(angles)
    reader = PoseReader([write_assets(tmp_path, *fitting_camera(angles, landmarks))])
    reading = reader.read(photo(1), face_in_photo((0, 0, 0)), photo(2), landmarks)
    assert reading.reprojection_error < 0.06
    assert reading.warnings == ()
    assert (reading.yaw, reading.pitch, reading.roll) == pytest.approx(angles, abs=1e-3)
    assert np.array_equal(reading.aligned_rgb_u8, align_rgb_u8(photo(2), landmarks))
    assert reading.normal_map.shape == (512, 512, 3)
    assert reading.shape.shape == (100,)
    same = reader.from_angles(*angles)  # after read, the sliders use the same head
    assert abs((same != 127).any(2).mean() - (reading.normal_map != 127).any(2).mean()) < 0.1


def test_angles_draw_the_same_head_before_and_after_a_photo(tmp_path: Path) -> None:
    """E2: where `generic_model.pkl` is another head than the checkpoint's, history decided which one was drawn."""
    landmarks = face_in_photo((0, 0, 0))
    root = write_assets(tmp_path, *fitting_camera((0, 0, 0), landmarks))
    arrays = dict(flame_arrays())
    arrays["v_template"] = arrays["v_template"] * np.array([1.0, 1.3, 1.0])
    write_flame_pickle(root / "emoca" / PICKLE, arrays)
    reader = PoseReader([root])
    before = reader.from_angles(20, 0, 0, size=64)
    reader.read(photo(1), landmarks, photo(2), landmarks)
    assert np.array_equal(reader.from_angles(20, 0, 0, size=64), before)
    later = PoseReader([root])
    later.read(photo(1), landmarks, photo(2), landmarks)
    assert np.array_equal(later.from_angles(20, 0, 0, size=64), before)


def test_landmarks_found_again_are_used(frontal_reader: PoseReader) -> None:
    reader, landmarks = frontal_reader, face_in_photo((0, 0, 0))
    seen: list[Any] = []

    def detect(picture: np.ndarray) -> np.ndarray:
        seen.append(picture.shape)
        return transform_points(aligned_from_picture(landmarks, (360, 400)), landmarks) + 3

    moved = reader.read(photo(1), landmarks, photo(2), landmarks, detect=detect)
    carried = reader.read(photo(2), landmarks, photo(2), landmarks, detect=lambda _: None)
    assert carried.warnings == ("Source and reference are the same photo, so the pose stays as it is.",)
    assert seen == [(512, 512, 3)]
    assert not np.array_equal(moved.normal_map, carried.normal_map)


def test_failed_and_doubtful_reconstructions_are_said(tmp_path: Path) -> None:
    landmarks = face_in_photo((0, 0, 0))
    pose, cam = fitting_camera((0, 0, 0), landmarks)
    failed = PoseReader([write_assets(tmp_path / "failed", pose, cam + np.array([0, 0.15, 0]))])
    with pytest.raises(PoseError, match="could not be reconstructed"):
        failed.read(photo(1), landmarks, photo(2), landmarks)
    rough = PoseReader([write_assets(tmp_path / "rough", pose, cam + np.array([0, 0.03, 0]))])
    assert "only roughly" in rough.read(photo(1), landmarks, photo(2), landmarks).warnings[0]
    away = np.concatenate([axis_angle(85, 0, 0), np.zeros(3, np.float32)])
    turned = PoseReader([write_assets(tmp_path / "turned", away, cam)])
    warnings = " ".join(turned.read(photo(1), landmarks, photo(2), landmarks, check=False).warnings)
    assert "could not be reconstructed" in warnings
    assert "turned further" in warnings


def test_doubtful_photos_are_said(frontal_reader: PoseReader) -> None:
    landmarks = face_in_photo((0, 0, 0))
    flipped_and_tiny = landmarks.mean(0) - (landmarks - landmarks.mean(0)) * 0.1
    warnings = " ".join(frontal_reader.read(photo(1), flipped_and_tiny, photo(2), landmarks).warnings)
    assert "upside down" in warnings
    assert "source photo is very small" in warnings
    assert "reference" not in warnings


def test_photo_without_face_is_named(tmp_path: Path) -> None:
    landmarks = face_in_photo((0, 0, 0))
    reader = PoseReader([tmp_path])
    with pytest.raises(NoFaceError, match="source"):
        reader.read(photo(1), None, photo(2), landmarks)
    with pytest.raises(NoFaceError, match="reference"):
        reader.read(photo(1), landmarks, photo(2), None)
    with pytest.raises(PoseError, match="68 finite"):
        reader.read(photo(1), landmarks[:5], photo(2), landmarks)


def test_missing_licensed_files(tmp_path: Path, head_folder: Path) -> None:
    reader = PoseReader([tmp_path])
    assert reader.available() == (False, False)
    landmarks = face_in_photo((0, 0, 0))
    for call in (
        reader.load,
        lambda: reader.from_angles(0, 0, 0),
        lambda: reader.read(photo(1), landmarks, photo(1), landmarks),
    ):
        with pytest.raises(MissingWeightsError, match=r"flame\.is\.tue\.mpg\.de.*emoca\.is\.tue\.mpg\.de"):
            call()
    head_only = PoseReader.of_models(ModelsFolder(head_folder))
    assert head_only.available() == (False, True)
    assert "emoca.is.tue.mpg.de" in head_only.missing()
    with pytest.raises(MissingWeightsError, match="checkpoint"):
        head_only.load()


def test_broken_files_become_the_library_s_errors(tmp_path: Path) -> None:
    for name, content, error in (
        ("a", b"cposix\nsystem\n(S'true'\ntR.", CorruptWeightsError),
        ("b", b"(dp0\nS'v_template'\nI1\ns.", IncompatibleWeightsError),
    ):
        path = tmp_path / name / "emoca" / PICKLE
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        with pytest.raises(error):
            PoseReader(tmp_path / name).from_angles(0, 0, 0)
    broken = tmp_path / "c" / "emoca" / CHECKPOINT
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"zip?")
    with pytest.raises(CorruptWeightsError):
        PoseReader(tmp_path / "c").load()


def test_recorded_demo_through_the_reader(tmp_path: Path) -> None:
    recorded = golden("emoca_end2end")
    pose, cam = recorded["ref_posecode"][0], recorded["ref_cam"][0]
    reader = PoseReader([write_assets(tmp_path, pose, cam)])
    reading = reader.read(
        recorded["src_u8"],
        recorded["lm_src"],
        recorded["ref_u8"],
        recorded["lm_ref"],
        detect=lambda _: recorded["lm_aligned"],
        check=False,
    )
    off = np.abs(reading.aligned_rgb_u8.astype(int) - recorded["ref_aligned_u8"])
    assert off.max() <= 2
    model = emoca.load(tmp_path / "emoca", cache_dir=tmp_path / "cache")
    wanted = model.decode(reading.shape, reading.expression, pose, cam, recorded["ref_tform"], 512)
    assert np.array_equal(reading.normal_map, wanted.normal_map[0].numpy())
