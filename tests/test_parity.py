"""The diffusion flows against what the original code made of the same tiny checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import goldens
import numpy as np
import pytest
import torch

from arc2face import compat
from arc2face.diffusion import prompt as identity
from arc2face.diffusion.device import pick_runtime
from arc2face.diffusion.generation import generate
from arc2face.diffusion.registry import ModelRegistry
from arc2face.weights.folder import ModelsFolder

FILES = ("b_id", "c_lcm", "d_controlnet", "e_exp", "f_ref", "h_combo")
ALL = [(file, case) for file in FILES for case in goldens.cases(file) if not case.startswith("variant_")]
SLOW = {("b_id", "s25_g3_n4"), ("b_id", "s25_g1_n4")}  # add nothing to their one-picture twins but time


@pytest.fixture(scope="module")
def registry(tiny_tree: Path) -> Iterator[ModelRegistry]:
    yield ModelRegistry(ModelsFolder(tiny_tree / "models"), pick_runtime("cpu"))


def check(registry: ModelRegistry, file: str, case: str) -> None:
    arrays, _ = goldens.recorded(file)
    images = generate(registry, goldens.request(file, case)).images
    latents = np.stack([image.latents for image in images if image.latents is not None])
    assert np.abs(latents - arrays[f"{case}/latents"]).max() <= goldens.MAX_LATENT_ERROR
    pixels, expected = np.stack([image.rgb_u8 for image in images]), arrays[f"{case}/images"]
    if pixels.shape != expected.shape:  # large pictures were recorded at every fourth pixel
        pixels = pixels[:, ::4, ::4]
    difference = np.abs(pixels.astype(int) - expected.astype(int))
    assert difference.max() <= goldens.MAX_PIXEL_ERROR
    assert (difference > 0).mean() < goldens.MAX_PIXEL_SHARE


@pytest.mark.parametrize(("file", "case"), [pair for pair in ALL if pair not in SLOW])
def test_flow(registry: ModelRegistry, file: str, case: str) -> None:
    check(registry, file, case)


def test_base_is_exact_after_lcm_pose_expression_and_reference(registry: ModelRegistry) -> None:
    plain = goldens.request("b_id", "s5_g3_n1")
    before = generate(registry, plain).images[0].latents
    for file, case in (("c_lcm", "s2_g1_n1"), ("h_combo", "ctrl_exp_ref0.8_s5_g3_n1")):
        generate(registry, goldens.request(file, case))
    after = generate(registry, plain).images[0].latents
    assert before is not None and after is not None
    assert np.array_equal(before, after)


def test_prompt_embeddings_of_one_and_of_three(registry: ModelRegistry) -> None:
    arrays, _ = goldens.recorded("a_project")
    tokenizer, encoder = registry.part("tokenizer"), registry.part("text_encoder")
    embeddings = torch.from_numpy(arrays["emb_norm"])
    three = identity.encode_identities(tokenizer, encoder, embeddings)
    assert np.abs(three.numpy() - arrays["prompt_embeds_each"].reshape(three.shape)).max() <= 1e-5
    one = identity.encode_identities(tokenizer, encoder, embeddings[:1])
    assert np.abs(one.numpy() - arrays["prompt_embeds_1"]).max() <= 1e-5
    empty = identity.encode_text(tokenizer, encoder, "")
    assert np.abs(empty.numpy() - arrays["negative_prompt_embeds"]).max() <= 1e-5


def test_compat_wrapper_equals_the_goldens(registry: ModelRegistry, tiny_tree: Path) -> None:
    class Pipeline:
        tokenizer = registry.part("tokenizer")
        text_encoder = compat.CLIPTextModelWrapper.from_pretrained(
            tiny_tree / "models", subfolder="encoder", torch_dtype=torch.float32
        )

    arrays, _ = goldens.recorded("a_project")
    with torch.no_grad():
        made = compat.project_face_embs(Pipeline, torch.from_numpy(arrays["emb_norm"]))
    assert np.abs(made.numpy() - arrays["prompt_embeds_each"].reshape(made.shape)).max() <= 1e-5


@pytest.mark.parametrize("variant", ["mlp", "faceid"])
def test_other_expression_heads(tmp_path: Path, tiny_tree: Path, variant: str) -> None:
    for name in ("arc2face", "encoder", "exp_adapter"):
        shutil.copytree(tiny_tree / "models" / name, tmp_path / "models" / name)
    shutil.copytree(tiny_tree / "stable-diffusion-v1-5", tmp_path / "stable-diffusion-v1-5")
    adapter = tmp_path / "models" / "exp_adapter" / "exp_adapter.bin"
    state = torch.load(adapter, weights_only=True)
    head = tiny_tree / "variants" / f"image_proj_{variant}_1tok.bin"
    state["image_proj"] = torch.load(head, weights_only=True)
    torch.save(state, adapter)
    registry = ModelRegistry(ModelsFolder(tmp_path / "models"), pick_runtime("cpu"))
    request = goldens.request("e_exp", "exp0_sc1_s5_g3_n1")
    made = generate(registry, request).images[0].latents
    assert made is not None
    expected = goldens.recorded("e_exp")[0][f"variant_{variant}_1tok_s5_g3_n1/latents"][0]
    assert np.abs(made - expected).max() <= goldens.MAX_LATENT_ERROR
