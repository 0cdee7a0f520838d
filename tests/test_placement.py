"""What lies on the device under each policy, and what happens when it is full or makes NaN (D1 to D8, C9).

Real tiny models and the real engine run on a counting device (`fake_device.py`); with a card, also on it.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.models.autoencoders.vae import Decoder
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from arc2face import Engine
from arc2face.diffusion.decoding import IN_TILES, ON_HOST
from arc2face.diffusion.device import is_device_failure, is_out_of_memory, pick_runtime
from arc2face.diffusion.forward import UNetForward
from arc2face.diffusion.generation import generate
from arc2face.diffusion.registry import ModelRegistry
from arc2face.errors import CancelledError, DeviceError
from arc2face.types import (
    MAX_SEED,
    Expression,
    ExpressionCondition,
    GenerationRequest,
    IdentityEmbedding,
    PoseCondition,
    ReferenceCondition,
    VramPolicy,
)
from arc2face.weights.folder import ModelsFolder
from tests.fake_device import NAME, FakeDevice, fail_in, registry_on

RNG = np.random.default_rng(5)
PICTURE = RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)
PERSON = IdentityEmbedding(RNG.standard_normal(512).astype(np.float32))
PLAIN = GenerationRequest(identity=PERSON, num_images=1, steps=2, seed=5, score=False, height=64, width=64)
POSE = PLAIN.with_(pose=PoseCondition(PICTURE))
FAST = PLAIN.with_(fast=True, guidance_scale=1.0)
EVERYTHING = POSE.with_(
    fast=True,
    reference=ReferenceCondition(PICTURE),
    expression=ExpressionCondition(Expression(np.linspace(0, 0.2, 55, dtype=np.float32))),
)
REQUESTS = {"plain": PLAIN, "pose": POSE, "fast": FAST, "everything": EVERYTHING}
POLICIES: tuple[VramPolicy, ...] = ("resident", "offload", "sequential")
OUT_OF_MEMORY_TEXTS = [
    "MPS backend out of memory (MPS allocated: 8.00 GB, max allowed: 9.07 GB).",
    "CUDA error: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.",
]
FAILURE_TEXTS = [
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: device-side assert triggered",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "HIP error: unspecified launch failure",
]
BUG_TEXTS = [
    "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
    "Input type (torch.cuda.HalfTensor) and weight type (torch.cuda.FloatTensor) should be the same",
    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.",
    "mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)",
]


@pytest.fixture(scope="module")
def models(tiny_tree: Path) -> Path:
    return tiny_tree / "models"


@pytest.fixture(scope="module")
def expected(models: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The requests' pictures on a plain CPU."""
    registry = ModelRegistry(ModelsFolder(models), pick_runtime("cpu"))
    return {name: pixels(registry, request) for name, request in REQUESTS.items()}


@pytest.fixture(scope="module")
def sizes(models: Path) -> dict[str, int]:
    """Bytes of each part, and of the weights that fast mode's LoRA changes."""
    registry = ModelRegistry(ModelsFolder(models), pick_runtime("cpu"))
    registry.load_base()
    table: dict[str, int] = dict.fromkeys(("tokenizer", "lcm", "reference"), 0)
    for name in ("text_encoder", "unet", "vae", "pose", "expression"):
        module = registry.part(name)
        table[name] = sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
    touched = (registry.part("unet").get_submodule(name).weight for name in registry.part("lcm"))
    return {**table, "copies": sum(weight.nbytes for weight in touched)}


def pixels(registry: ModelRegistry, request: GenerationRequest) -> np.ndarray[Any, Any]:
    return np.stack([image.rgb_u8 for image in generate(registry, request).images])


