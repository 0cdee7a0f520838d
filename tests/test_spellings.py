"""One list of accepted names, one look-up: whoever asks for a checkpoint gets the same answer.

Every spelling of every checkpoint is laid out in a real folder, and all who look for it are asked: the loader, the
registry, adapters, photo readers, doctor, downloader, status panel, best-bundle search and the recipe's hashes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from arc2face.diffusion import loading
from arc2face.doctor import status
from arc2face.doctor.files import check_files
from arc2face.engine import Engine
from arc2face.errors import MissingWeightsError, WeightsError
from arc2face.types import Runtime
from arc2face.weights.download import Options, plan_files
from arc2face.weights.folder import IDENTITY_KEYS, ModelsFolder, best_bundle
from arc2face.weights.store import checkpoint_sha256, hash_file, load_state_dict
from arc2face.weights.table import WEIGHTS, by_key, spellings
from tests.tiny_faces import write_antelopev2

State = dict[str, Tensor]
PARTS = {
    "unet": "unet",
    "sd15-vae-diffusion-pytorch-model": "vae",
    "encoder": "text_encoder",
    "controlnet": "pose",
    "lcm": "lcm",
    "expression": "expression",
    "reference": "reference",
}
"""Key in the weights table -> the registry's part."""


@pytest.fixture
def models(tiny_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny tree laid out flat, with face networks."""
    monkeypatch.setenv("ARC2FACE_CACHE", str(tmp_path / "cache"))
    root = Path(shutil.copytree(tiny_tree / "models", tmp_path / "in" / "m"))
    for part in ("stable-diffusion-v1-5", "lcm-lora-sdv1-5"):
        shutil.copytree(tiny_tree / part, root / part)
    write_antelopev2(root / "antelopev2")
    return root


def write(path: Path, state: State) -> None:
    """A checkpoint in the format that its name promises; an index comes with two parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = ".fp16." in path.name
    state = {k: v.half() if half and v.is_floating_point() else v.clone().contiguous() for k, v in state.items()}
    if not path.name.endswith(".json"):
        save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
        return
    suffix = ".safetensors" if ".safetensors" in path.name else ".bin"
    stem = path.name.split(suffix)[0].removesuffix(".fp16")
    names = sorted(state)
    weight_map: dict[str, str] = {}
    for number, chosen in enumerate((names[::2], names[1::2]), 1):
        part = f"{stem}-{number:05}-of-00002{'.fp16' if half else ''}{suffix}"
        write(path.with_name(part), {name: state[name] for name in chosen})
        weight_map |= dict.fromkeys(chosen, part)
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))


def take_out(models: Path, key: str) -> State:
    """Removes a checkpoint from the folder and returns what it held."""
    found = ModelsFolder(models).locate(key)
    assert found is not None
    state = load_file(found) if found.suffix == ".safetensors" else load_state_dict(found)
    found.unlink()
    return state


def answers(models: Path, key: str) -> dict[str, Path | None]:
    """What each consumer says the checkpoint is; None for missing."""
    file = by_key(key)
    engine = Engine.open(models, device="cpu")
    try:
        doctor = {c.data["key"]: c for c in check_files(models, True) if "key" in c.data}[key]
        present = plan_files([file], models, Options(verify=False, mirror=str(models))).present
        said: dict[str, Path | None] = {
            "folder": engine.models.locate(key),
            "doctor": Path(doctor.data["found"]) if "found" in doctor.data else None,
            "download": engine.models.locate(file) if present else None,
            "missing": engine.models.locate(key) if file.path not in engine.models.missing([key]) else None,
        }
        if key in IDENTITY_KEYS:
            whole = not best_bundle(models).missing()
            said["best bundle"] = engine.models.locate(key) if whole else None
        if key in PARTS:
            part = PARTS[key]
            row = next(row for row in engine.status() if row.name == part)
            said["registry"] = engine.registry.source(part)
            said["status"] = Path(row.source) if row.state != "missing" else None
            if part in engine.registry.adapters:
                said["adapter"] = engine.models.find(*engine.registry.adapters[part].files)
        return said
    finally:
        engine.close()


def every_spelling() -> Iterator[tuple[str, str]]:
    for key in PARTS:
        for name in spellings(key):
            yield key, name


