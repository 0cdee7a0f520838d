"""The table of weights is complete, consistent and light."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from arc2face.weights.folder import ModelsFolder
from arc2face.weights.licences import LICENCES
from arc2face.weights.table import ARCHIVES, FEATURES, FOREIGN_RECOGNISERS, WEIGHTS, by_key, files_of

PROJECT = Path(__file__).resolve().parent.parent


def test_keys_and_paths_are_unique_and_relative() -> None:
    assert len({w.key for w in WEIGHTS}) == len({w.path for w in WEIGHTS}) == len(WEIGHTS)
    for file in WEIGHTS:
        for path in (file.path, *file.spellings):
            assert not Path(path).is_absolute() and ".." not in path and "\\" not in path


@pytest.mark.parametrize("file", WEIGHTS, ids=lambda w: w.key)
def test_entries_are_whole(file: object) -> None:
    assert file in WEIGHTS
    entry = next(w for w in WEIGHTS if w is file)
    assert entry.licence in LICENCES and entry.title
    assert all(re.fullmatch(r"[0-9a-f]{64}", h) for h in entry.known_hashes)
    assert (entry.bytes is None) == (entry.sha256 is None), "a published hash comes with a size"
    if entry.origin == "huggingface":
        assert entry.repo.count("/") == 1 and entry.remote
        assert entry.revision is None or re.fullmatch(r"[0-9a-f]{40}", entry.revision)
    elif entry.origin == "archive":
        assert entry.repo in ARCHIVES and ARCHIVES[entry.repo].licence == entry.licence
    elif entry.origin == "https":
        assert entry.remote.startswith("https://")


def test_features_cover_the_original_layout() -> None:
    assert set(FEATURES) == {"identity", "fast", "pose", "expression", "reference", "small-decoder", "all"}
    assert set(FEATURES["all"]) == {w.key for w in WEIGHTS}
    paths = {w.path for w in files_of("identity")}
    assert {"arc2face/config.json", "encoder/pytorch_model.bin", "antelopev2/arcface.onnx"} <= paths
    assert {w.path for w in files_of("pose")} > paths
    assert "antelopev2/1k3d68.onnx" in {w.path for w in files_of("expression")}
    assert not any("glintr100" in w.path for w in WEIGHTS)


def test_registration_licences_are_marked() -> None:
    assert {key for key, licence in LICENCES.items() if licence.must_accept} == {"emoca", "flame"}
    assert all(licence.pages and licence.pages[0].startswith("https://") for licence in LICENCES.values())


def test_known_foreign_recognisers_are_not_ours() -> None:
    assert not set(FOREIGN_RECOGNISERS) & {h for w in WEIGHTS for h in w.known_hashes}


def test_small_published_files_agree_with_the_tiny_tree(tiny_tree: Path) -> None:
    """The tiny tree carries the original scheduler configuration, so its published hash can be checked here."""
    import hashlib

    scheduler = by_key("sd15-scheduler-scheduler-config")
    data = (tiny_tree / scheduler.path).read_bytes()
    assert len(data) == scheduler.bytes and hashlib.sha256(data).hexdigest() == scheduler.sha256


def test_locate_looks_in_the_folder_its_models_and_its_parent(tmp_path: Path) -> None:
    root = tmp_path / "r"
    unet = by_key("unet")
    assert ModelsFolder(root).locate(unet) is None
    for place in (tmp_path, root / "models", root):
        target = place / unet.path
        target.parent.mkdir(parents=True)
        target.write_bytes(b"x")
        assert ModelsFolder(root).locate(unet) == target


def test_locate_accepts_alternatives_and_the_best_checkpoint(tmp_path: Path) -> None:
    encoder = tmp_path / "encoder" / "model.safetensors"
    encoder.parent.mkdir()
    encoder.write_bytes(b"x")
    assert ModelsFolder(tmp_path).locate("encoder") == encoder

    checkpoints = tmp_path / "emoca/EMOCA/models/EMOCA_v2_lr_mse_20/detail/checkpoints"
    for name in ("deca-epoch=3-val_loss/dataloader_idx_0=3.9.ckpt", "deca-epoch=4-val_loss/dataloader_idx_0=3.4.ckpt"):
        (checkpoints / name).parent.mkdir(parents=True)
        (checkpoints / name).write_bytes(b"x")
    (checkpoints / "last.ckpt").write_bytes(b"x")
    found = ModelsFolder(tmp_path).locate("emoca")
    assert found is not None and found.name == "dataloader_idx_0=3.4.ckpt"


def test_the_table_and_the_downloader_import_nothing_heavy() -> None:
    code = (
        "import sys, json, arc2face.weights.table, arc2face.weights.download.command, arc2face.doctor\n"
        "print(json.dumps([m for m in ('torch', 'numpy', 'gradio', 'diffusers', 'PIL', 'typer') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_every_file_and_licence_stands_in_the_documentation() -> None:
    text = (PROJECT / "docs" / "models.md").read_text("utf-8")
    for file in WEIGHTS:
        shown = file.path if "EMOCA_v2" not in file.path else "EMOCA_v2_lr_mse_20"
        assert shown in text, f"docs/models.md does not name {shown}"
    for licence in LICENCES.values():
        assert licence.pages[0] in text, f"docs/models.md does not name {licence.pages[0]}"
