from __future__ import annotations

import importlib
import logging
import shutil
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from arc2face.errors import (
    CorruptWeightsError,
    EmbeddingError,
    IncompatibleWeightsError,
    MissingWeightsError,
    NoFaceError,
    SettingsError,
    WrongRecogniserError,
)
from arc2face.faces import recogniser
from arc2face.faces.analyser import (
    DETECTION_LADDER,
    Face,
    FaceAnalyser,
    check_recogniser,
    choose_face,
)
from arc2face.faces.networks import CPU, open_session, usable_providers
from arc2face.types import IdentityEmbedding
from arc2face.weights.store import hash_file
from tests.tiny_faces import (
    FIVE_POINTS,
    blank,
    draw_face,
    mean_shape68,
    write_antelopev2,
    write_detector,
    write_landmarks,
    write_recogniser,
)

ALICE, BOB = (40, 190, 60), (200, 230, 90)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_antelopev2(tmp_path_factory.mktemp("models") / "antelopev2")


@pytest.fixture(scope="module")
def analyser(folder: Path) -> FaceAnalyser:
    return FaceAnalyser.from_folder(folder)


def portrait(height: int, width: int, radius: float, person: tuple[int, int, int] = ALICE) -> np.ndarray:
    picture = blank(height, width)
    draw_face(picture, width / 2, height / 2, radius, person)
    return picture


def iou(box: np.ndarray, x: float, y: float, radius: float) -> float:
    left, top = max(box[0], x - radius), max(box[1], y - radius)
    right, bottom = min(box[2], x + radius), min(box[3], y + radius)
    both = max(right - left, 0) * max(bottom - top, 0)
    return float(both / ((box[2] - box[0]) * (box[3] - box[1]) + 4 * radius**2 - both))


def test_a_face_and_its_points(analyser: FaceAnalyser) -> None:
    (face,) = analyser.detect(portrait(400, 600, 60))
    assert iou(face.box, 300, 200, 60) > 0.9
    assert np.abs(face.points - (FIVE_POINTS * 60 + [300, 200])).max() < 2
    assert face.box.dtype == np.float32 and face.points.shape == (5, 2)
    assert 0.5 <= face.score <= 1
    assert face.embedding is None and face.landmarks68 is None


# radius / side of the picture: what the first rung sees, too large for it, and nearly the whole picture
@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.3, 0.4, 0.48])
@pytest.mark.parametrize("side", [112, 512, 1500])
def test_the_ladder_finds_every_size(analyser: FaceAnalyser, share: float, side: int) -> None:
    (face,) = analyser.detect(portrait(side, side, side * share))
    assert iou(face.box, side / 2, side / 2, side * share) > 0.75


def test_tight_crops_need_the_lower_rungs(analyser: FaceAnalyser) -> None:
    picture = portrait(512, 512, 230)
    assert analyser.detect(picture, ladder=DETECTION_LADDER[:1]) == ()
    assert len(analyser.detect(picture)) == 1


def test_a_crop_that_cuts_the_face_needs_the_canvas(analyser: FaceAnalyser) -> None:
    picture = portrait(600, 600, 200)[110:490, 110:490]
    assert analyser.detect(picture, ladder=[rung for rung in DETECTION_LADDER if rung[0] == 1.0]) == ()
    (face,) = analyser.detect(picture)
    assert iou(face.box, 190, 190, 200) > 0.8


def test_a_large_picture_is_scaled_down_before_it_gets_a_canvas(analyser: FaceAnalyser) -> None:
    picture = portrait(2000, 2000, 660)[360:1640, 360:1640].repeat(2, axis=0).repeat(2, axis=1)
    assert picture.shape == (2560, 2560, 3)
    (face,) = analyser.detect(picture)
    assert iou(face.box, 1280, 1280, 1320) > 0.8


def test_no_face(analyser: FaceAnalyser) -> None:
    assert analyser.detect(blank(300, 400)) == ()
    with pytest.raises(NoFaceError, match="the second photo"):
        choose_face((), picture="the second photo")


