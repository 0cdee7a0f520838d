"""Files and settings in every form that diffusers takes, honoured or refused by name (C3, C8, E3 to E8)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from arc2face import Engine
from arc2face.diffusion.adapters.expression import ExpressionAdapter
from arc2face.diffusion.adapters.pose import embed_condition
from arc2face.diffusion.denoising import Denoiser
from arc2face.diffusion.device import pick_runtime
from arc2face.diffusion.fitting import check_fit
from arc2face.diffusion.generation import generate
from arc2face.diffusion.lora import load_lora
from arc2face.diffusion.pixels import PreviewMap
from arc2face.diffusion.registry import ModelRegistry
from arc2face.errors import CorruptWeightsError, IncompatibleWeightsError, SettingsError
from arc2face.types import (
    SCHEDULERS,
    Expression,
    ExpressionCondition,
    GenerationRequest,
    IdentityEmbedding,
    PoseCondition,
    ReferenceCondition,
)
from arc2face.weights.folder import ModelsFolder

RNG = np.random.default_rng(23)
PICTURE = RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)
PERSON = IdentityEmbedding(RNG.standard_normal(512).astype(np.float32))
PLAIN = GenerationRequest(identity=PERSON, num_images=1, steps=3, seed=5, score=False, height=64, width=64)
SOME_LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


def registry_of(tree: Path) -> ModelRegistry:
    return ModelRegistry(ModelsFolder(tree / "models"), pick_runtime("cpu"))


def pixels(registry: ModelRegistry, request: GenerationRequest) -> np.ndarray[Any, Any]:
    return np.stack([image.rgb_u8 for image in generate(registry, request).images])


def change(path: Path, **values: Any) -> None:
    """Change a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


@pytest.fixture(scope="module")
def registry(tiny_tree: Path) -> Iterator[ModelRegistry]:
    yield registry_of(tiny_tree)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_callers_default_dtype_changes_no_picture(
    registry: ModelRegistry, tiny_tree: Path, dtype: torch.dtype
) -> None:
    """C3: noise, VAE, preview, adapters and every sampler, bit for bit, loaded under that dtype too."""
    requests = [PLAIN.with_(scheduler=name) for name in SCHEDULERS if name != "lcm"]
    requests += [
        PLAIN.with_(fast=True, guidance_scale=1.5, reference=ReferenceCondition(PICTURE)),
        PLAIN.with_(
            pose=PoseCondition(PICTURE),
            expression=ExpressionCondition(Expression(np.linspace(0, 0.2, 55, dtype=np.float32))),
        ),
    ]
    expected = [pixels(registry, request) for request in requests]
    preview = registry.preview
    assert isinstance(preview, PreviewMap)
    with default_dtype(dtype):
        other = registry_of(tiny_tree)
        made = [pixels(other, request) for request in requests]
        assert isinstance(other.preview, PreviewMap)
        assert torch.equal(other.preview.weight, preview.weight)
        assert torch.get_default_dtype() == dtype, "the caller's setting is not touched"
    for name, one, two in zip([*SCHEDULERS, "more"], made, expected, strict=False):
        assert np.array_equal(one, two), name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_callers_default_dtype_changes_no_head_and_no_reading(dtype: torch.dtype) -> None:
    """C3: EMOCA's rasteriser and encoder, SMIRK's network."""
    import arc2face_emoca as emoca
    from arc2face.expression.network import ExpressionNet
    from arc2face.expression.smirk import SmirkEncoder
    from arc2face.pose.geometry import FacePoints
    from arc2face.pose.reading import draw_angles
    from arc2face_emoca.resnet import Encoder, EncoderConfig
    from tests.recipe3d import geometry

    generator = torch.Generator().manual_seed(1)
    verts = torch.rand((1, 12, 3), generator=generator) * 2 - 1
    faces = torch.randint(0, 12, (20, 3), generator=generator)
    encoder = Encoder(EncoderConfig())
    head, points = emoca.Emoca(geometry()), FacePoints.of(geometry())
    smirk = ExpressionNet()
    crops = np.asarray(RNG.integers(0, 255, (1, 224, 224, 3)), np.uint8)

    def all_of_it() -> list[torch.Tensor]:
        fragments = emoca.rasterize(verts, faces, (32, 32))
        posed = head.flame(torch.zeros(1, 100), torch.full((1, 50), 0.5), torch.tensor([[0, 0.5, 0, 0.25, 0, 0]]))
        drawn = torch.from_numpy(draw_angles(head, points, (20.0, 5.0, 0.0), None, None, 3.0, 32))
        read = SmirkEncoder.from_state_dict(smirk.state_dict()).encode(crops)
        weights = Encoder.from_state_dict(encoder.state_dict()).state_dict()
        return [*fragments, posed, drawn, torch.from_numpy(read), *weights.values()]

    expected = all_of_it()
    with default_dtype(dtype):
        made = all_of_it()
    assert all(one.dtype == two.dtype and torch.equal(one, two) for one, two in zip(made, expected, strict=True))


