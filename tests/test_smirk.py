from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from arc2face.errors import CorruptWeightsError, IncompatibleWeightsError, InputError, MissingWeightsError
from arc2face.expression import reader as expression_reader
from arc2face.expression.mesh import FaceMesh, mediapipe_installed
from arc2face.expression.network import ExpressionNet, same_padding
from arc2face.expression.reader import ExpressionReader
from arc2face.expression.smirk import (
    CROP_SIZE,
    SmirkEncoder,
    crop_transform,
    network_input_u8,
    read_expression,
    warp_crop,
)
from arc2face.faces.face import Face
from arc2face.faces.points import forehead_points, mesh_box_points
from tests.smirk_weights import GOLDENS, PREFIX, original_shapes, smirk_state
from tests.tiny_faces import mean_shape68

CROPS = np.load(GOLDENS / "crop.npz")
ENCODER = np.load(GOLDENS / "encoder.npz")


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Laid out like SMIRK_em1.pt: other encoders beside ours."""
    state = smirk_state()
    state["smirk_encoder.pose_encoder.pose_cam_layers.0.weight"] = torch.zeros(6, 576)
    state["smirk_generator.init_conv.conv.weight"] = torch.zeros(1)
    path = tmp_path_factory.mktemp("smirk") / "SMIRK_em1.pt"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def encoder(weights_file: Path) -> SmirkEncoder:
    return SmirkEncoder.from_file(weights_file)


def test_keys_and_shapes_are_the_originals() -> None:
    ours = {key: tuple(value.shape) for key, value in ExpressionNet().state_dict().items()}
    assert ours == original_shapes()
    assert len(ours) == 278


def test_encoder_parity(encoder: SmirkEncoder) -> None:
    values = encoder.encode(ENCODER["crops_u8"])
    assert values.dtype == np.float32
    assert np.abs(values - ENCODER["embed55"]).max() < 1e-4
    assert (values[:, 53] == 0.2).any() and (values[:, 52] == 0).any()  # limits are reached


def test_feature_parity(encoder: SmirkEncoder) -> None:
    batch = torch.from_numpy(ENCODER["crops_u8"]).permute(0, 3, 1, 2).float() / 255.0
    with torch.inference_mode():
        features = encoder.net.encoder(batch)
    assert features.shape == (3, 960, 7, 7)
    assert np.abs(features.mean(dim=(2, 3)).numpy() - ENCODER["feat4_mean"]).max() < 1e-4


@pytest.mark.parametrize("case", [0, 1])
def test_crop_parity(encoder: SmirkEncoder, case: int) -> None:
    picture, points = CROPS[f"image_u8_{case}"], CROPS[f"landmarks_{case}"]
    transform = crop_transform(points)
    assert np.abs(transform - CROPS[f"tform_{case}"]).max() < 1e-9
    assert np.abs(warp_crop(picture, transform)[::16, ::16] - CROPS[f"warp_f64_patch_{case}"]).max() < 1e-9
    crop = network_input_u8(picture, points)
    difference = np.abs(crop.astype(int) - CROPS[f"net_input_u8_{case}"])
    assert difference.max() <= 1 and (difference > 0).mean() <= 1e-3
    values = read_expression(picture, points, encoder).values
    assert np.abs(values - CROPS[f"embed55_{case}"][0]).max() < 1e-4


def test_the_network_gets_blue_first() -> None:
    picture = np.zeros((300, 300, 3), np.uint8)
    picture[..., 0] = 250
    crop = network_input_u8(picture, np.array([[100, 100], [200, 200]]))
    assert tuple(crop[112, 112]) == (0, 0, 250)


def test_a_crop_beyond_the_picture_is_black_there() -> None:
    picture = np.full((100, 100, 3), 200, np.uint8)
    crop = network_input_u8(picture, np.array([[0, 0], [99, 99]]))
    assert tuple(crop[0, 0]) == (0, 0, 0) and tuple(crop[112, 112]) == (200, 200, 200)
    outside = network_input_u8(picture, np.array([[1000, 1000], [1100, 1100]]))
    assert outside.max() == 0


@pytest.mark.parametrize("points", [np.zeros((1, 2)), np.zeros((5, 2)), np.full((9, 2), np.nan), np.zeros(8)])
def test_unusable_points(points: np.ndarray) -> None:
    with pytest.raises(InputError):
        crop_transform(points)


@pytest.mark.parametrize(("size", "stride", "expected"), [(224, 2, (0, 1)), (112, 1, (1, 1)), (7, 2, (1, 1))])
def test_same_padding(size: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding(size, 3, stride) == expected
    assert same_padding(size, 1, 1) == (0, 0)


def test_files_with_and_without_prefix(weights_file: Path, tmp_path: Path, encoder: SmirkEncoder) -> None:
    from safetensors.torch import save_file

    state = smirk_state()
    bare = {key.removeprefix(PREFIX): value for key, value in state.items()}
    torch.save(bare, tmp_path / "bare.pt")
    save_file(state, tmp_path / "smirk.safetensors")
    expected = encoder.encode(ENCODER["crops_u8"][:1])
    for path in (tmp_path / "bare.pt", tmp_path / "smirk.safetensors"):
        assert np.array_equal(SmirkEncoder.from_file(path).encode(ENCODER["crops_u8"][:1]), expected)


def test_foreign_and_damaged_files(weights_file: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="arc2face download expression"):
        SmirkEncoder.from_file(tmp_path / "none.pt")
    (tmp_path / "cut.pt").write_bytes(weights_file.read_bytes()[:50000])
    with pytest.raises(CorruptWeightsError):
        SmirkEncoder.from_file(tmp_path / "cut.pt")
    state = smirk_state()
    wrong = dict(state)
    wrong[PREFIX + "expression_layers.0.weight"] = torch.zeros(50, 960)
    with pytest.raises(IncompatibleWeightsError, match=r"expression_layers\.0\.weight"):
        SmirkEncoder.from_state_dict(wrong)
    missing = {key: value for key, value in state.items() if "blocks.3.1.conv_dw" not in key}
    with pytest.raises(IncompatibleWeightsError, match="1 missing"):
        SmirkEncoder.from_state_dict(missing)
    with pytest.raises(IncompatibleWeightsError, match="1 unknown"):
        SmirkEncoder.from_state_dict({**state, PREFIX + "extra": torch.zeros(1)})
    with pytest.raises(IncompatibleWeightsError):
        SmirkEncoder.from_state_dict({"unet.conv_in.weight": torch.zeros(1)})


def test_crops_of_the_wrong_shape(encoder: SmirkEncoder) -> None:
    with pytest.raises(InputError, match="224"):
        encoder.encode(np.zeros((1, 112, 112, 3), np.uint8))


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def test_the_forehead_turns_with_the_face() -> None:
    face = mean_shape68() * 100
    brows = face[17:27]
    upper = forehead_points(face)
    assert upper.shape == (5, 2)
    assert upper[:, 1].max() < brows[:, 1].max()
    assert upper[0, 1] < brows[:, 1].min() - 20
    assert np.allclose(upper[1] * [-1, 1], upper[2]) and np.allclose(upper[3] * [-1, 1], upper[4])
    for degrees in (30, -100):
        assert np.allclose(forehead_points(turned(face, degrees) + 7), turned(upper, degrees) + 7)


def test_68_landmarks_get_a_forehead_before_the_crop() -> None:
    points = mean_shape68() * 60 + 150
    picture = np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8)
    assert np.array_equal(network_input_u8(picture, points), network_input_u8(picture, mesh_box_points(points)))
    taller = mesh_box_points(points)
    assert taller[:, 1].min() < points[:, 1].min() and taller[:, 1].max() == points[:, 1].max()


def a_face(landmarks: bool) -> Face:
    points = (mean_shape68() * 60 + 150).astype(np.float32)
    box = np.array([90, 90, 210, 215], np.float32)
    return Face(box, np.zeros((5, 2), np.float32), 0.9, landmarks68=points if landmarks else None)


def test_reader_without_mediapipe(weights_file: Path, tmp_path: Path) -> None:
    reader = ExpressionReader(weights_file, tmp_path / "face_landmarker.task")
    picture = np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8)
    assert not reader.loaded
    face = a_face(landmarks=True)
    reading = reader.read(picture, face)
    assert reader.loaded
    assert reading.box_from == "landmarks68" and "face_landmarker.task is not there" in reading.note
    assert face.landmarks68 is not None
    expected = reader.encoder.read(picture, mesh_box_points(face.landmarks68))
    assert np.array_equal(reading.expression.values, expected.values)
    by_argument = reader.read(picture, a_face(landmarks=False), face.landmarks68)
    assert np.array_equal(by_argument.expression.values, expected.values)
    assert reader.read(picture, a_face(landmarks=False)).box_from == "detector"
    reader.close()
    assert not reader.loaded


def test_a_broken_landmarker_file_falls_back(
    weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "face_landmarker.task").write_bytes(b"not a bundle")
    reader = ExpressionReader(weights_file, tmp_path / "face_landmarker.task")
    reading = reader.read(np.zeros((300, 300, 3), np.uint8), a_face(landmarks=True))
    assert reading.box_from == "landmarks68"
    if not mediapipe_installed():
        assert "MediaPipe is not installed" in reading.note
        monkeypatch.setattr(expression_reader, "mediapipe_installed", lambda: True)
        reader.close()
        reading = reader.read(np.zeros((300, 300, 3), np.uint8), a_face(landmarks=True))
    assert "cannot be" in reading.note


def test_mesh_needs_its_file(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="arc2face download expression"):
        FaceMesh(tmp_path / "face_landmarker.task")


def test_crop_size_is_the_networks() -> None:
    assert CROP_SIZE == 224 and network_input_u8(np.zeros((9, 9, 3), np.uint8), [[0, 0], [8, 8]]).shape == (224, 224, 3)
