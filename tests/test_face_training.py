"""Smoke runs of the face networks' trainers: a few steps, a resumed run, an export that the product's loaders read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from arc2face_training.common.checkpoint import CHECKPOINT, averaged_state
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.settings import FaceLoopConfig
from arc2face_training.expression import smirk
from arc2face_training.faces import detector, landmarks, recogniser
from arc2face_training.faces.people import PhotoPeople
from arc2face_training.faces.sprites import compose, make_sprites
from arc2face_training.people import PeopleWorld
from arc2face_training.people.dataset import DatasetConfig, open_dataset, write_dataset
from arc2face_training.pose import emoca as pose

TINY = FaceLoopConfig(steps=2, batch_size=3, log_every=1, device="cpu")


@pytest.fixture(scope="module")
def data(world: PeopleWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "train", DatasetConfig(people=3, per_person=2, first=0, normals=False), processes=1)
    write_dataset(folder / "eval", DatasetConfig(people=2, per_person=2, first=1, normals=False), processes=1)
    return folder


def test_recogniser_trains_and_loads_through_insightface(data: Path, tmp_path: Path) -> None:
    get_model = pytest.importorskip("insightface.model_zoo").get_model
    config = recogniser.RecogniserConfig(
        data=(data / "train",), evaluation=data / "eval", widths=(8, 8, 8, 8), loop=TINY
    )
    figures = recogniser.train(config, tmp_path)
    assert figures["people"] == 2 and 0 <= figures["accuracy"] <= 1
    net = get_model(str(tmp_path / "arcface.onnx"), providers=["CPUExecutionProvider"])
    assert (net.input_mean, net.input_std) == (127.5, 127.5)
    crop = np.asarray(open_dataset(data / "eval").crops[0])
    # insightface takes BGR and swaps it.
    vector = net.get_feat(np.ascontiguousarray(crop[:, :, ::-1]))[0]
    model = recogniser.Recogniser(config.widths, config.blocks)
    model.load_state_dict(averaged_state(tmp_path / CHECKPOINT))
    np.testing.assert_allclose(vector, recogniser.embed_all(model, crop[None])[0].numpy(), rtol=0.02, atol=0.05)


def photos(folder: Path, people: int, side: int = 112) -> Path:
    rng = np.random.default_rng(0)
    for person in range(people):
        (folder / f"{person:03d}").mkdir(parents=True)
        tone = rng.integers(0, 255, 3)
        for number in range(2):
            crop = np.clip(tone + rng.normal(0, 20, (side, side, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(crop).save(folder / f"{person:03d}" / f"{number}.png")
    return folder


def test_recogniser_trains_on_photos_and_holds_people_out(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 40)
    config = recogniser.RecogniserConfig(photos=folder, widths=(8, 8, 8, 8), attribute_weight=0.0, loop=TINY)
    figures = recogniser.train(config, tmp_path / "run")
    assert figures["people"] == 2
    assert len(PhotoPeople(folder)) == 38
    assert list((tmp_path / "run" / "curves").glob("events.*"))
    assert (tmp_path / "run" / "arcface.onnx").exists()


def test_unfit_photos_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="one person only"):
        PhotoPeople(photos(tmp_path / "one", 1))
    with pytest.raises(TrainingError, match="at least 40 people"):
        recogniser.train(recogniser.RecogniserConfig(photos=photos(tmp_path / "few", 3), loop=TINY), tmp_path)
    with pytest.raises(TrainingError, match="112 x 112"):
        PhotoPeople(photos(tmp_path / "large", 2, 128)).sample(np.random.default_rng(0), 2)


def test_resumed_run_equals_an_unbroken_one(data: Path, tmp_path: Path) -> None:
    """T1: the face networks go through the same loop as the others, batch-norm statistics included."""
    whole = landmarks.LandmarksConfig(
        data=data / "train", evaluation=data / "eval", widths=(8, 8, 8, 8), loop=replace(TINY, steps=3)
    )
    landmarks.train(whole, tmp_path / "whole")
    piece = replace(whole, loop=replace(whole.loop, seconds=1e-6))
    for step in (1, 2, 3):
        assert landmarks.train(piece, tmp_path / "pieces")["step"] == step
    first, second = (averaged_state(tmp_path / name / CHECKPOINT) for name in ("whole", "pieces"))
    assert any(name.endswith("running_var") for name in first)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_checkpoint_of_other_settings_is_refused(data: Path, tmp_path: Path) -> None:
    config = landmarks.LandmarksConfig(data=data / "train", evaluation=data / "eval", widths=(8, 8, 8, 8), loop=TINY)
    landmarks.train(config, tmp_path)
    with pytest.raises(TrainingError, match=r"other settings \(widths\)"):
        landmarks.train(replace(config, widths=(8, 8, 8, 16)), tmp_path)


def test_detector_trains_and_loads_as_scrfd(tmp_path: Path) -> None:
    get_model = pytest.importorskip("insightface.model_zoo").get_model
    config = detector.DetectorConfig(sprites=4, canvas=(64,), widths=(8, 8, 8, 8, 8), neck=8, loop=TINY)
    detector.train(config, tmp_path)
    net = get_model(str(tmp_path / "scrfd_10g_bnkps.onnx"), providers=["CPUExecutionProvider"])
    assert type(net).__name__ == "SCRFD" and net.use_kps and net.static_input_size is None
    picture = np.zeros((96, 128, 3), np.uint8)
    for size in ((320, 320), (640, 640)):
        boxes, points = net.detect(picture, input_size=size, det_thresh=0.0)
        assert boxes.shape[1] == 5 and points.shape[1:] == (5, 2)


def test_detector_targets_lead_back_to_the_faces() -> None:
    sprites = make_sprites(3, 0)
    rng = np.random.default_rng(4)
    for wanted in (20, 60, 150):
        picture = compose(rng, sprites, 192, 1, (wanted, wanted + 1))
        targets = detector.assign(picture, 192)
        cells = 192 // detector.CELL
        centres = np.stack(list(np.mgrid[:cells, :cells][::-1]), -1).reshape(-1, 2) * detector.CELL
        centres = np.repeat(centres, detector.ANCHORS, 0)[targets.label == 1]
        box = targets.box[targets.label == 1] * detector.CELL
        assert len(box) > 0
        np.testing.assert_allclose(centres - box[:, :2], np.tile(picture.boxes[0, :2], (len(box), 1)), atol=1e-3)


def test_detector_leaves_too_large_faces_to_the_next_look() -> None:
    sprites = make_sprites(1, 0)
    picture = compose(np.random.default_rng(0), sprites, 192, 1, (400, 401))
    assert (detector.assign(picture, 192).label == 0).all()


def test_landmarks_train_and_load_as_1k3d68(data: Path, tmp_path: Path) -> None:
    get_model = pytest.importorskip("insightface.model_zoo").get_model
    config = landmarks.LandmarksConfig(data=data / "train", evaluation=data / "eval", widths=(8, 8, 8, 8), loop=TINY)
    assert landmarks.train(config, tmp_path)["error_percent_of_box"] > 0
    net = get_model(str(tmp_path / "1k3d68.onnx"), providers=["CPUExecutionProvider"])
    assert net.taskname == "landmark_3d_68" and net.input_size == (192, 192)
    rows = open_dataset(data / "eval")
    face = _Face(bbox=np.array(rows.labels[0, 204:208]))
    assert net.get(np.asarray(rows.rgb[0]), face).shape == (68, 3)


class _Face(dict):  # insightface's Face: attributes and items are the same
    def __getattr__(self, name: str) -> object:
        return self[name]


def test_expression_encoder_trains_and_loads_in_the_product(data: Path, tmp_path: Path) -> None:
    from arc2face.expression.smirk import SmirkEncoder

    config = smirk.SmirkConfig(
        data=data / "train", evaluation=data / "eval", small=64, loop=replace(TINY, batch_size=2)
    )
    figures = smirk.train(config, tmp_path)
    assert -1 <= figures["jaw_open"] <= 1
    encoder = SmirkEncoder.from_file(tmp_path / smirk.FILE_NAME)
    rows = open_dataset(data / "eval")
    found = encoder.read(np.asarray(rows.rgb[0]), rows.labels[0, 58:194].reshape(68, 2))
    assert found.values.shape == (55,)


def test_pose_encoder_trains_and_loads_in_the_product(data: Path, tmp_path: Path) -> None:
    emoca = pytest.importorskip("arc2face_emoca")
    config = pose.EmocaConfig(
        data=data / "train", evaluation=data / "eval", stem=4, widths=(4, 4), blocks=(1, 1),
        channels=(8, 8), hidden=8, loop=replace(TINY, batch_size=2),
    )  # fmt: skip
    assert pose.train(config, tmp_path)["rotation_degrees"] > 0
    found = emoca.read_checkpoint(tmp_path / pose.CHECKPOINT_PATH)
    assert found.geometry is not None and not found.unknown
    assert found.geometry.landmark_faces is not None


def test_pose_labels_redraw_the_normal_map(data: Path) -> None:
    """Shape, expression, rotation and crop camera of a label, through emoca, give the picture's normal map."""
    emoca = pytest.importorskip("arc2face_emoca")
    from arc2face_training.people.head import head_model
    from arc2face_training.people.landmarks import landmark_vertices

    head = head_model()
    points = np.searchsorted(head.flame_vertices, landmark_vertices(head))
    rows = open_dataset(data / "train")
    model = emoca.Emoca(pose.head_geometry(head))
    _, target, matrix = pose.sample(rows, 1, np.random.default_rng(0), 0.0)
    codes = [target[part] for part in (pose.SHAPE, pose.EXPRESSION, slice(200, 206), pose.CAMERA)]
    tform = np.concatenate([matrix, [[0, 0, 1]]]).astype(np.float32)
    size = rows.config.size
    decoded = model.decode(*codes, tform, size)
    drawn = decoded.projected[0, points, :2].numpy() * size / 2 + size / 2
    wanted = rows.labels[1, 58:194].reshape(68, 2)
    apart = np.abs(drawn - wanted).max(1)
    # The picture's camera has perspective and its lids close; beside the chin the two heads' jaws open differently.
    assert np.median(apart) < 1.5 and np.percentile(apart, 85) < 4


