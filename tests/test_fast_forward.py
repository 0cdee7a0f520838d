"""The own forward against diffusers' forward over the same modules: the same bits, fewer kernels (issue 12: 1, 6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from arc2face.diffusion import loading
from arc2face.diffusion.attention import cross_attention_names, processors, self_attention_names
from arc2face.diffusion.device import pick_runtime
from arc2face.diffusion.forward import (
    Conditions,
    ControlForward,
    DiffusersForward,
    ExpressionTokens,
    UNetForward,
    network_for,
    why_not_control,
    why_not_unet,
)
from arc2face.diffusion.forward.fallback import DiffusersControl
from arc2face.diffusion.generation import generate
from arc2face.diffusion.registry import ModelRegistry
from arc2face.errors import SettingsError
from arc2face.types import GenerationRequest, IdentityEmbedding
from arc2face.weights.folder import ModelsFolder

TIMESTEPS = torch.tensor([999, 500, 20])
PERSON = IdentityEmbedding(np.random.default_rng(3).standard_normal(512).astype(np.float32))
PLAIN = GenerationRequest(identity=PERSON, num_images=1, steps=2, seed=5, keep_latents=True, height=64, width=64)
TOPOLOGY = {"layers_per_block": 2, "block_out_channels": (32, 64, 64, 64), "cross_attention_dim": 32}


class Parts:
    """UNet and ControlNet of one models folder, and random inputs for them."""

    def __init__(self, models: Path) -> None:
        folder = ModelsFolder(models)
        self.unet = loading.load_unet(folder, torch.float32)
        self.controlnet = loading.load_controlnet(folder, torch.float32)

    def inputs(self, rows: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Latents, prompts, embedded condition."""
        generator = torch.Generator().manual_seed(rows)
        config = self.unet.config
        latents = torch.randn((rows, config["in_channels"], *size), generator=generator)
        prompt = torch.randn((rows, 77, config["cross_attention_dim"]), generator=generator)
        return latents, prompt, torch.randn((1, config["block_out_channels"][0], *size), generator=generator)


@pytest.fixture(scope="module", params=["tiny", "starter"])
def parts(request: pytest.FixtureRequest, tiny_tree: Path, project_root: Path) -> Parts:
    return Parts({"tiny": tiny_tree / "models", "starter": project_root / "models" / "starter"}[request.param])


@pytest.fixture(scope="module")
def tiny(tiny_tree: Path) -> Parts:
    return Parts(tiny_tree / "models")


@pytest.mark.parametrize(
    ("size", "rows", "guided"),
    [((16, 16), 1, False), ((16, 16), 2, True), ((13, 17), 1, False), ((13, 17), 3, False), ((9, 22), 6, True)],
)
def test_unet_and_controlnet_give_the_bits_of_diffusers(
    parts: Parts, size: tuple[int, int], rows: int, guided: bool
) -> None:
    """Cross keys and values once, the time table, no divisions by one: difference 0.0, with residuals too."""
    latents, prompt, condition = parts.inputs(rows, size)
    given = Conditions(prompt, guided)
    own, theirs = UNetForward(parts.unet), DiffusersForward(parts.unet)
    control, reference = ControlForward(parts.controlnet), DiffusersControl(parts.controlnet)
    with torch.no_grad():
        mine = control.residuals(latents, control.prepare(prompt, TIMESTEPS, condition, 0.7), 1)
        residuals = reference.residuals(latents, reference.prepare(prompt, TIMESTEPS, condition, 0.7), 1)
        assert all(torch.equal(a, b) for a, b in zip(mine, residuals, strict=True))
        one, two = own.prepare(given, TIMESTEPS), theirs.prepare(given, TIMESTEPS)
        assert torch.equal(own.predict(latents, one, 1), parts.unet(latents, TIMESTEPS[1], prompt).sample)
        assert torch.equal(own.predict(latents, one, 2, residuals), theirs.predict(latents, two, 2, residuals))