@pytest.mark.parametrize("shape", [(8, 2000), (2000, 8), (8, 8), (20, 700)])
def test_odd_shapes_do_not_break_the_detector(analyser: FaceAnalyser, shape: tuple[int, int]) -> None:
    assert analyser.detect(blank(*shape)) == ()


def test_several_faces_largest_first(analyser: FaceAnalyser) -> None:
    picture = blank(600, 900)
    draw_face(picture, 150, 300, 34, ALICE)
    draw_face(picture, 600, 250, 60, BOB)
    draw_face(picture, 350, 480, 45, ALICE)
    faces = analyser.detect(picture)
    assert [round(face.centre[0] / 50) * 50 for face in faces] == [600, 350, 150]
    assert [face.index for face in faces] == [0, 1, 2]
    assert faces[0].area > faces[1].area > faces[2].area
    assert choose_face(faces) is faces[0]
    assert choose_face(faces, 2) is faces[2]
    for pick in (3, -1):
        with pytest.raises(SettingsError, match="shows 3"):
            choose_face(faces, pick)


def test_embeddings_tell_people_apart(analyser: FaceAnalyser, folder: Path) -> None:
    def embed(picture: np.ndarray):
        return analyser.embed(picture, analyser.detect(picture)[0])

    alice, again, bob = embed(portrait(400, 600, 60)), embed(portrait(700, 500, 90)), embed(portrait(400, 600, 60, BOB))
    assert alice.vector.shape == (512,)
    assert alice.recogniser_sha256 == hash_file(folder / "arcface.onnx")
    assert alice.cosine(again) > 0.98
    assert alice.cosine(bob) < 0.7


def test_colour_order_reaches_the_recogniser_right(analyser: FaceAnalyser) -> None:
    crop = np.full((112, 112, 3), (0, 200, 120), np.uint8)
    whole = Face(np.array([0, 0, 112, 112], np.float32), (FIVE_POINTS * 40 + 56).astype(np.float32), 1.0)
    session = open_session(analyser.recogniser_path)

    def direct(rgb: np.ndarray) -> IdentityEmbedding:
        blob = (rgb.transpose(2, 0, 1)[None].astype(np.float32) - 127.5) / 127.5
        return IdentityEmbedding(np.asarray(session.run(None, {"input.1": blob})[0])[0])

    ours = analyser.embed(crop, whole)
    assert ours.cosine(direct(crop)) > 0.995
    assert ours.cosine(direct(crop[..., ::-1])) < 0.9


def test_landmarks_follow_the_box(analyser: FaceAnalyser) -> None:
    picture = portrait(400, 600, 60)
    face = analyser.detect(picture)[0]
    points = analyser.landmarks(picture, face)
    assert points.shape == (68, 2) and points.dtype == np.float32
    assert np.abs(points - (mean_shape68() * 60 + [300, 200])).max() < 2
    filled = analyser.analyse(picture, face, landmarks=True)
    assert filled.embedding is not None and filled.landmarks68 is not None
    assert np.array_equal(filled.landmarks68, points)


def test_networks_load_when_needed(folder: Path) -> None:
    fresh = FaceAnalyser.from_folder(folder)
    assert fresh.loaded == ()
    picture = portrait(300, 300, 50)
    face = fresh.detect(picture)[0]
    assert fresh.loaded == ("detector",)
    fresh.embed(picture, face)
    assert fresh.loaded == ("detector", "recogniser")
    fresh.close()
    assert fresh.loaded == ()
    assert len(fresh.detect(picture)) == 1


def test_a_detector_of_fixed_size(folder: Path, tmp_path: Path) -> None:
    write_detector(tmp_path / "fixed.onnx", size=320)
    fixed = FaceAnalyser(tmp_path / "fixed.onnx", folder / "arcface.onnx")
    for share in (0.1, 0.45):
        (face,) = fixed.detect(portrait(500, 500, 500 * share))
        assert iou(face.box, 250, 250, 500 * share) > 0.75
    with pytest.raises(MissingWeightsError, match="1k3d68"):
        fixed.landmarks(portrait(500, 500, 50), face)