def most(sizes: dict[str, int], vram: VramPolicy, name: str) -> int:
    """The peak that a policy promises for a request on a fresh device."""
    adapters = {"plain": (), "fast": (), "pose": ("pose",), "everything": ("pose", "expression")}[name]
    used = sum(sizes[adapter] for adapter in adapters)
    base = sizes["text_encoder"] + sizes["unet"] + sizes["vae"]
    if vram == "resident":
        return base + used + (sizes["copies"] if REQUESTS[name].fast else 0)
    if vram == "offload":
        return base + used
    with_unet = sizes["unet"] + used + (sizes["vae"] if name == "everything" else 0)
    return max(sizes["text_encoder"], with_unet, sizes["vae"])


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("vram", POLICIES)
def test_peak_and_pictures_of_each_policy(
    models: Path, sizes: dict[str, int], expected: dict[str, Any], vram: VramPolicy, name: str
) -> None:
    """D1, D3: each policy keeps on the device what it promises and no byte more; the pictures are the same bits."""
    device = FakeDevice()
    registry = registry_on(device, models, vram)
    with device.watching():
        made = pixels(registry, REQUESTS[name])
    assert np.array_equal(made, expected[name])
    assert device.peak == most(sizes, vram, name)
    assert device.used == registry.device_bytes()
    kept = {part for part, loaded in registry.snapshot().items() if loaded.device == NAME}
    base, adapters = {"text_encoder", "unet", "vae"}, {"pose", "expression"} & registry.snapshot().keys()
    assert kept == {"resident": base | adapters, "offload": base, "sequential": set()}[vram]


