"""LoRAs in the weights: sticky, in place, exchanged instead of multiplied, restored bit for bit (issue 12: 2)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from arc2face.diffusion import merging
from arc2face.diffusion import registry as registries
from arc2face.diffusion.device import pick_runtime
from arc2face.diffusion.generation import generate
from arc2face.diffusion.lora import LoraUpdate, add_update
from arc2face.diffusion.registry import ModelRegistry
from arc2face.errors import CorruptWeightsError
from arc2face.types import GenerationRequest, IdentityEmbedding, ReferenceCondition
from arc2face.weights.folder import ModelsFolder

RNG = np.random.default_rng(3)
PERSON = IdentityEmbedding(RNG.standard_normal(512).astype(np.float32))
PLAIN = GenerationRequest(identity=PERSON, num_images=1, steps=2, seed=5, keep_latents=True, height=64, width=64)
FAST = PLAIN.with_(fast=True, guidance_scale=1.0)
LOOK = PLAIN.with_(reference=ReferenceCondition(RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)))
BOTH = FAST.with_(reference=LOOK.reference)


@pytest.fixture(scope="module")
def shared(tiny_tree: Path) -> Iterator[ModelRegistry]:
    yield ModelRegistry(ModelsFolder(tiny_tree / "models"), pick_runtime("cpu"))


@pytest.fixture
def own(tiny_copy: Path) -> ModelRegistry:
    return ModelRegistry(ModelsFolder(tiny_copy / "models"), pick_runtime("cpu"))


def latents(registry: ModelRegistry, request: GenerationRequest) -> np.ndarray[Any, Any]:
    made = generate(registry, request).images[0].latents
    assert made is not None
    return made


def bits(registry: ModelRegistry) -> list[tuple[int, bytes]]:
    """Address and contents of every weight of the UNet, as they are."""
    state = registry.part("unet").state_dict()
    return [(t.data_ptr(), t.contiguous().numpy().tobytes()) for t in state.values()]


def test_the_same_lora_again_merges_nothing(shared: ModelRegistry) -> None:
    latents(shared, FAST)
    version, before = shared.merger.version, bits(shared)
    latents(shared, FAST.with_(seed=6, steps=3))
    assert shared.merger.version == version and bits(shared) == before
    assert not shared.merger.plain


def test_there_and_back_is_the_same_bits_at_the_same_addresses(shared: ModelRegistry) -> None:
    """A -> B -> A over all pairs, pictures and weights."""
    requests = {"plain": PLAIN, "fast": FAST, "look": LOOK, "both": BOTH}
    first: dict[str, Any] = {}
    for name in ("plain", "fast", "plain", "look", "fast", "both", "look", "plain", "both", "fast"):
        made = latents(shared, requests[name])
        state = bits(shared)
        kept = first.setdefault(name, (made, state))
        assert np.array_equal(made, kept[0]) and state == kept[1], name
    assert first["fast"][1] != first["plain"][1]


def test_going_back_and_forth_exchanges_and_multiplies_once(
    own: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    products: list[int] = []
    monkeypatch.setattr(merging, "add_update", lambda *given: (products.append(1), add_update(*given)))
    for request in (FAST, PLAIN, FAST, PLAIN, FAST):
        latents(own, request)
    assert len(products) == len(own.part("lcm"))
    assert own.merger.bytes == sum(own.part("unet").get_submodule(name).weight.nbytes for name in own.part("lcm"))


def test_large_originals_on_a_cpu_come_from_the_file_and_take_no_memory(
    own: ModelRegistry, shared: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `worth keeping` is not: no copies at all, the same bits."""
    monkeypatch.setattr(registries, "HOST_COPIES_BYTES", 0)
    monkeypatch.setattr(merging, "_PORTION_BYTES", 1_000_000)
    latents(own, PLAIN)
    before = bits(own)
    for request in (FAST, BOTH, FAST):
        assert np.array_equal(latents(own, request), latents(shared, request))
        assert own.merger.bytes == 0
    own.merger.ensure([])
    assert bits(own) == before
    latents(own, FAST)
    assert own.evict("lcm") and own.merger.plain and bits(own) == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_that_was_replaced_meanwhile_is_never_mixed_in(
    own: ModelRegistry, tiny_copy: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Replaced before the merge: copies are made instead. After it: said in words, and no half-old UNet runs."""
    monkeypatch.setattr(registries, "HOST_COPIES_BYTES", 0)
    plain = latents(own, PLAIN)
    if when == "after":
        latents(own, FAST)
    path = tiny_copy / "models" / "arc2face" / "diffusion_pytorch_model.safetensors"
    shutil.copy(path, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
    if when == "before":
        latents(own, FAST)
        assert own.merger.bytes > 0 and np.array_equal(latents(own, PLAIN), plain)
        return
    for _ in range(2):
        with pytest.raises(CorruptWeightsError, match="replaced or removed while the program ran"):
            generate(own, PLAIN)
    assert np.array_equal(latents(ModelRegistry(own.models, own.runtime), PLAIN), plain)


@pytest.mark.parametrize("broken", ["add_update", "_copy_all"])
def test_a_failure_in_the_middle_leaves_nothing_half_merged(
    own: ModelRegistry, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """The state counts as unknown; the next run starts from the originals, whatever it wants."""
    plain, fast = latents(own, PLAIN), latents(own, FAST)
    own.merger.ensure([])
    before = bits(own)
    if broken == "add_update":
        own.merger.drop()  # so that the next merge multiplies
    calls: list[int] = []
    original = getattr(merging, broken)

    def fail(*given: Any) -> None:
        calls.append(1)
        if len(calls) == (40 if broken == "add_update" else 2):
            raise RuntimeError("told to fail")
        original(*given)

    with monkeypatch.context() as patch:
        patch.setattr(merging, broken, fail)
        with pytest.raises(RuntimeError, match="told to fail"):
            generate(own, FAST)
    assert not own.merger.plain
    assert np.array_equal(latents(own, PLAIN), plain) and bits(own) == before
    assert np.array_equal(latents(own, FAST), fast)


class Made(TorchDispatchMode):
    """The operations, and the largest tensor that one of them made anew."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.names.add(func._schema.name)
        if isinstance(made, Tensor) and func._schema.returns[0].alias_info is None:
            self.largest = max(self.largest, made.numel())
        return made


@pytest.mark.parametrize("shape", [(24, 16), (24, 16, 3, 3), (24, 16, 1, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_one_product_in_place_and_nothing_of_the_weights_size(
    shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(shape, generator=generator)
    down, up = (
        torch.randn((2, *shape[1:]), generator=generator).half(),
        torch.randn((24, 2), generator=generator).half(),
    )
    expected = weight + 0.7 * 0.5 * (up.float() @ down.float().flatten(1)).reshape(shape)
    if len(shape) == 4:
        weight = weight.to(memory_format=layout)
    address = weight.data_ptr()
    with Made() as made:
        add_update(weight, LoraUpdate(down, up, 0.5), 0.7)
    assert torch.allclose(weight, expected, atol=1e-6) and weight.data_ptr() == address
    assert "aten::addmm_" in made.names and made.largest < weight.numel()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_precisions_multiply_in_float32(dtype: torch.dtype) -> None:
    seeded = torch.Generator().manual_seed(3)
    weight, down, up = (torch.randn(size, generator=seeded) for size in ((240, 160), (2, 160), (240, 2)))
    weight = weight.to(dtype)
    exact = (weight.double() + 0.5 * (up.double() @ down.double())).float().to(dtype)
    coarse = torch.addmm(weight, up.to(dtype), down.to(dtype), alpha=0.5)
    add_update(weight, LoraUpdate(down, up, 1.0), 0.5)
    # Where float32 itself lies between two numbers of the coarse kind, it may round to the other one.
    assert torch.allclose(weight, exact, rtol=torch.finfo(dtype).eps, atol=torch.finfo(dtype).tiny)
    assert (weight == exact).float().mean() > 0.99 > (coarse == exact).float().mean()


def test_a_strength_of_zero_touches_nothing(shared: ModelRegistry) -> None:
    shared.merger.ensure([])
    version = shared.merger.version
    with shared.merger.merging([(shared.part("lcm"), 0.0)]):
        assert shared.merger.plain and shared.merger.version == version


def test_copies_in_use_are_never_dropped(shared: ModelRegistry) -> None:
    with shared.merger.merging([(shared.part("lcm"), 1.0)]):
        held = bits(shared)
        assert not shared.merger.drop() and bits(shared) == held
    shared.merger.drop()
    assert shared.merger.plain and shared.merger.bytes == 0
    assert bits(shared) != held


@pytest.mark.gpu
def test_a_switch_on_a_card_keeps_addresses_and_bits(tiny_tree: Path) -> None:
    registry = ModelRegistry(ModelsFolder(tiny_tree / "models"), pick_runtime("cuda"))
    unet: nn.Module = registry.part("unet")
    before = [(t.data_ptr(), t.clone()) for t in unet.state_dict().values()]
    for _ in range(3):
        latents(registry, FAST)
        latents(registry, PLAIN)
    for (address, value), now in zip(before, unet.state_dict().values(), strict=True):
        assert now.data_ptr() == address and torch.equal(now, value)