def test_the_callers_number_of_threads_reaches_the_worker(tiny_tree: Path) -> None:
    """E8: torch keeps the number per thread; the worker's would stay what it was at its first request."""
    engine = Engine.open(tiny_tree / "models", device="cpu")
    seen: list[int] = []
    for threads in (1, 2, 1):
        torch.set_num_threads(threads)
        engine.generate(PLAIN.with_(steps=1))
        seen.append(engine.worker.call(torch.get_num_threads))
    engine.close()
    assert seen == [1, 2, 1]


def test_a_bgr_controlnet_gets_bgr(tiny_copy: Path) -> None:
    """E3."""
    rgb = registry_of(tiny_copy).part("pose")
    change(tiny_copy / "models" / "controlnet" / "config.json", controlnet_conditioning_channel_order="bgr")
    bgr = registry_of(tiny_copy).part("pose")
    turned = np.ascontiguousarray(PICTURE[:, :, ::-1])
    assert torch.equal(embed_condition(bgr, PICTURE, (64, 64)), embed_condition(rgb, turned, (64, 64)))
    assert not torch.equal(embed_condition(bgr, PICTURE, (64, 64)), embed_condition(rgb, PICTURE, (64, 64)))
    change(tiny_copy / "models" / "controlnet" / "config.json", controlnet_conditioning_channel_order="grb")
    with pytest.raises(IncompatibleWeightsError, match="'grb', not rgb or bgr"):
        registry_of(tiny_copy).part("pose")


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_pooled_conditions_are_for_the_conditional_rows_alone(tiny_copy: Path, guidance: float) -> None:
    """E3: as diffusers' pipeline does for `global_pool_conditions`."""
    change(tiny_copy / "models" / "controlnet" / "config.json", global_pool_conditions=True)
    registry = registry_of(tiny_copy)
    request = PLAIN.with_(guidance_scale=guidance, pose=PoseCondition(PICTURE, strength=0.7))
    run = Denoiser(
        unet=registry.part("unet"),
        merger=registry.merger,
        borrow=registry.placed,
        prompt=torch.zeros(1, 77, 768),
        negative=torch.zeros(1, 77, 768),
        num_images=2,
        guidance_scale=guidance,
        scheduler_name="dpm++",
        scheduler_config={},
    )
    generator = torch.Generator().manual_seed(0)
    rows = 4 if guidance > 1 else 2
    latents = torch.randn((rows, 4, 8, 8), generator=generator)
    prompt, time = torch.randn((rows, 77, 768), generator=generator), torch.tensor(500)
    with torch.no_grad(), registry.session(request, run):
        given = run.residual_sources[0](latents, time, prompt, 0, 3)
    assert given is not None
    unit = torch.from_numpy(PICTURE.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        down, mid = registry.part("pose")(
            latents[-2:], time, prompt[-2:], unit.expand(2, -1, -1, -1), 0.7, guess_mode=True, return_dict=False
        )
    for ours, theirs in zip([*given[0], given[1]], [*down, mid], strict=True):
        assert theirs.shape[-2:] == (1, 1)
        assert torch.allclose(ours[-2:], theirs, atol=1e-4)
        assert len(ours) == rows and not ours[:-2].any()


def lora_file(path: Path, metadata: dict[str, Any] | None = None, prefix: str = "unet.") -> Path:
    generator = torch.Generator().manual_seed(0)
    state = {
        f"{prefix}{SOME_LAYER}.lora_A.weight": torch.randn((4, 16), generator=generator) * 0.1,
        f"{prefix}{SOME_LAYER}.lora_B.weight": torch.randn((16, 4), generator=generator) * 0.1,
    }
    save_file(state, path, {"format": "pt", "lora_adapter_metadata": json.dumps(metadata)} if metadata else None)
    return path


@pytest.mark.parametrize(
    ("metadata", "scale"),
    [
        (None, 1.0),
        ({"unet.r": 4, "unet.lora_alpha": 8}, 2.0),
        ({"unet.r": 4, "unet.lora_alpha": 8, "unet.use_rslora": True}, 4.0),
        ({"unet.r": 4, "unet.lora_alpha": 8, "unet.alpha_pattern": {SOME_LAYER: 2}}, 0.5),
        ({"unet.r": 4, "unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_q": 12}}, 3.0),
        ({"text_encoder.lora_alpha": 8}, 1.0),
    ],
)
def test_alpha_of_the_metadata_counts(
    registry: ModelRegistry, tmp_path: Path, metadata: dict[str, Any] | None, scale: float
) -> None:
    """E4: as PEFT and diffusers read it."""
    lora = load_lora(lora_file(tmp_path / "lora.safetensors", metadata), registry.part("unet"))
    assert lora[SOME_LAYER].scale == pytest.approx(scale)


