"""What saves memory or changes how a run is computed must not change what it learns; earlier versions' runs go on.

Numbers such as `13` in the docstrings are those of the list of findings that each test answers.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from arc2face_training.common.checkpoint import check_settings
from arc2face_training.common.config import default_experiments, experiment, from_mapping
from arc2face_training.common.curves import Curves
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.loop import Batch, Objective
from arc2face_training.common.memory import checkpoint_layers, halve_frozen, layout_of
from arc2face_training.common.optimisers import make_optimiser
from arc2face_training.common.session import Session
from arc2face_training.common.settings import LoopConfig
from arc2face_training.common.sources import DataConfig, PhotoSet, open_source
from arc2face_training.diffusion.denoising_loss import DenoisingObjective, LossConfig
from arc2face_training.diffusion.expression_module import ExpressionBranch
from arc2face_training.diffusion.identity import IdentityConfig, make_objective
from arc2face_training.diffusion.latents import cached_latents, encode
from arc2face_training.diffusion.linear_vae import block_vae
from arc2face_training.diffusion.reference import ReferenceObjective, refuse_singles
from arc2face_training.diffusion.text import Prompts
from arc2face_training.faces.landmarks import LandmarkNet
from arc2face_training.photos.source import PhotoSource

MODELS = Path(__file__).parent / "data" / "tiny"
ROWS = 2


@pytest.fixture(scope="module")
def parts() -> Callable[[], tuple[UNet2DConditionModel, Prompts, ControlNetModel]]:
    """Copies of the tiny tree's UNet, text encoder and ControlNet."""
    unet = UNet2DConditionModel.from_pretrained(MODELS / "models" / "arc2face")
    encoder = CLIPTextModel.from_pretrained(MODELS / "models" / "encoder").float().eval()
    tokenizer = CLIPTokenizer.from_pretrained(MODELS / "stable-diffusion-v1-5" / "tokenizer")
    controlnet = ControlNetModel.from_pretrained(MODELS / "models" / "controlnet")
    found = unet, Prompts(encoder, tokenizer), controlnet
    return lambda: copy.deepcopy(found)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "latents": normal(ROWS, 4, 8, 8), "other_latents": normal(ROWS, 4, 8, 8),
        "identity": nn.functional.normalize(normal(ROWS, 512)), "timesteps": torch.tensor([10, 800]),
        "dropped": torch.tensor([False, True]), "blind": torch.tensor([False, True]),
        "expression": normal(ROWS, 55), "expression_weights": torch.ones(ROWS), "normals": normal(ROWS, 3, 64, 64),
    }  # fmt: skip


def gradients(objective: Objective) -> tuple[float, dict[str, torch.Tensor]]:
    torch.manual_seed(3)
    losses = objective.train()(batch())
    losses["loss"].backward()
    objective.release()
    return float(losses["loss"].detach()), {n: p.grad for n, p in objective.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["joint", "reference"])
def test_gradient_checkpointing_changes_no_gradient(kind: str, parts: Any) -> None:
    """Layers run a second time in the backward pass; what reads a reference or an expression must still be there."""

    def make() -> Objective:
        torch.manual_seed(1)
        unet, prompts, controlnet = parts()
        branch = ExpressionBranch(unet)
        if kind == "reference":
            return ReferenceObjective(LossConfig(), unet, prompts.requires_grad_(False), branch, None, 2)  # type: ignore[arg-type]
        return DenoisingObjective(LossConfig(), unet, prompts, controlnet, branch)

    plain, saving = make(), make()
    processors = {name: type(p) for name, p in saving.unet.attn_processors.items()}  # type: ignore[union-attr]
    assert checkpoint_layers(saving) >= 2
    (one, wanted), (other, found) = gradients(plain), gradients(saving)
    assert one == pytest.approx(other) and wanted.keys() == found.keys() and len(wanted) > 10
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, msg=name)
    assert {name: type(p) for name, p in saving.unet.attn_processors.items()} == processors  # type: ignore[union-attr]


def test_frozen_parts_in_half_precision_learn_the_same(parts: Any) -> None:
    """The ControlNet's gradients with a frozen UNet and encoder in bf16 point where those of float32 do."""

    def make(half: bool) -> tuple[Objective, dict[str, torch.Tensor]]:
        unet, prompts, controlnet = parts()
        frozen = unet.requires_grad_(False), prompts.requires_grad_(False)
        objective = DenoisingObjective(LossConfig(), *frozen, controlnet)
        if half:
            halve_frozen(objective, "bf16")
        with torch.autocast("cpu", torch.bfloat16):
            return objective, gradients(objective)[1]

    (_, wanted), (objective, found) = make(False), make(True)
    kinds = {name: p.dtype for name, p in objective.unet.named_parameters()}  # type: ignore[union-attr]
    assert all((kind == torch.float32) == ("norm" in name) for name, kind in kinds.items())
    assert all(p.dtype == torch.float32 for p in objective.parameters() if p.requires_grad)
    a, b = (torch.cat([g.flatten() for g in grads.values()]) for grads in (wanted, found))
    assert float(nn.functional.cosine_similarity(a, b, dim=0)) > 0.98


def test_narrow_networks_keep_the_plain_layout() -> None:
    """13: channels-last training of fewer than 16 channels writes beyond its buffers on AVX-512 (torch 2.13)."""
    assert layout_of(LandmarkNet((8, 16, 32, 32))) == torch.contiguous_format
    assert layout_of(LandmarkNet((24, 48, 96, 160))) == torch.channels_last
    head = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 1))  # pictures and pointwise convolutions are safe
    assert layout_of(head) == torch.channels_last
    assert layout_of(nn.Conv2d(12, 32, 3)) == torch.contiguous_format