def test_the_table_in_the_docs_holds_these_sums_for_the_full_models(project_root: Path) -> None:
    """Sizes of Stable Diffusion 1.5's architecture in half precision, counted on modules without memory."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        parts: dict[str, Any] = {
            "unet": unet,
            "pose": ControlNetModel(cross_attention_dim=768),
            "text_encoder": CLIPTextModel(
                CLIPTextConfig(hidden_size=768, num_hidden_layers=12, intermediate_size=3072, num_attention_heads=12)
            ),
            "vae": AutoencoderKL.from_config(
                {
                    "down_block_types": ["DownEncoderBlock2D"] * 4,
                    "up_block_types": ["UpDecoderBlock2D"] * 4,
                    "block_out_channels": [128, 256, 512, 512],
                    "layers_per_block": 2,
                }
            ),
        }
    sizes = {name: 2 * sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    layers = {name: m for name, m in unet.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    sizes["copies"] = 2 * sum(layer.weight.numel() for layer in layers.values())
    crossed = sum(m.weight.numel() for name, m in layers.items() if name.endswith(("attn2.to_k", "attn2.to_v")))
    sizes["expression"] = 2 * (crossed + (55 + 1) * 4 * 768 + 2 * 768)
    text = (project_root / "docs" / "deploy.md").read_text(encoding="utf-8")
    rows = {
        "plain": "Identity",
        "pose": "Pose",
        "fast": "Fast mode",
        "everything": "Pose, expression, look and fast mode",
    }
    for name, title in rows.items():
        figures = " | ".join(f"{most(sizes, vram, name) / 1e9:.2f}" for vram in POLICIES)
        assert f"| {title} | {figures} |" in text


@pytest.mark.parametrize("vram", POLICIES)
def test_a_device_of_exactly_the_promised_size_is_enough(
    models: Path, sizes: dict[str, int], expected: dict[str, Any], vram: VramPolicy
) -> None:
    device = FakeDevice(most(sizes, vram, "pose"))
    registry = registry_on(device, models, vram)
    with device.watching():
        assert np.array_equal(pixels(registry, POSE), expected["pose"])
    assert device.half_moves == 0


def test_a_full_device_drops_idle_parts_and_never_those_in_use(
    models: Path, sizes: dict[str, int], expected: dict[str, Any]
) -> None:
    """D2: room for the UNet and both adapters, not for idle ones too."""
    device = FakeDevice(most(sizes, "resident", "everything") - sizes["copies"])
    registry = registry_on(device, models)
    with device.watching():
        assert np.array_equal(pixels(registry, EVERYTHING), expected["everything"])
        assert {"pose", "expression"} <= registry.snapshot().keys()
        registry.release()
        assert device.used == 0
        device.capacity = sizes["text_encoder"] + sizes["vae"]  # not enough for the UNet beside the text encoder
        assert np.array_equal(pixels(registry, POSE), expected["pose"])
        assert registry.snapshot()["text_encoder"].device == "cpu", "it made room for the UNet"


def test_out_of_memory_while_adapters_are_in_use_keeps_them(models: Path, expected: dict[str, Any]) -> None:
    """D2: what the request uses is neither dropped nor moved, whoever asks for room."""
    device = FakeDevice()
    registry = registry_on(device, models)
    held: list[int] = []

    def ask_for_room(module: nn.Module, args: Any) -> bool:
        registry.release()
        registry.evict_idle_adapters()
        held.append(device.holding(registry.part("pose")) + device.holding(registry.part("expression")))
        return False

    with device.watching(), fail_in(UNetForward, ask_for_room):
        assert np.array_equal(pixels(registry, EVERYTHING), expected["everything"])
    assert min(held) == max(held) > 0


def test_a_half_moved_part_goes_back_before_the_next_try(models: Path, expected: dict[str, Any]) -> None:
    """D2: a move that fails at its fifth tensor leaves none of them behind, and the second try succeeds."""
    device = FakeDevice()
    registry = registry_on(device, models, "sequential")
    registry.load_base()
    unet = registry.part("unet")
    device.fail_at_tensor = 5
    with pytest.raises(torch.OutOfMemoryError):
        device.to_device(unet)
    assert device.holding(unet) == 0 and device.used == 0
    device.fail_at_tensor = 5
    with device.watching():
        assert np.array_equal(pixels(registry, PLAIN), expected["plain"])
    assert device.half_moves == 2 and device.used == 0


def test_a_part_that_never_fits_is_named_and_nothing_of_it_stays(models: Path, sizes: dict[str, int]) -> None:
    device = FakeDevice(sizes["text_encoder"] - 1)
    registry = registry_on(device, models, "sequential")
    with pytest.raises(DeviceError, match=r"fake:0 ran out of memory while reading the identity"):
        generate(registry, PLAIN)
    device.capacity = sizes["unet"] - 1
    with pytest.raises(DeviceError, match="for the Arc2Face denoiser"), registry.placed("unet"):
        pass
    assert device.used == 0 and device.half_moves > 2
    assert registry.snapshot()["unet"].device == "cpu"
    device.capacity = None
    with registry.placed("unet") as unet:
        assert device.holding(unet) > 0


def test_the_retry_runs_outside_the_handler_and_the_failed_try_is_gone(registry: ModelRegistry) -> None:
    """D2: when the smaller group starts, no exception is being handled and nothing holds the failed group's tensors."""
    seen: list[tuple[int, bool, bool]] = []
    failed: list[weakref.ref[torch.Tensor]] = []

    def full(module: nn.Module, args: tuple[Any, ...]) -> bool:
        gc.collect(0)
        seen.append((len(args[0]), sys.exc_info()[0] is None, all(ref() is None for ref in failed)))
        if len(args[0]) > 2:
            failed.append(weakref.ref(args[0]))
            return True
        return False

    with fail_in(UNetForward, full):
        made = generate(registry, PLAIN.with_(num_images=4)).images
    assert [size for size, *_ in seen][:3] == [8, 4, 2] and len(made) == 4
    assert all(clean and gone for _, clean, gone in seen)


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def registry(models: Path, request: pytest.FixtureRequest) -> Iterator[ModelRegistry]:
    yield ModelRegistry(ModelsFolder(models), pick_runtime(request.param))


def test_out_of_memory_halves_the_group_up_to_the_largest_seed(registry: ModelRegistry) -> None:
    """C9: the later groups of the largest allowed seed are not refused as seeds out of range."""
    request = PLAIN.with_(num_images=4, seed=MAX_SEED)
    whole = pixels(registry, request)
    with fail_in(UNetForward, lambda module, args: len(args[0]) > 2) as calls:
        images = generate(registry, request).images
    assert calls[:2] == [True, True]
    assert [image.seed for image in images] == [MAX_SEED + k for k in range(4)]
    apart = np.stack([image.rgb_u8 for image in images]).astype(int)
    assert np.abs(apart - whole.astype(int)).max() <= (1 if registry.dtype == torch.float32 else 8)