@pytest.mark.parametrize("guided", [False, True])
def test_expression_and_reference_as_inputs_equal_the_processors(parts: Parts, guided: bool) -> None:
    """The reference is the same bits; the expression's strength goes into the values, which rounds once more."""
    latents, prompt, _ = parts.inputs(4, (16, 16))
    unet = parts.unet
    own, theirs = UNetForward(unet), DiffusersForward(unet)
    with torch.no_grad():
        bank = own.record(latents[:1], prompt[:1])
        recorded = theirs.record(latents[:1], prompt[:1])
    assert set(bank) == set(self_attention_names(unet)) == set(recorded)
    assert all(torch.equal(bank[name], recorded[name]) for name in bank)
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randn((4, 4, prompt.shape[-1]), generator=generator)
    widths = {
        name: unet.get_submodule(name.removesuffix(".processor")).to_k for name in cross_attention_names(unet).values()
    }
    projections = {name: (layer.weight * 0.5, layer.weight * 0.25) for name, layer in widths.items()}  # type: ignore[union-attr,operator]

    def made(network: Any, **more: Any) -> Tensor:
        with torch.no_grad():
            return network.predict(latents, network.prepare(Conditions(prompt, guided, **more), TIMESTEPS), 1)

    assert torch.equal(made(own, bank=bank), made(theirs, bank=bank))
    whole = ExpressionTokens(tokens, projections, 1.0)
    assert torch.equal(made(own, expression=whole, bank=bank), made(theirs, expression=whole, bank=bank))
    part = ExpressionTokens(tokens, projections, 0.7)
    one, two = made(own, expression=part), made(theirs, expression=part)
    assert (one - two).norm() / two.norm() < 1e-5 and not torch.equal(one, made(own))


class Kernels(TorchDispatchMode):
    """Counts operations that launch something: all but views."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        views = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if not views and func._schema.name != "aten::_unsafe_view":
            self.counts[func._schema.name] += 1
        return func(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@pytest.fixture(scope="module")
def toy() -> UNet2DConditionModel:
    """Stable Diffusion 1.5's topology with few channels."""
    torch.manual_seed(0)
    return UNet2DConditionModel(**TOPOLOGY).eval().requires_grad_(False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mode", "limit"), [("base", 600), ("guided", 600), ("expression", 640), ("reference", 660), ("both", 700)]
)
def test_kernels_per_call_stay_in_their_budget(toy: UNet2DConditionModel, mode: str, limit: int) -> None:
    """Gates of issue 12; diffusers' own forward needs 727. LoRAs are in the weights, so LCM is `base`."""
    rows = 1 if mode == "base" else 2
    latents, prompt = torch.randn(rows, 4, 8, 8), torch.randn(rows, 77, 32)
    network = UNetForward(toy)
    expression, bank = None, None
    if mode in ("expression", "both"):
        layers = {name: layer.to_k.weight for name, layer in network.layers.attentions("attn2")}
        expression = ExpressionTokens(torch.randn(rows, 4, 32), {name: (w, w) for name, w in layers.items()}, 0.8)
    if mode in ("reference", "both"):
        bank = network.record(latents[:1], prompt[:1])
    inputs = network.prepare(Conditions(prompt, rows == 2, expression, bank), TIMESTEPS)
    with torch.no_grad(), Kernels() as kernels:
        network.predict(latents, inputs, 0)
    assert 500 < kernels.total <= limit, kernels.counts.most_common(12)
    if mode == "base":
        with torch.no_grad(), Kernels() as reference:
            toy(latents, TIMESTEPS[0], prompt)
        assert reference.total - kernels.total > 100


def test_kernels_of_the_controlnet(toy: UNet2DConditionModel) -> None:
    """346 with diffusers' forward."""
    network = ControlForward(ControlNetModel(**TOPOLOGY).eval().requires_grad_(False))  # type: ignore[arg-type]
    latents, prompt = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 32)
    inputs = network.prepare(prompt, TIMESTEPS, torch.randn(1, 32, 8, 8), 1.0)
    with torch.no_grad(), Kernels() as kernels:
        network.residuals(latents, inputs, 0)
    assert 200 < kernels.total <= 290, kernels.counts.most_common(12)


def test_time_tables_are_kept_until_schedule_or_weights_change(tiny: Parts) -> None:
    network = UNetForward(tiny.unet)
    prompt = torch.zeros(2, 77, 768)
    first = network.prepare(Conditions(prompt, True), TIMESTEPS).time
    assert network.prepare(Conditions(prompt + 1, True), TIMESTEPS.clone()).time is first
    assert network.prepare(Conditions(prompt, True), TIMESTEPS + 1).time is not first
    bias = network.unet.time_embedding.linear_1.bias
    bias.add_(1.0)
    changed = network.prepare(Conditions(prompt, True), TIMESTEPS).time
    bias.sub_(1.0)
    assert not torch.equal(changed, first)