def test_half_storage_keeps_the_graph_valid(tmp_path: Path) -> None:
    from arc2face_training.faces.onnx_export import export

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU())
    export(model, torch.zeros(1, 3, 8, 8), tmp_path / "a.onnx", ["input"], ["output"])
    loaded = onnx.load(str(tmp_path / "a.onnx"))
    kinds = {w.data_type for w in loaded.graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds


def test_margin_lowers_the_right_class_only() -> None:
    cosines = torch.tensor([[0.5, 0.2], [-0.99, 0.1]])
    plain = recogniser.margin_logits(cosines, torch.tensor([0, 0]), 0.0, 10.0)
    harder = recogniser.margin_logits(cosines, torch.tensor([0, 0]), 0.3, 10.0)
    assert (harder[:, 0] < plain[:, 0]).all()
    torch.testing.assert_close(harder[:, 1], plain[:, 1])


def test_sampled_classes_keep_the_right_ones() -> None:
    """10: a dense softmax over a million people; a step now compares with a sample that always holds its own people."""
    centres, labels = torch.arange(40.0)[:, None].repeat(1, 3), torch.tensor([7, 39, 7, 0])
    rows, places = recogniser.some_classes(centres, labels, 10)
    assert torch.equal(rows[places, 0].long(), labels) and 3 <= len(rows) <= 13
    assert recogniser.some_classes(centres, labels, 36)[0] is centres