@pytest.mark.parametrize(("key", "name"), list(every_spelling()))
def test_every_spelling_is_found_by_everybody(models: Path, key: str, name: str) -> None:
    """Issue 9 point 5 and E6: also .bin, sharded and half-precision files."""
    write(models / name, take_out(models, key))
    said = answers(models, key)
    assert said == dict.fromkeys(said, models / name)


@pytest.mark.parametrize("key", PARTS)
def test_what_is_missing_is_missing_for_everybody(models: Path, key: str) -> None:
    take_out(models, key)
    (models / by_key(key).path).with_name("another_name.safetensors").write_bytes(b"x")
    said = answers(models, key)
    assert said == dict.fromkeys(said, None)
    assert by_key(key).path in ModelsFolder(models).missing([key])
    with pytest.raises(MissingWeightsError, match="arc2face download"):
        ModelsFolder(models).need(key)


LOADERS: dict[str, Callable[[ModelsFolder, torch.dtype], Any]] = {
    "unet": loading.load_unet,
    "encoder": loading.load_text_encoder,
    "controlnet": loading.load_controlnet,
}


@pytest.mark.parametrize("kind", ["safetensors.index.json", "bin", "bin.index.json", "fp16.safetensors"])
@pytest.mark.parametrize("key", LOADERS)
def test_what_is_found_is_loaded(models: Path, key: str, kind: str) -> None:
    """E6: a model that is only .bin or sharded is read, not called missing."""
    name = next(name for name in spellings(key) if name.endswith("." + kind) and (".fp16." in name) == ("fp16" in kind))
    before = LOADERS[key](ModelsFolder(models), torch.float32).state_dict()
    write(models / name, take_out(models, key))
    after = LOADERS[key](ModelsFolder(models), torch.float32).state_dict()
    assert before.keys() == after.keys()
    tolerance = 1e-3 if "fp16" in kind else 0.0
    assert all(torch.allclose(after[k].float(), before[k].float(), atol=tolerance, rtol=tolerance) for k in before)


def test_a_sharded_checkpoint_without_a_part_is_refused_by_everybody(models: Path) -> None:
    name = "arc2face/diffusion_pytorch_model.safetensors.index.json"
    write(models / name, take_out(models, "unet"))
    part = models / "arc2face" / "diffusion_pytorch_model-00002-of-00002.safetensors"
    part.unlink()
    with pytest.raises(MissingWeightsError, match=part.name):
        loading.load_unet(ModelsFolder(models), torch.float32)
    doctor = next(c for c in check_files(models, True) if c.data.get("key") == "unet")
    assert doctor.status == "error" and part.name in doctor.detail
    (job,) = plan_files([by_key("unet")], models, Options(verify=False, mirror=str(models))).jobs
    assert part.name in job.replaces


@pytest.mark.parametrize("named", ["../outside.safetensors", "/etc/passwd", "a\\b.safetensors", "c.pkl", ""])
def test_an_index_may_name_files_beside_it_only(models: Path, named: str) -> None:
    index = models / "arc2face" / "diffusion_pytorch_model.safetensors.index.json"
    take_out(models, "unet")
    index.write_text(json.dumps({"weight_map": {"a": named}}))
    with pytest.raises(WeightsError, match="index"):
        load_state_dict(index)