def test_a_lora_with_metadata_does_what_it_does_in_diffusers(tiny_copy: Path, tmp_path: Path) -> None:
    """E4."""
    pytest.importorskip("peft")
    registry = registry_of(tiny_copy)
    metadata = {"unet.r": 4, "unet.lora_alpha": 8, "unet.target_modules": [SOME_LAYER]}
    path = lora_file(tmp_path / "lora.safetensors", metadata)
    unet = registry.part("unet")
    generator = torch.Generator().manual_seed(0)
    inputs = (
        torch.randn((1, 4, 8, 8), generator=generator),
        torch.tensor(500),
        torch.randn((1, 77, 768), generator=generator),
    )
    with torch.no_grad():
        plain = unet(*inputs).sample
        with registry.merger.merged(load_lora(path, unet), 1.0):
            ours = unet(*inputs).sample
        unet.load_lora_adapter(tmp_path, weight_name=path.name, prefix="unet")
        theirs = unet(*inputs).sample
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert (ours - plain).abs().max() > 1e-2


@pytest.mark.parametrize("alpha", ["8", None, float("nan"), True, [8]])
def test_an_alpha_that_is_no_number_is_named(registry: ModelRegistry, tmp_path: Path, alpha: Any) -> None:
    path = lora_file(tmp_path / "lora.safetensors", {"unet.lora_alpha": alpha})
    with pytest.raises(IncompatibleWeightsError, match="alpha"):
        load_lora(path, registry.part("unet"))


def test_a_lora_for_the_text_encoder_is_named_as_one(registry: ModelRegistry, tmp_path: Path) -> None:
    """E6."""
    path = lora_file(tmp_path / "lora.safetensors")
    save_file({**load_file(path), "lora_te_text_model_encoder_layers_0.lora_down.weight": torch.zeros(4, 7)}, path)
    with pytest.raises(IncompatibleWeightsError, match="text encoder"):
        load_lora(path, registry.part("unet"))


def test_an_empty_lora_is_refused(registry: ModelRegistry, tmp_path: Path) -> None:
    """C8."""
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(CorruptWeightsError, match="no named tensors"):
        load_lora(tmp_path / "empty.safetensors", registry.part("unet"))


def test_a_stochastic_sampler_draws_from_the_seed(tiny_copy: Path) -> None:
    """E5: sde-dpmsolver++ in the scheduler's file: the same request twice, and picture k alone."""
    change(
        tiny_copy / "stable-diffusion-v1-5" / "scheduler" / "scheduler_config.json", algorithm_type="sde-dpmsolver++"
    )
    registry = registry_of(tiny_copy)
    request = PLAIN.with_(num_images=2)
    torch.manual_seed(1)
    first = pixels(registry, request)
    torch.manual_seed(2)
    assert np.array_equal(pixels(registry, request), first)
    alone = pixels(registry, PLAIN.with_(seed=6))
    assert np.abs(alone[0].astype(int) - first[1].astype(int)).max() <= 1
    change(tiny_copy / "stable-diffusion-v1-5" / "scheduler" / "scheduler_config.json", algorithm_type="dpmsolver++")
    assert not np.array_equal(pixels(registry, request), first)


def test_steps_offset_is_one_whatever_the_file_says(registry: ModelRegistry, tiny_copy: Path) -> None:
    """E5: diffusers' pipelines correct it."""
    request = PLAIN.with_(scheduler="ddim", steps=8)
    expected = pixels(registry, request)
    change(tiny_copy / "stable-diffusion-v1-5" / "scheduler" / "scheduler_config.json", steps_offset=0)
    assert np.array_equal(pixels(registry_of(tiny_copy), request), expected)


@pytest.mark.parametrize(("scheduler", "least"), [("euler", 2), ("ddim", 6)])
def test_steps_that_give_noise_are_said_in_the_recipe(tiny_tree: Path, scheduler: str, least: int) -> None:
    """E7."""
    engine = Engine.open(tiny_tree / "models", device="cpu")
    few = engine.generate(PLAIN.with_(scheduler=scheduler, steps=least - 1)).recipe
    enough = engine.generate(PLAIN.with_(scheduler=scheduler, steps=least)).recipe
    engine.close()
    assert few["notes"] == [
        f"The {scheduler} sampler gives noise at {least - 1} steps; use at least {least}, or another sampler."
    ]
    assert "notes" not in enough


