"""The doctor: what it finds in good, damaged, incomplete and wrong model folders, and among clashing packages."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from arc2face.doctor import Check, Report, diagnose
from arc2face.doctor.companions import COMPANIONS, check_companions
from arc2face.doctor.files import check_files
from arc2face.doctor.system import check_machine, check_software, clashes, installed_versions
from arc2face.weights.download.ledger import Entry, Ledger
from arc2face.weights.store import hash_file
from tests.recipe3d import PICKLE, TEMPLATE, write_flame_pickle, write_template
from tests.tiny_faces import write_antelopev2


@pytest.fixture
def models(tiny_tree: Path, tmp_path: Path) -> Path:
    """The tiny tree laid out flat, with face networks, so that it can pass for full weights."""
    root = Path(shutil.copytree(tiny_tree / "models", tmp_path / "m"))
    for part in ("stable-diffusion-v1-5", "lcm-lora-sdv1-5"):
        shutil.copytree(tiny_tree / part, root / part)
    write_antelopev2(root / "antelopev2")
    (root / "bundle.json").write_text('{"kind": "tiny"}')
    return root


def as_full(models: Path) -> Path:
    (models / "bundle.json").unlink()
    return models


def by_name(models: Path, quick: bool = True) -> dict[str, Check]:
    return {check.name: check for check in check_files(models, quick)}


def test_a_complete_small_folder_is_healthy(models: Path) -> None:
    checks = by_name(models, quick=False)
    assert not [c for c in checks.values() if c.status == "error"]
    assert checks["models folder"].data["kind"] == "tiny"
    assert checks["recogniser"].status == "ok" and len(checks["recogniser"].data["sha256"]) == 64
    assert checks["Arc2Face UNet"].data["sha256"] == hash_file(
        models / "arc2face" / "diffusion_pytorch_model.safetensors"
    )


def test_hashes_and_sizes_of_full_weights_are_compared(models: Path) -> None:
    checks = by_name(as_full(models))
    wrong = checks["Stable Diffusion 1.5 VAE"]
    assert wrong.status == "error" and "instead of 167335342 or 334643276" in wrong.detail
    assert "arc2face download identity" in wrong.remedy
    checks = by_name(models, quick=False)
    assert checks["Stable Diffusion 1.5 sampler, configuration"].detail.endswith("published hash")
    assert "no published hash" in checks["Arc2Face UNet"].detail


def test_a_file_that_changed_since_it_was_fetched(models: Path) -> None:
    Ledger(as_full(models)).put("exp_adapter/exp_adapter.bin", Entry("0" * 64, 3))
    check = by_name(models, quick=False)["Expression adapter"]
    assert check.status == "warning" and "changed since it was fetched" in check.detail


@pytest.mark.parametrize(
    ("name", "title", "data", "words"),
    [
        ("arc2face/diffusion_pytorch_model.safetensors", "Arc2Face UNet", b"\0" * 99, "header"),
        ("encoder/pytorch_model.bin", "Arc2Face text encoder", b"PK\x03\x04 cut", "cut off"),
        ("antelopev2/arcface.onnx", "ArcFace recogniser (WebFace42M)", b"<html>", "web page"),
        ("encoder/config.json", "Arc2Face text encoder, configuration", b"", "empty"),
    ],
)
def test_damaged_files_are_errors(models: Path, name: str, title: str, data: bytes, words: str) -> None:
    (models / name).write_bytes(data)
    check = by_name(models)[title]
    assert check.status == "error" and words in check.detail and name in check.detail and check.remedy


def test_an_onnx_file_that_does_not_load(models: Path) -> None:
    path = models / "antelopev2" / "scrfd_10g_bnkps.onnx"
    path.write_bytes(path.read_bytes()[:400])
    assert by_name(models, quick=True)["SCRFD face detector"].status == "ok"
    check = by_name(models, quick=False)["SCRFD face detector"]
    assert check.status == "error" and "onnxruntime cannot open it" in check.detail


def test_the_wrong_recogniser_is_an_error(models: Path) -> None:
    shutil.copy(models / "antelopev2" / "arcface.onnx", models / "antelopev2" / "glintr100.onnx")
    check = by_name(models)["recogniser"]
    assert check.status == "error" and "glintr100" in check.detail


def test_missing_files_say_what_needs_them(models: Path) -> None:
    shutil.rmtree(as_full(models) / "controlnet")
    (models / "antelopev2" / "scrfd_10g_bnkps.onnx").unlink()
    checks = by_name(models)
    assert checks["Pose ControlNet"].status == "note" and "arc2face download pose" in checks["Pose ControlNet"].remedy
    assert checks["SCRFD face detector"].status == "error"
    flame = checks["FLAME head model"]
    assert "https://flame.is.tue.mpg.de" in flame.remedy and "--accept-licence flame" in flame.remedy


def test_the_head_model_is_opened_as_the_pose_tab_would(models: Path) -> None:
    write_flame_pickle(models / "emoca" / PICKLE)
    write_template(models / "emoca" / TEMPLATE)
    check = by_name(models, quick=False)["pose reader"]
    assert check.status == "ok" and "draws angles" in check.detail
    (models / "emoca" / PICKLE).write_bytes(b"\x80\x02cos\nsystem\nU\x04trueR.")
    check = by_name(models, quick=False)["pose reader"]
    assert check.status == "warning" and check.remedy


def test_no_models_at_all(tmp_path: Path) -> None:
    (only,) = check_files(tmp_path / "nowhere", True)
    assert only.status == "error" and "arc2face download identity" in only.remedy


def test_software_and_machine_of_this_computer() -> None:
    checks = {check.name: check for check in check_software(True)}
    assert checks["torch"].status == "ok" and checks["Python"].status in ("ok", "warning")
    mediapipe = checks["mediapipe"]
    assert mediapipe.status == "note" and "report usage" in mediapipe.detail
    assert ("uninstall" in mediapipe.remedy) == ("mediapipe" in installed_versions())
    names = {check.name for check in check_machine(None, True)}
    assert {"memory", "disk for models", "disk for the cache"} <= names
    assert "typer" in installed_versions()


def test_onnxruntime_clash() -> None:
    (check,) = clashes({"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.0"})
    assert check.status == "error" and "overwrite each other" in check.detail
    assert check.remedy == ("pip uninstall -y onnxruntime onnxruntime-gpu, then pip install --no-deps onnxruntime-gpu")
    (check,) = clashes({})
    assert check.status == "error" and check.detail == "not installed"


def test_opencv_and_torchvision_clashes() -> None:
    base = {"onnxruntime": "1.32.0", "torch": "2.13.0+cpu"}
    same = {"opencv-python": "5.0.0.93", "opencv-contrib-python": "5.0.0.93"}
    assert [c.status for c in clashes(base | same)] == ["ok"]
    other = {"opencv-python": "5.0.0.93", "opencv-contrib-python": "4.13.0.90"}
    opencv = list(clashes(base | other))[1]
    assert opencv.status == "warning" and "opencv-contrib-python==5.0.0.93" in opencv.remedy
    vision = list(clashes(base | {"torchvision": "0.28.0"}))[1]
    assert vision.status == "warning" and "pip uninstall -y torchvision" in vision.remedy
    assert len(list(clashes(base | {"torchvision": "0.28.0+cpu"}))) == 1


def test_report_counts_and_is_json_ready(models: Path) -> None:
    heard: list[Check] = []
    report = diagnose(models, quick=True, on_check=heard.append)
    assert tuple(heard) == report.checks and {c.group for c in heard} == {"software", "machine", "models"}
    assert json.loads(json.dumps(report.to_dict()))["healthy"] == report.healthy
    bad = Report((*report.checks, Check("models", "x", "error", "y")))
    assert not bad.healthy and bad.count("error") == report.count("error") + 1


def test_a_read_only_folder_is_noticed(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    disk = next(c for c in check_machine(tmp_path, True) if c.name == "disk for models")
    assert disk.status == "warning" and "cannot be written" in disk.detail


def test_a_companion_that_cannot_be_imported_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """15.5: torchvision and torchaudio of another build keep diffusers from being imported."""
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    (tmp_path / "torchaudio.py").write_text("import no_such_package_of_torchaudio")
    monkeypatch.syspath_prepend(tmp_path)
    for name in COMPANIONS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = {check.name: check for check in check_companions()}
    assert {check.status for check in found.values()} == {"error"} and found.keys() == set(COMPANIONS)
    assert "nms does not exist" in found["torchvision"].detail
    assert found["torchaudio"].remedy.startswith("pip uninstall -y torchaudio")
    (tmp_path / "torchvision.py").write_text("")
    (tmp_path / "torchaudio.py").unlink()
    importlib.invalidate_caches()
    assert [(check.name, check.status) for check in check_companions()] == [("torchvision", "ok")]