def test_settings_of_an_earlier_version_still_belong_to_their_run() -> None:
    """4: a run begun before a setting existed goes on with that setting's default, and only with that."""
    config = IdentityConfig(pairs=DataConfig(path=Path("a")), data=DataConfig(size=256, flip=True))
    defaults, now = default_experiments(config), experiment(config)
    before = copy.deepcopy(now)
    for group in (before["data"], before["pairs"]):
        for name in ("people", "person_key", "weight", "more"):
            del group[name]
    assert check_settings(Path("x"), before, now, defaults) == []
    moved = replace(config, data=replace(config.data, path=Path("b"), latents=True, annotations=Path("c")))
    assert check_settings(Path("x"), before, experiment(moved), defaults) == []
    for change in ({"people": "each"}, {"more": (PhotoSet(Path("d"), 2.0),)}):
        other = experiment(replace(config, data=replace(config.data, **change)))  # type: ignore[arg-type]
        with pytest.raises(TrainingError, match=rf"data\.{next(iter(change))}"):
            check_settings(Path("x"), before, other, defaults)
    apart = [replace(config.data, more=(PhotoSet(Path(name), 2.0),)) for name in ("d", "e")]
    assert experiment(apart[0]) == experiment(apart[1])


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_the_8_bit_optimiser_names_its_package() -> None:
    config = LoopConfig(optimiser="adamw8bit")
    with pytest.raises(TrainingError, match="pip install bitsandbytes"):
        make_optimiser(config, [{"params": [nn.Parameter(torch.ones(3))], "lr": 1e-3}], {})


def test_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines are always written; TensorBoard is the default; Weights & Biases is named when it is missing."""
    for name, files in (("none", {"log.jsonl"}), ("tensorboard", {"log.jsonl", "curves"})):
        curves = Curves(tmp_path / name, name)
        curves.record("train", 3, {"loss": 0.123456})
        curves.close()
        assert {p.name for p in (tmp_path / name).iterdir()} == files
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(TrainingError, match="pip install wandb"):
        Curves(tmp_path / "w", "wandb")
    with pytest.raises(TrainingError, match="must be one of"):
        from_mapping(LoopConfig, {"tracker": "paper"}, "test")


def test_latents_of_photos_are_kept_and_broken_ones_left_out(tmp_path: Path) -> None:
    """Encoded once, for mirrored photos too; of several sets each has its own."""
    torch.manual_seed(0)
    vae = block_vae(32, (8, 8, 8, 16), 4).eval()
    for folder, colours in (("one", (20, 120, 220)), ("two", (60,))):
        for k, colour in enumerate(colours):
            (tmp_path / folder).mkdir(exist_ok=True)
            picture = np.full((32, 32, 3), colour, np.uint8)
            picture[:, :8] = 0
            Image.fromarray(picture).save(tmp_path / folder / f"{k}.png")
    content = bytearray((tmp_path / "one" / "1.png").read_bytes())
    content[40:50] = bytes(10)
    (tmp_path / "one" / "1.png").write_bytes(content)
    config = DataConfig(kind="photos", path=tmp_path / "one", size=32, flip=True, latents=True, people="each")
    config = replace(config, more=(PhotoSet(tmp_path / "two"),))
    session = Session(LoopConfig(device="cpu"))
    source = open_source(config, session)
    latents = cached_latents(source, vae, tmp_path / "run", session)
    assert latents is not None
    parts = source.parts  # type: ignore[attr-defined]
    assert isinstance(parts[0], PhotoSource) and [len(part.people) for part in parts] == [2, 1]
    numbers = np.array([3, 2, 0])
    found = latents.take(numbers, torch.tensor([False, True, False]))
    with torch.no_grad():
        pixels = source.pixels(numbers)
        pixels[1] = pixels[1].flip(-1)
        wanted = encode(vae, pixels)
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=2e-3)
    written = (tmp_path / "run" / "set-0").iterdir()
    assert len([p for p in written if p.suffix == ".npy" and "done" not in p.name]) == 2


def test_missing_and_foreign_parts_of_the_base_model_are_named(tmp_path: Path, parts: Any) -> None:
    """8: a traceback before; now where SD 1.5's UNet and text encoder go, or which file is wrong."""
    unet, prompts, _ = parts()
    vae = block_vae(32, (8, 8, 8, 16), 4)
    config = IdentityConfig(start="base", bundle=tmp_path)
    base = tmp_path / "stable-diffusion-v1-5"
    with pytest.raises(TrainingError, match=r"no stable-diffusion-v1-5/text_encoder.*hf download .*encoder/config"):
        make_objective(config, vae, None)  # type: ignore[arg-type]
    prompts.encoder.save_pretrained(base / "text_encoder")
    (base / "unet").mkdir()
    (base / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    with pytest.raises(TrainingError, match=r"unet cannot be loaded: .*diffusion_pytorch_model"):
        make_objective(config, vae, None)  # type: ignore[arg-type]
    small = UNet2DConditionModel.from_config({**unet.config, "cross_attention_dim": 8})
    small.save_pretrained(base / "unet")  # type: ignore[union-attr]
    with pytest.raises(TrainingError, match="but the UNet takes 8"):
        make_objective(config, vae, None)  # type: ignore[arg-type]


def test_reference_pictures_need_two_photos_of_a_person(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    source = open_source(DataConfig(kind="photos", path=tmp_path, size=8))
    with pytest.raises(TrainingError, match="two photos of a person"):
        refuse_singles(source, tmp_path)
