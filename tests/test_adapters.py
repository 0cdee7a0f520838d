"""Every adapter changes the result while applied and leaves no trace, also after an error or a cancel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import torch

from arc2face.diffusion.adapters import ADAPTERS, Adapter
from arc2face.diffusion.denoising import Denoiser
from arc2face.diffusion.device import pick_runtime
from arc2face.diffusion.generation import generate
from arc2face.diffusion.loading import load_scheduler_config
from arc2face.diffusion.registry import ModelRegistry
from arc2face.errors import CancelledError, IncompatibleWeightsError
from arc2face.types import (
    Expression,
    ExpressionCondition,
    GenerationRequest,
    IdentityEmbedding,
    PoseCondition,
    ReferenceCondition,
)
from arc2face.weights.folder import ModelsFolder

RNG = np.random.default_rng(3)
PICTURE = RNG.integers(0, 255, (128, 128, 3), dtype=np.uint8)
PERSON = IdentityEmbedding(RNG.standard_normal(512).astype(np.float32))
PLAIN = GenerationRequest(identity=PERSON, num_images=1, steps=2, seed=5, keep_latents=True, height=64, width=64)
SWITCHED_ON: dict[str, Callable[[GenerationRequest], GenerationRequest]] = {
    "lcm": lambda request: request.with_(fast=True, guidance_scale=1.0),
    "pose": lambda request: request.with_(pose=PoseCondition(PICTURE)),
    "expression": lambda request: request.with_(
        expression=ExpressionCondition(Expression(np.linspace(0, 0.2, 55, dtype=np.float32)))
    ),
    "reference": lambda request: request.with_(reference=ReferenceCondition(PICTURE[:64, :64])),
}
DENOISING = [adapter for adapter in ADAPTERS if adapter.name != "small_decoder"]
"""That one leaves latents alone: tests/test_small_decoder.py."""
EVERYTHING = reduce(lambda request, switch: switch(request), SWITCHED_ON.values(), PLAIN)


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def registry(tiny_tree: Path, request: pytest.FixtureRequest) -> Iterator[ModelRegistry]:
    yield ModelRegistry(ModelsFolder(tiny_tree / "models"), pick_runtime(request.param))


def fingerprint(registry: ModelRegistry) -> tuple[object, ...]:
    """All that must be the same once the plain UNet is wanted again: weight bits and addresses, processors, hooks."""
    registry.merger.ensure([])
    parts = [registry.part(name) for name in ("unet", "vae", "text_encoder")]
    controlnet = registry.part("pose")
    tensors = [t for part in (*parts, controlnet) for t in part.state_dict().values()]
    bits = [(t.data_ptr(), t.double().sum().item(), t.double().abs().sum().item()) for t in tensors]
    processors = [(name, id(value)) for name, value in parts[0].attn_processors.items()]
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for part in parts for m in part.modules())
    return (bits, processors, hooks, id(controlnet.controlnet_cond_embedding))


def latents(registry: ModelRegistry, request: GenerationRequest) -> np.ndarray:
    made = generate(registry, request).images[0].latents
    assert made is not None
    return made


def test_every_adapter_is_covered_here() -> None:
    assert {adapter.name for adapter in DENOISING} == set(SWITCHED_ON)


@pytest.mark.parametrize("adapter", DENOISING, ids=lambda adapter: adapter.name)
def test_changes_the_result_and_leaves_no_trace(registry: ModelRegistry, adapter: Adapter) -> None:
    plain = latents(registry, PLAIN)
    before = fingerprint(registry)
    request = SWITCHED_ON[adapter.name](PLAIN)
    first, second = latents(registry, request), latents(registry, request)
    assert np.array_equal(first, second), "applied twice"
    assert np.abs(first - plain).max() > 1e-3
    assert fingerprint(registry) == before
    assert np.array_equal(latents(registry, PLAIN), plain)


@pytest.mark.parametrize("adapter", DENOISING, ids=lambda adapter: adapter.name)
def test_a_to_b_to_a_is_exact(registry: ModelRegistry, adapter: Adapter) -> None:
    request = SWITCHED_ON[adapter.name](PLAIN)
    first = latents(registry, request)
    latents(registry, EVERYTHING)
    assert np.array_equal(latents(registry, request), first)


@pytest.mark.parametrize("request_", [*(f(PLAIN) for f in SWITCHED_ON.values()), EVERYTHING])
def test_an_error_in_the_middle_leaves_no_trace(registry: ModelRegistry, request_: GenerationRequest) -> None:
    plain = latents(registry, PLAIN)
    before = fingerprint(registry)
    run = _run(registry, request_)
    with pytest.raises(ZeroDivisionError), torch.no_grad(), registry.session(request_, run):
        raise ZeroDivisionError
    assert fingerprint(registry) == before
    assert run.scheduler_name == "dpm++" and not run.residual_sources and not run.loras
    assert run.expression is None and run.bank is None
    assert np.array_equal(latents(registry, PLAIN), plain)


def test_a_failing_adapter_undoes_those_before_it(registry: ModelRegistry) -> None:
    before = fingerprint(registry)
    bad = EVERYTHING.with_(reference=ReferenceCondition(PICTURE[:64, :64], latent_noise=np.zeros((3, 1, 2, 2), "f")))
    with pytest.raises(Exception, match="latent_noise"):
        generate(registry, bad)
    assert fingerprint(registry) == before


def test_cancel_takes_effect_within_one_step(registry: ModelRegistry) -> None:
    before = fingerprint(registry)
    seen: list[int] = []
    with pytest.raises(CancelledError):
        generate(
            registry,
            EVERYTHING.with_(steps=6),
            report=lambda p: seen.append(p.step) if p.stage == "denoising" else None,
            cancelled=lambda: len(seen) >= 2,
        )
    assert seen == [1, 2]
    assert fingerprint(registry) == before


def test_nothing_of_one_reference_reaches_the_next_request(registry: ModelRegistry) -> None:
    other = RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    alone = latents(registry, PLAIN.with_(reference=ReferenceCondition(other)))
    with pytest.raises(CancelledError):  # dies while the first person's recording is in use
        steps: list[int] = []
        generate(
            registry,
            SWITCHED_ON["reference"](PLAIN).with_(steps=5),
            report=lambda p: steps.append(p.step) if p.stage == "denoising" else None,
            cancelled=lambda: len(steps) >= 1,
        )
    assert np.array_equal(latents(registry, PLAIN.with_(reference=ReferenceCondition(other))), alone)


def test_expression_strength_zero_equals_plain(registry: ModelRegistry) -> None:
    condition = ExpressionCondition(Expression(np.full(55, 0.1, np.float32)), 0.0)
    assert np.array_equal(latents(registry, PLAIN.with_(expression=condition)), latents(registry, PLAIN))


def test_guidance_one_and_fast_mode_work_with_the_reference(registry: ModelRegistry) -> None:
    request = SWITCHED_ON["reference"](SWITCHED_ON["lcm"](PLAIN)).with_(num_images=2)
    images = generate(registry, request).images
    assert len(images) == 2
    assert all(image.latents is not None and np.isfinite(image.latents).all() for image in images)


def test_pose_acts_only_in_its_share_of_the_steps(registry: ModelRegistry) -> None:
    request = PLAIN.with_(steps=4)
    half = latents(registry, request.with_(pose=PoseCondition(PICTURE, end=0.5)))
    whole = latents(registry, request.with_(pose=PoseCondition(PICTURE)))
    plain = latents(registry, request)
    assert np.abs(half - whole).max() > 1e-3
    assert np.abs(half - plain).max() > 1e-3


def test_lora_of_another_architecture_is_refused(registry: ModelRegistry, tiny_copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = tiny_copy / "lcm-lora-sdv1-5" / "pytorch_lora_weights.safetensors"
    state = load_file(path)
    key = next(key for key in state if key.endswith("attn1_to_k.lora_down.weight"))
    save_file({**state, key: torch.zeros(4, 7)}, path)
    broken = ModelRegistry(ModelsFolder(tiny_copy / "models"), pick_runtime("cpu"))
    with pytest.raises(IncompatibleWeightsError, match="does not fit"):
        broken.part("lcm")
    save_file({**state, "lora_unet_nowhere.lora_down.weight": torch.zeros(4, 7)}, path)
    with pytest.raises(IncompatibleWeightsError, match="nowhere"):
        broken.part("lcm")


def _run(registry: ModelRegistry, request: GenerationRequest) -> Denoiser:
    registry.load_base()
    width = registry.part("text_encoder").config.hidden_size
    prompt = torch.zeros(1, 77, width, device=registry.part("unet").device, dtype=registry.dtype)
    config = load_scheduler_config(registry.models)
    return Denoiser(
        unet=registry.part("unet"),
        merger=registry.merger,
        borrow=registry.placed,
        prompt=prompt,
        negative=prompt,
        num_images=request.num_images,
        guidance_scale=request.guidance,
        scheduler_name="dpm++",
        scheduler_config=config,
    )