def test_half_precision_devices_read_hash_and_name_the_same_file(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E1: with both files there, the recipe and the status panel name and hash the one that was loaded."""
    for key in ("unet", "controlnet", "lcm"):
        whole = ModelsFolder(models).locate(key)
        assert whole is not None
        write(models / next(n for n in spellings(key, half=True)), load_state_dict(whole))
    opened: list[Path] = []

    def load(path: Path) -> State:
        opened.append(path)
        return load_file(path)

    monkeypatch.setattr("safetensors.torch.load_file", load)
    engine = Engine(ModelsFolder(models), Runtime(device="cpu", dtype="fp16"))
    try:
        for key in ("unet", "controlnet", "lcm"):
            half = models / spellings(key, half=True)[0]
            assert ".fp16." in half.name and engine.registry.source(PARTS[key]) == half
            opened.clear()
            engine.registry.part(PARTS[key])
            assert half in opened and engine.registry.snapshot()[PARTS[key]].source == half
            row = next(row for row in engine.status() if row.name == PARTS[key])
            assert (row.source, row.sha256) == (str(half), hash_file(half))
        assert status.hashes(engine.registry, ["lcm"])["lcm"] == hash_file(models / spellings("lcm", True)[0])
    finally:
        engine.close()


def test_the_hash_of_a_sharded_checkpoint_is_that_of_its_parts(models: Path) -> None:
    index = models / "arc2face" / "diffusion_pytorch_model.safetensors.index.json"
    write(index, take_out(models, "unet"))
    before = checkpoint_sha256(index)
    part = models / "arc2face" / "diffusion_pytorch_model-00001-of-00002.safetensors"
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    assert checkpoint_sha256(index) != before


@pytest.mark.skipif(os.name != "posix", reason="links need no permission here")
@pytest.mark.parametrize("key", PARTS)
def test_links_into_the_cache_of_the_hub_are_followed(models: Path, tmp_path: Path, key: str) -> None:
    """snapshots/... -> blobs: the blob's own name has no suffix, the link's has."""
    found = ModelsFolder(models).locate(key)
    assert found is not None
    state = load_state_dict(found)
    blob = tmp_path / "hub" / "blobs" / hash_file(found)
    blob.parent.mkdir(parents=True)
    found.rename(blob)
    found.symlink_to(os.path.relpath(blob, found.parent))
    said = answers(models, key)
    assert said == dict.fromkeys(said, found)
    again = load_state_dict(found)
    assert again.keys() == state.keys() and all(torch.equal(again[k], state[k]) for k in state)
    blob.unlink()
    said = answers(models, key)
    assert said == dict.fromkeys(said, None), "a link to nothing is nothing"


def test_face_networks_in_a_second_folder_of_the_same_name(models: Path) -> None:
    """antelopev2.zip unpacks into antelopev2/antelopev2/."""
    nested = models / "antelopev2" / "antelopev2"
    (models / "antelopev2").rename(models / "x")
    nested.parent.mkdir()
    (models / "x").rename(nested)
    for key in ("arcface", "detector", "landmarks"):
        said = answers(models, key)
        assert said == dict.fromkeys(said, nested / Path(by_key(key).path).name)
    engine = Engine.open(models, device="cpu")
    try:
        assert engine.faces.loaded is not None
        row = next(row for row in engine.status() if row.name == "recogniser")
        assert row.source == str(nested / "arcface.onnx")
    finally:
        engine.close()
    checks = {check.name: check for check in check_files(models, True)}
    assert checks["recogniser"].status == "ok"


@pytest.mark.parametrize("name", spellings("smirk"))
def test_both_forms_of_the_expression_encoder(models: Path, name: str) -> None:
    write(models / name, {"head.weight": torch.ones(2, 2)})
    said = answers(models, "smirk")
    assert said == dict.fromkeys(said, models / name)


def test_the_pose_reader_and_the_folder_agree_on_every_asset(tmp_path: Path) -> None:
    import arc2face_emoca as emoca
    from arc2face.pose.reader import PoseReader

    root = tmp_path / "in" / "m"
    for place in ("emoca", "."):
        run = root / place / "EMOCA/models/EMOCA_v2_lr_mse_20/detail/checkpoints"
        geometry = root / place / "FLAME/geometry"
        for folder in (run / "e=1", geometry):
            folder.mkdir(parents=True)
        for name in ("e=1/x=3.5.ckpt", "x=3.25-v1.ckpt", "last.ckpt", "x=4.ckpt"):
            (run / name).write_bytes(b"x")
        (geometry / "generic_model.pkl").write_bytes(b"x")
        models = ModelsFolder(root)
        reader = PoseReader.of_models(models)
        found = emoca.AssetFiles.find(reader._folders)  # pyright: ignore[reportPrivateUsage]
        assert found.checkpoint == models.locate("emoca") == run / "x=3.25-v1.ckpt"
        assert found.flame == models.locate("flame") == geometry / "generic_model.pkl"
        shutil.rmtree(root)


def test_each_entry_offers_its_published_name() -> None:
    for file in WEIGHTS:
        assert "*" in "".join(file.spellings) or file.path in file.spellings