def test_many_threads_give_the_same_answers(analyser: FaceAnalyser) -> None:
    pictures = [portrait(300, 300 + 20 * k, 40 + 3 * k, ALICE if k % 2 else BOB) for k in range(4)]

    def answer(picture: np.ndarray) -> np.ndarray:
        return analyser.embed(picture, analyser.detect(picture)[0]).vector

    alone = [answer(picture) for picture in pictures]
    together = [np.zeros(0)] * len(pictures)

    def work(k: int) -> None:
        together[k] = answer(pictures[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("value", [np.nan, 20.0])
def test_degenerate_points_are_an_error(analyser: FaceAnalyser, value: float) -> None:
    nowhere = Face(np.array([0, 0, 50, 50], np.float32), np.full((5, 2), value, np.float32), 1.0)
    with pytest.raises(EmbeddingError, match="detect"):
        analyser.embed(blank(100, 100), nowhere)


def test_same_result_as_insightface_itself(analyser: FaceAnalyser, folder: Path) -> None:
    application = importlib.import_module("insightface.app").FaceAnalysis(name=str(folder), providers=[CPU])
    application.prepare(ctx_id=-1, det_size=(640, 640))
    picture = portrait(500, 700, 60)
    (theirs,) = application.get(picture[:, :, ::-1].copy())
    (ours,) = analyser.detect(picture)
    assert np.abs(theirs.bbox - ours.box).max() < 1e-3
    assert np.abs(theirs.embedding - analyser.embed(picture, ours).vector).max() < 1e-4
    assert np.abs(theirs.landmark_3d_68[:, :2] - analyser.landmarks(picture, ours)).max() < 1e-3


@pytest.mark.parametrize("name", ["glintr100.onnx", "GLINTR100.ONNX"])
def test_the_wrong_recogniser_is_refused_by_name(folder: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "antelopev2"))
    assert check_recogniser(copy) == hash_file(copy / "arcface.onnx")
    shutil.copyfile(copy / "arcface.onnx", copy / name)
    with pytest.raises(WrongRecogniserError, match="arc2face download identity"):
        FaceAnalyser.from_folder(copy)
    (copy / "arcface.onnx").unlink()
    with pytest.raises(WrongRecogniserError, match=name):
        check_recogniser(copy)
    with pytest.raises(WrongRecogniserError):
        _ = FaceAnalyser(copy / "scrfd_10g_bnkps.onnx", copy / name).recogniser_sha256


def test_the_wrong_recogniser_is_refused_by_hash(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "antelopev2"))
    write_recogniser(copy / "arcface.onnx", seed=1)
    digest = hash_file(copy / "arcface.onnx")
    monkeypatch.setitem(recogniser.FOREIGN_RECOGNISERS, digest, "glintr100.onnx of somewhere")
    with pytest.raises(WrongRecogniserError, match="somewhere"):
        check_recogniser(copy)


