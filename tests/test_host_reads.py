"""No step of any sampler reads a number back from the device (issue 12: 0 host reads, counted on fake CUDA tensors)."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from arc2face.diffusion.denoising import Denoiser
from arc2face.diffusion.device import Placement
from arc2face.diffusion.forward import ControlSource, ExpressionTokens, control_for
from arc2face.diffusion.loading import load_scheduler_config
from arc2face.diffusion.merging import WeightMerger
from arc2face.types import SCHEDULERS
from arc2face.weights.folder import ModelsFolder
from tests.fake_cuda import FakeCuda, HostReads

SHAPE = {"layers_per_block": 1, "block_out_channels": (32, 64), "cross_attention_dim": 32}
UNET = {
    **SHAPE,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
CONTROL = {**SHAPE, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D")}


@pytest.fixture(scope="module")
def device() -> FakeCuda:
    return FakeCuda()


def denoiser(device: FakeCuda, config: dict[str, Any], scheduler: str, guidance: float) -> Denoiser:
    with torch.device("meta"):
        network = UNet2DConditionModel(**UNET).eval().requires_grad_(False)  # type: ignore[arg-type]
    unet, prompt = device.module(network), device.tensor(1, 77, 32)

    @contextmanager
    def borrow(name: str) -> Any:
        yield None

    return Denoiser(
        unet=unet,
        merger=WeightMerger(unet, Placement("cuda"), None),  # type: ignore[arg-type]
        borrow=borrow,
        prompt=prompt,
        negative=prompt,
        num_images=2,
        guidance_scale=guidance,
        scheduler_name=scheduler,
        scheduler_config=config,
    )


def reads(device: FakeCuda, run: Denoiser, watch: bool) -> dict[str, int]:
    """Host reads of a run of four steps; `watch`: somebody asks for the estimate after each."""
    generators = [torch.Generator().manual_seed(k) for k in range(2)]
    with torch.no_grad(), HostReads(device) as counted:
        made = run.run(
            torch.empty(2, 4, 16, 16),
            4,
            generators,
            on_step=lambda step, estimate: watch and estimate is not None and estimate(),
        )
    assert made.device.type == "cuda" and made.shape == (2, 4, 16, 16)
    return dict(counted.counts)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_no_sampler_reads_from_the_device(device: FakeCuda, tiny_tree: Path, scheduler: str) -> None:
    """Before: 4 (dpm++, unipc, euler) to 28 (ddim) in four steps, one more each for the clean estimate."""
    config = load_scheduler_config(ModelsFolder(tiny_tree / "models"))
    run = denoiser(device, config, scheduler, 1.0 if scheduler == "lcm" else 3.0)
    assert reads(device, run, watch=True) == {}


def test_neither_do_pose_expression_and_reference(device: FakeCuda, tiny_tree: Path) -> None:
    run = denoiser(device, load_scheduler_config(ModelsFolder(tiny_tree / "models")), "dpm++", 3.0)
    with torch.device("meta"):
        network = ControlNetModel(**CONTROL).eval().requires_grad_(False)  # type: ignore[arg-type]
    control = ControlSource(control_for(device.module(network)), device.tensor(1, 32, 16, 16), 0.7, lambda *_: True, 2)
    names = [name for name in run.unet.attn_processors if "attn2" in name]
    layers: dict[str, Any] = {name: run.unet.get_submodule(name.removesuffix(".processor")) for name in names}
    keys = {name: layer.to_k.weight for name, layer in layers.items()}
    tokens = ExpressionTokens(device.tensor(4, 4, 32), {name: (k, k) for name, k in keys.items()}, 0.5)
    with HostReads(device) as counted:
        bank = run.record(device.tensor(1, 4, 16, 16))
    assert not counted.counts
    with run.residuals_from(control), run.expressing(tokens), run.reading(bank):
        assert reads(device, run, watch=False) == {}


def test_the_count_sees_a_read(device: FakeCuda) -> None:
    tensor, table = device.tensor(3, dtype=torch.long), torch.arange(1000)
    with HostReads(device) as counted:
        int(tensor[0])
        bool(tensor[0])
        tensor.cpu()
        _ = table[tensor[0]]
    assert counted.counts.total() == 4