@pytest.mark.parametrize(("start", "end", "steps"), [(0.0, 0.3, 2), (0.6, 1.0, 2), (0.4, 0.6, 2), (0.0, 0.9, 1)])
def test_a_pose_that_acts_in_no_step_is_refused_before_anything_runs(
    tiny_tree: Path, start: float, end: float, steps: int
) -> None:
    """E7."""
    engine = Engine.open(tiny_tree / "models", device="cpu")
    with pytest.raises(SettingsError, match=f"none of the {steps} steps"):
        engine.submit(PLAIN.with_(steps=steps, pose=PoseCondition(PICTURE, start=start, end=end)))
    assert engine.registry.snapshot() == {}
    engine.close()


def test_sample_size_may_be_a_pair(registry: ModelRegistry, tiny_copy: Path) -> None:
    """E6."""
    request = PLAIN.with_(height=None, width=None, steps=1)
    change(tiny_copy / "models" / "arc2face" / "config.json", sample_size=[16, 16])
    assert np.array_equal(pixels(registry_of(tiny_copy), request), pixels(registry, request))
    assert Engine.open(tiny_copy / "models", device="cpu").native_size == 128
    change(tiny_copy / "models" / "arc2face" / "config.json", sample_size=[16, 8])
    assert pixels(registry_of(tiny_copy), request).shape == (1, 128, 64, 3)


@pytest.mark.parametrize("size", ["16", [16], None, [16, "a"], 0])
def test_another_sample_size_is_named(tiny_copy: Path, size: Any) -> None:
    """E6."""
    change(tiny_copy / "models" / "arc2face" / "config.json", sample_size=size)
    with pytest.raises(IncompatibleWeightsError, match="sample_size"):
        generate(registry_of(tiny_copy), PLAIN)


def test_an_inpainting_unet_is_named(tiny_copy: Path) -> None:
    """E6: a nine-channel UNet."""
    folder = tiny_copy / "models" / "arc2face"
    change(folder / "config.json", in_channels=9)
    state = load_file(folder / "diffusion_pytorch_model.safetensors")
    save_file({**state, "conv_in.weight": torch.zeros(16, 9, 3, 3)}, folder / "diffusion_pytorch_model.safetensors")
    registry = registry_of(tiny_copy)
    for _ in range(2):  # said again, not only at the first load
        with pytest.raises(IncompatibleWeightsError, match=r"takes 9 channels.*inpainting"):
            generate(registry, PLAIN)


def test_a_unet_of_another_width_than_the_encoder_is_named(tiny_tree: Path) -> None:
    """E6."""
    config = json.loads((tiny_tree / "models" / "arc2face" / "config.json").read_text(encoding="utf-8"))
    vae = json.loads((tiny_tree / "stable-diffusion-v1-5" / "vae" / "config.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config({**config, "cross_attention_dim": 1024})
        encoder = CLIPTextModel(CLIPTextConfig(hidden_size=768, num_hidden_layers=1, intermediate_size=8))
        decoder = AutoencoderKL.from_config(vae)
        fitting = UNet2DConditionModel.from_config(config)
    check_fit(fitting, encoder, decoder)
    with pytest.raises(IncompatibleWeightsError, match="1024 wide; the text encoder in encoder/ makes 768"):
        check_fit(unet, encoder, decoder)


def _short_bias(head: dict[str, torch.Tensor]) -> None:
    head["proj.bias"] = head["proj.bias"][:-1]


def _odd_width(head: dict[str, torch.Tensor]) -> None:
    head["norm.weight"] = head["norm.weight"][:-1]


def _flat_weight(head: dict[str, torch.Tensor]) -> None:
    head["proj.weight"] = head["proj.weight"].flatten()


def _wrong_input(head: dict[str, torch.Tensor]) -> None:
    head["proj.weight"] = head["proj.weight"][:, :50]


def _half_a_token(head: dict[str, torch.Tensor]) -> None:
    head["proj.weight"], head["proj.bias"] = head["proj.weight"][:-7], head["proj.bias"][:-7]


@pytest.mark.parametrize("damage", [_short_bias, _odd_width, _flat_weight, _wrong_input, _half_a_token])
def test_a_misshapen_expression_adapter_is_named(
    registry: ModelRegistry, tiny_copy: Path, damage: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    """E6."""
    path = tiny_copy / "models" / "exp_adapter" / "exp_adapter.bin"
    state = torch.load(path, weights_only=True)
    damage(state["image_proj"])
    torch.save(state, path)
    with pytest.raises(IncompatibleWeightsError, match="It is not an expression adapter of this UNet"):
        ExpressionAdapter().load(ModelsFolder(tiny_copy / "models"), registry.part("unet"), torch.float32)