def test_rows_of_given_noise_follow_their_pictures_through_smaller_groups(registry: ModelRegistry) -> None:
    noise = RNG.standard_normal((3, 4, 8, 8)).astype(np.float32)
    steps = RNG.standard_normal((1, 3, 4, 8, 8)).astype(np.float32)
    posterior = RNG.standard_normal((3, 4, 8, 8)).astype(np.float32)
    request = FAST.with_(
        num_images=3, noise=noise, step_noise=steps, reference=ReferenceCondition(PICTURE, latent_noise=posterior)
    )
    whole = pixels(registry, request)
    with fail_in(UNetForward, lambda module, args: len(args[0]) == 3):
        apart = pixels(registry, request)
    assert np.abs(apart.astype(int) - whole.astype(int)).max() <= (1 if registry.dtype == torch.float32 else 8)


def test_a_full_text_encoder_is_tried_again_and_then_named(registry: ModelRegistry) -> None:
    """D8: the text encoder's out-of-memory is inside the retry."""
    plain = pixels(registry, PLAIN)
    registry.part("pose")
    tries: list[int] = []
    with fail_in(CLIPTextModel, lambda module, args: tries.append(1) or len(tries) == 1):
        assert np.array_equal(pixels(registry, PLAIN), plain)
    assert "pose" not in registry.snapshot(), "idle adapters leave before the second try"
    with fail_in(CLIPTextModel), pytest.raises(DeviceError, match="while reading the identity"):
        generate(registry, PLAIN)


@pytest.mark.parametrize("text", OUT_OF_MEMORY_TEXTS)
def test_every_kind_of_out_of_memory_is_retried(registry: ModelRegistry, text: str) -> None:
    """D7: MPS, cuBLAS and the CPU's allocator say it in words only."""
    assert is_out_of_memory(RuntimeError(text))
    plain = pixels(registry, PLAIN)
    tries: list[int] = []
    with fail_in(UNetForward, lambda module, args: tries.append(1) or len(tries) == 1, RuntimeError(text)):
        assert np.array_equal(pixels(registry, PLAIN), plain)


@pytest.mark.parametrize("text", FAILURE_TEXTS)
def test_a_failing_device_is_a_device_error(engine: Engine, text: str) -> None:
    """D7."""
    with fail_in(UNetForward, error=RuntimeError(text)), pytest.raises(DeviceError, match="stopped working"):
        engine.generate(PLAIN)
    assert is_device_failure(torch.AcceleratorError("whatever it says"))


@pytest.mark.parametrize("text", BUG_TEXTS)
def test_a_bug_stays_visible(engine: Engine, text: str) -> None:
    """D7: a message that happens to mention cuda or mps is not a broken computer."""
    with fail_in(UNetForward, error=RuntimeError(text)), pytest.raises(RuntimeError) as caught:
        engine.generate(PLAIN)
    assert str(caught.value) == text


@pytest.fixture(scope="module")
def engine(models: Path) -> Iterator[Engine]:
    engine = Engine.open(models, device="cpu")
    yield engine
    engine.close()


@pytest.mark.parametrize("vram", POLICIES)
def test_decoding_always_finds_a_way(models: Path, expected: dict[str, Any], vram: VramPolicy) -> None:
    """D4: one picture at a time; a second try with the rest off the device; then tiles; then the CPU."""
    device = FakeDevice()
    registry = registry_on(device, models, vram)
    with device.watching():
        with fail_in(Decoder, lambda module, args: len(args[0]) > 1) as calls:
            two = generate(registry, PLAIN.with_(num_images=2))
        assert calls == [False, False] and not two.notes
        assert np.abs(two.images[0].rgb_u8.astype(int) - expected["plain"][0].astype(int)).max() <= 1
        tries: list[int] = []
        with fail_in(Decoder, lambda module, args: tries.append(1) or len(tries) == 1):
            again = generate(registry, PLAIN)
        assert np.array_equal(again.images[0].rgb_u8, expected["plain"][0]) and not again.notes
    assert device.used == registry.device_bytes()


