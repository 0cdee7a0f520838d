"""Scripts written for the original package: its usage and LCM examples on today's libraries.

Only what a machine without a GPU forces is changed: the device, float32, and the size and steps to save time.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_faces
from PIL import Image


@pytest.fixture
def workplace(tiny_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the original README asks for it: models/arc2face, models/encoder, models/antelopev2."""
    for name in ("arc2face", "encoder"):
        shutil.copytree(tiny_tree / "models" / name, tmp_path / "models" / name)
    shutil.copytree(tiny_tree / "stable-diffusion-v1-5", tmp_path / "stable-diffusion-v1-5")
    shutil.copytree(tiny_tree / "lcm-lora-sdv1-5", tmp_path / "lcm-lora-sdv1-5")
    tiny_faces.write_antelopev2(tmp_path / "models" / "antelopev2")
    photo = tiny_faces.blank(400, 400)
    tiny_faces.draw_face(photo, 200, 200, 25)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore")
def test_usage_and_lcm_examples(workplace: Path) -> None:
    assert os.getcwd() == str(workplace)
    import torch
    from diffusers import DPMSolverMultistepScheduler, LCMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from insightface.app import FaceAnalysis

    from arc2face import CLIPTextModelWrapper, project_face_embs

    base_model = "stable-diffusion-v1-5"
    encoder = CLIPTextModelWrapper.from_pretrained("models", subfolder="encoder", torch_dtype=torch.float32)
    unet = UNet2DConditionModel.from_pretrained("models", subfolder="arc2face", torch_dtype=torch.float32)
    pipeline = StableDiffusionPipeline.from_pretrained(
        base_model, text_encoder=encoder, unet=unet, torch_dtype=torch.float32, safety_checker=None
    )
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline = pipeline.to("cpu")

    app = FaceAnalysis(name="antelopev2", root="./", providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=0, det_size=(640, 640))
    img = np.array(Image.open("photo.png"))[:, :, ::-1]
    faces = app.get(img)
    faces = sorted(faces, key=lambda x: (x["bbox"][2] - x["bbox"][0]) * (x["bbox"][3] - x["bbox"][1]))[-1]
    id_emb = torch.tensor(faces["embedding"], dtype=torch.float32)[None]
    id_emb = id_emb / torch.norm(id_emb, dim=1, keepdim=True)
    id_emb = project_face_embs(pipeline, id_emb)
    assert id_emb.shape == (1, 77, 768)

    call: Any = pipeline
    images = call(prompt_embeds=id_emb, num_inference_steps=2, guidance_scale=3.0, num_images_per_prompt=2).images
    assert len(images) == 2 and images[0].size == (128, 128)

    pipeline.load_lora_weights("lcm-lora-sdv1-5")
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    images = call(prompt_embeds=id_emb, num_inference_steps=2, guidance_scale=1.0, num_images_per_prompt=1).images
    assert len(images) == 1


def test_several_identities_at_once(workplace: Path) -> None:
    import torch
    from transformers import CLIPTokenizer

    from arc2face import CLIPTextModelWrapper, project_face_embs

    class Pipeline:
        tokenizer = CLIPTokenizer.from_pretrained("stable-diffusion-v1-5/tokenizer")
        text_encoder = CLIPTextModelWrapper.from_pretrained("models", subfolder="encoder", torch_dtype=torch.float32)

    people = torch.nn.functional.normalize(torch.randn(3, 512, generator=torch.Generator().manual_seed(0)), dim=1)
    with torch.no_grad():
        together = project_face_embs(Pipeline, people)
        alone = torch.cat([project_face_embs(Pipeline, row[None]) for row in people])
    assert (together - alone).abs().max() < 1e-5


def test_wrapper_refuses_weights_that_do_not_fit(workplace: Path) -> None:
    import torch

    from arc2face import CLIPTextModelWrapper
    from arc2face.errors import IncompatibleWeightsError

    path = workplace / "models" / "encoder" / "pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    torch.save({key: value for key, value in state.items() if "fc1" not in key}, path)
    with pytest.raises(IncompatibleWeightsError, match="missing"):
        CLIPTextModelWrapper.from_pretrained("models", subfolder="encoder", torch_dtype=torch.float32)


def test_reference_adapter_for_a_pipeline_of_ones_own(workplace: Path) -> None:
    import torch
    from diffusers import UNet2DConditionModel

    from arc2face import ReferenceAdapter
    from arc2face.errors import SettingsError

    unet = UNet2DConditionModel.from_pretrained("models", subfolder="arc2face", torch_dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(1)
    latents, prompt = torch.randn(1, 4, 16, 16, generator=generator), torch.randn(1, 77, 768, generator=generator)
    adapter = ReferenceAdapter(unet)
    with pytest.raises(SettingsError, match="Record"), adapter.reading(1, guided=False):
        pass
    with torch.no_grad():
        plain = unet(latents, 500, prompt).sample
        adapter.record(latents, prompt)
        with adapter.reading(num_images=1, guided=False):
            steered = unet(latents, 500, prompt).sample
        after = unet(latents, 500, prompt).sample
    assert (steered - plain).abs().max() > 1e-3
    assert torch.equal(after, plain)