def test_missing_networks(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(MissingWeightsError, match="arc2face download identity"):
        check_recogniser(tmp_path)
    absent = FaceAnalyser(tmp_path / "none.onnx", folder / "arcface.onnx")
    with pytest.raises(MissingWeightsError, match="none"):
        absent.detect(blank(64, 64))


def test_damaged_and_foreign_networks(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes((folder / "scrfd_10g_bnkps.onnx").read_bytes()[:9000])
    with pytest.raises(CorruptWeightsError, match="cut"):
        FaceAnalyser(tmp_path / "cut.onnx", folder / "arcface.onnx").detect(blank(64, 64))
    mixed = FaceAnalyser(folder / "arcface.onnx", folder / "1k3d68.onnx", folder / "arcface.onnx")
    with pytest.raises(IncompatibleWeightsError, match="SCRFD"):
        mixed.detect(blank(64, 64))
    face = Face(np.array([0, 0, 50, 50], np.float32), (FIVE_POINTS * 20 + 25).astype(np.float32), 1.0)
    with pytest.raises(IncompatibleWeightsError, match="ArcFace"):
        mixed.embed(blank(64, 64), face)
    with pytest.raises(IncompatibleWeightsError, match="68-point"):
        mixed.landmarks(blank(64, 64), face)


def test_an_absent_accelerator_falls_back_to_the_cpu(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with caplog.at_level(logging.WARNING, "arc2face"):
        session = open_session(folder / "arcface.onnx", ["CUDAExecutionProvider", CPU])
    assert session.get_providers() == [CPU]
    assert "onnxruntime-gpu" in caplog.text
    caplog.clear()
    assert usable_providers(None) == [CPU]
    assert caplog.text == ""


def test_nothing_is_printed(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fresh = FaceAnalyser.from_folder(folder)
    picture = portrait(300, 300, 50)
    fresh.analyse(picture, fresh.detect(picture)[0], landmarks=True)
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err == ""


def test_landmark_file_of_the_right_format(tmp_path: Path) -> None:
    write_landmarks(tmp_path / "1k3d68.onnx")
    assert open_session(tmp_path / "1k3d68.onnx").get_outputs()[0].shape[-1] == 3309


def test_only_very_small_faces_get_a_second_look(analyser: FaceAnalyser) -> None:
    """C6: close views are left alone, because there the second look is the worse one."""
    from arc2face.faces.search import close_up

    def face(side: float) -> Face:
        box = np.array([500, 500, 500 + side, 500 + side], np.float32)
        return Face(box, np.zeros((5, 2), np.float32), 0.9)

    assert close_up(face(384), (4500, 6000)) == (308, 308, 1076, 1076)
    assert close_up(face(1500), (4500, 6000)) is None
    assert close_up(face(40), (1200, 1280)) is None  # the picture has hardly more pixels than the detector saw
    picture = blank(3000, 4000)
    draw_face(picture, 3000, 1000, 150)
    (found,) = analyser.detect(picture)
    closer = analyser.closer(picture, found)
    assert iou(closer.box, 3000, 1000, 150) > max(0.95, iou(found.box, 3000, 1000, 150))
    assert np.abs(closer.points - (FIVE_POINTS * 150 + [3000, 1000])).max() < 4


def test_cuda_sessions_are_bounded_and_on_the_right_device() -> None:
    """D6: device number, no exhaustive search per input size, no doubling arena."""
    from arc2face.faces.networks import with_options

    name, options = with_options("CUDAExecutionProvider", 1)
    assert name == "CUDAExecutionProvider"
    assert options["device_id"] == 1
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert 0 < int(options["gpu_mem_limit"]) <= 4 << 30
    assert with_options(CPU, 1) == CPU


def test_a_session_that_fails_goes_on_on_the_cpu(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D6: an accelerator that runs out of memory in the middle costs speed, not the photo."""
    from arc2face.faces.networks import Session

    class Lost:
        def run(self, *_: object) -> list[object]:
            raise RuntimeError("CUDA failure 2: out of memory")

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", CPU]

    session = Session(folder / "arcface.onnx", Lost())  # type: ignore[arg-type]
    feed = {"input.1": np.zeros((1, 3, 112, 112), np.float32)}
    with caplog.at_level(logging.WARNING, "arc2face"):
        (answer,) = session.run(None, feed)
    assert np.array_equal(answer, open_session(folder / "arcface.onnx").run(None, feed)[0])
    assert session.get_providers() == [CPU] and "out of memory" in caplog.text


def test_a_network_that_fails_on_the_cpu_is_named(folder: Path) -> None:
    with pytest.raises(CorruptWeightsError, match=r"arcface\.onnx"):
        open_session(folder / "arcface.onnx").run(None, {"input.1": np.zeros((1, 3, 7, 7), np.float32)})