def test_a_large_picture_is_decoded_in_tiles_when_it_does_not_fit_whole(models: Path) -> None:
    """D4."""
    device = FakeDevice()
    registry = registry_on(device, models, "sequential")
    request = PLAIN.with_(height=512, width=512, steps=1)
    whole = pixels(registry, request)[0].astype(int)
    with device.watching(), fail_in(Decoder, lambda module, args: args[0].shape[-1] > 32):
        made = generate(registry, request)
    assert made.notes == (IN_TILES,)
    assert made.images[0].rgb_u8.shape == (512, 512, 3)
    assert np.abs(made.images[0].rgb_u8.astype(int) - whole).mean() < 0.1 * whole.std()


def test_finished_latents_outlive_a_device_without_room_for_the_decoder(models: Path, expected: dict[str, Any]) -> None:
    """D4: the decoder fails on the device in every form; it runs on the CPU."""
    device = FakeDevice()
    registry = registry_on(device, models)
    with fail_in(Decoder, lambda module, args: device.holding(registry.part("vae")) > 0):
        made = generate(registry, PLAIN)
    assert made.notes == (ON_HOST,)
    assert np.array_equal(made.images[0].rgb_u8, expected["plain"][0])


@pytest.fixture
def overflowing() -> Iterator[list[torch.dtype]]:
    """The decoder overflows in half precision, as some VAEs do; yields the dtypes it ran in."""
    ran: list[torch.dtype] = []

    def overflow(module: nn.Module, args: Any, output: Any) -> Any:
        if not isinstance(module, Decoder):
            return None
        ran.append(output.dtype)
        return torch.full_like(output, float("inf")) if output.dtype != torch.float32 else None

    handle = nn.modules.module.register_module_forward_hook(overflow)
    yield ran
    handle.remove()


def test_an_overflowing_decoder_runs_once_more_in_float32(
    models: Path, expected: dict[str, Any], overflowing: list[torch.dtype]
) -> None:
    """D5: never a black picture."""
    registry = ModelRegistry(ModelsFolder(models), pick_runtime("cpu"))
    registry.load_base()
    assert registry.preview
    registry.part("vae").to(torch.bfloat16)
    made = pixels(registry, PLAIN).astype(int)
    assert overflowing == [torch.bfloat16, torch.float32]
    assert np.abs(made - expected["plain"].astype(int)).mean() < 3
    assert registry.part("vae").dtype == torch.bfloat16


@pytest.mark.parametrize("kind", [UNetForward, Decoder])
def test_nan_everywhere_is_an_error_and_no_picture(registry: ModelRegistry, kind: type[nn.Module]) -> None:
    """D5: NaN in the latents, or in pixels of a float32 decoder."""

    def poison(module: nn.Module, args: Any, output: Any) -> Any:
        if not isinstance(module, kind):
            return None
        return (output[0] * float("nan"),) if isinstance(output, tuple) else output * float("nan")

    handle = nn.modules.module.register_module_forward_hook(poison)
    try:
        with pytest.raises(DeviceError, match="NaN"):
            generate(registry, PLAIN)
    finally:
        handle.remove()
    assert pixels(registry, PLAIN).std() > 0


def weights(registry: ModelRegistry) -> list[tuple[int, bytes]]:
    registry.merger.ensure([])
    state = registry.part("unet").state_dict()
    return [(t.data_ptr(), t.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()) for t in state.values()]


def test_merging_keeps_addresses_and_comes_back_bit_for_bit(registry: ModelRegistry) -> None:
    """D3: also after an error in the middle, and for two LoRAs at once."""
    generate(registry, PLAIN)
    before = weights(registry)
    for request in (FAST, EVERYTHING, FAST):
        generate(registry, request)
        assert weights(registry) == before
    steps: list[int] = []
    with pytest.raises(CancelledError):
        generate(registry, FAST.with_(steps=4), lambda p: steps.append(p.step), lambda: len(steps) > 3)
    assert weights(registry) == before