def test_what_the_forward_does_not_know_is_named(toy: UNet2DConditionModel, tiny: Parts) -> None:
    """A reason for each, and diffusers' forward in its place."""
    assert why_not_unet(toy) is None and why_not_control(tiny.controlnet) is None
    names = self_attention_names(toy)
    with processors(toy, {names[0]: AttnProcessor()}):
        assert "AttnProcessor" in (why_not_unet(toy) or "")
        assert isinstance(network_for(toy), DiffusersForward)
    assert isinstance(network_for(toy), UNetForward)
    with torch.device("meta"):
        classes = UNet2DConditionModel(**TOPOLOGY, num_class_embeds=3).eval()  # type: ignore[arg-type]
        gelu = UNet2DConditionModel(**TOPOLOGY, act_fn="gelu").eval()  # type: ignore[arg-type]
        simple = UNet2DConditionModel(**TOPOLOGY, mid_block_type="UNetMidBlock2D").eval()  # type: ignore[arg-type]
        training = UNet2DConditionModel(**TOPOLOGY).train()  # type: ignore[arg-type]
    assert "num_class_embeds" in (why_not_unet(classes) or "")
    assert "SiLU" in (why_not_unet(gelu) or "")
    assert "UNetMidBlock2D" in (why_not_unet(simple) or "")
    assert "training" in (why_not_unet(training) or "")


@pytest.fixture(scope="module")
def registry(tiny_tree: Path) -> Iterator[ModelRegistry]:
    yield ModelRegistry(ModelsFolder(tiny_tree / "models"), pick_runtime("cpu"))


def latents(registry: ModelRegistry, request: GenerationRequest = PLAIN) -> np.ndarray[Any, Any]:
    made = generate(registry, request).images[0].latents
    assert made is not None
    return made


def test_requests_run_with_the_own_forward_and_a_swapped_processor_is_not_ignored(registry: ModelRegistry) -> None:
    """Somebody else's adapter may still swap attentions: its run takes diffusers' forward."""
    plain = latents(registry)
    unet = registry.part("unet")
    name = self_attention_names(unet)[0]
    with processors(unet, {name: AttnProcessor()}):  # the same arithmetic without the fused kernel
        other = latents(registry)
    assert np.abs(other - plain).max() < 1e-3

    class Nothing:
        def __call__(self, attn: Any, states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return torch.zeros_like(states)

    with processors(unet, {name: Nothing()}):
        assert np.abs(latents(registry) - plain).max() > 1e-3
    assert np.array_equal(latents(registry), plain)


@contextmanager
def every_prompt_times(run_factory: Any, factor: float) -> Iterator[None]:
    """A hook in every run that replaces the prompt of each step."""
    original = run_factory.conditions

    def conditions(self: Any) -> Conditions:
        given = original(self)

        def replace(step: Any) -> None:
            step.prompt = given.prompt * factor

        self.before_step._hooks.append((0, replace))
        return given

    run_factory.conditions = conditions
    try:
        yield
    finally:
        run_factory.conditions = original


def test_a_hook_that_replaces_the_prompt_of_a_step_is_heard(registry: ModelRegistry) -> None:
    from arc2face.diffusion.denoising import Denoiser

    plain = latents(registry)
    with every_prompt_times(Denoiser, 1.0):
        assert np.array_equal(latents(registry), plain), "another tensor of the same numbers"
    with every_prompt_times(Denoiser, 0.5):
        assert np.abs(latents(registry) - plain).max() > 1e-3


def test_a_second_set_of_expression_tokens_or_recordings_is_refused(registry: ModelRegistry) -> None:
    from tests.test_adapters import _run

    run = _run(registry, PLAIN)
    tokens = ExpressionTokens(torch.zeros(1, 1, 768), {}, 1.0)
    with run.expressing(tokens), pytest.raises(SettingsError, match="Two adapters"), run.expressing(tokens):
        pass
    with run.reading({}), pytest.raises(SettingsError, match="Two adapters"), run.reading({}):
        pass
    assert run.expression is None and run.bank is None


def test_the_empty_prompt_is_encoded_once_per_loaded_text_encoder(registry: ModelRegistry) -> None:
    latents(registry)
    calls: list[int] = []
    handle = registry.part("text_encoder").register_forward_hook(lambda *_: calls.append(1))
    latents(registry)
    handle.remove()
    assert len(calls) == 1, "the identity alone"
    first = registry.empty_prompt
    registry.evict("text_encoder")
    assert registry.empty_prompt is not first and torch.equal(registry.empty_prompt, first)