def test_the_second_request_does_not_multiply_again(registry: ModelRegistry) -> None:
    """D3: of every touched weight one copy is kept; it holds the merged state between requests."""
    generate(registry, FAST)
    size = registry.merger.bytes
    lora = registry.part("lcm")
    touched = [registry.part("unet").get_submodule(name).weight for name in lora]
    assert size == sum(weight.nbytes for weight in touched)
    first = pixels(registry, FAST)
    ups = {name: update.up.clone() for name, update in lora.items()}
    for update in lora.values():
        update.up.zero_()  # a merge from here on would change nothing
    assert np.array_equal(pixels(registry, FAST), first)
    assert registry.merger.bytes == size
    for name, update in lora.items():
        update.up.copy_(ups[name])
    registry.evict("lcm")
    assert registry.merger.bytes == 0, "copies do not outlive their LoRA"
    assert np.array_equal(pixels(registry, FAST), first)


def test_copies_count_in_the_budget_and_lie_in_host_memory_when_it_is_tight(
    models: Path, sizes: dict[str, int], expected: dict[str, Any]
) -> None:
    """D3, D8: the budget counts bytes in memory, merged copies included."""
    base = sizes["text_encoder"] + sizes["unet"] + sizes["vae"]
    roomy, tight = FakeDevice(), FakeDevice()
    for device, budget in ((roomy, base + sizes["copies"]), (tight, base + sizes["copies"] - 1)):
        registry = registry_on(device, models, budget=budget)
        with device.watching():
            assert np.array_equal(pixels(registry, FAST), expected["fast"])
        assert device.peak <= budget
        assert registry.merger.device_bytes == (sizes["copies"] if device is roomy else 0)
        assert registry.merger.bytes == sizes["copies"]
    file = registry.source("text_encoder")
    assert file is not None and sizes["text_encoder"] > 1.5 * file.stat().st_size, "the file is in half precision"


def test_idle_copies_leave_before_an_adapter_does(models: Path, sizes: dict[str, int]) -> None:
    base = sizes["text_encoder"] + sizes["unet"] + sizes["vae"]
    device = FakeDevice()
    registry = registry_on(device, models, budget=base + sizes["copies"] + sizes["expression"])
    generate(registry, FAST)
    generate(registry, EVERYTHING.with_(fast=False, reference=None, pose=None))
    assert registry.merger.device_bytes == sizes["copies"]
    generate(registry, POSE)
    assert registry.merger.bytes == 0 and {"pose", "expression"} <= registry.snapshot().keys()


def test_a_device_that_turns_out_full_while_copying_keeps_the_rest_in_host_memory(
    models: Path, sizes: dict[str, int], expected: dict[str, Any]
) -> None:
    """D2, D3: allocation fails in the middle of saving the originals."""
    device = FakeDevice(most(sizes, "resident", "fast") - sizes["copies"] // 2)
    registry = registry_on(device, models)
    with device.watching():
        assert np.array_equal(pixels(registry, FAST), expected["fast"])
    assert 0 < registry.merger.device_bytes < sizes["copies"]


@pytest.mark.gpu
@pytest.mark.parametrize("vram", POLICIES)
def test_policies_on_a_card(models: Path, vram: VramPolicy) -> None:
    """The same pictures under every policy, and nothing left on the card after `sequential`."""
    whole = ModelRegistry(ModelsFolder(models), pick_runtime("cuda"))
    registry = ModelRegistry(ModelsFolder(models), pick_runtime("cuda", vram=vram))
    assert np.array_equal(pixels(registry, EVERYTHING), pixels(whole, EVERYTHING))
    on_card = {name for name, part in registry.snapshot().items() if part.device == "cuda"}
    assert on_card == {"text_encoder", "unet", "vae"} | ({"pose", "expression"} if vram == "resident" else set()) or (
        vram == "sequential" and not on_card
    )
