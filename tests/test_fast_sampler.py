"""Sampler tables against diffusers' own steps: the same numbers, and a refusal where they could not be the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from arc2face.diffusion.graphs.sampler import COLUMNS, History, advance, sampler_table
from arc2face.diffusion.schedulers import make_scheduler
from arc2face.settings import SCHEDULERS

SHAPE = (2, 4, 8, 8)
MIX = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.4


@pytest.fixture(scope="module")
def config(tiny_tree: Path) -> dict[str, Any]:
    return json.loads((tiny_tree / "stable-diffusion-v1-5" / "scheduler" / "scheduler_config.json").read_text())


def network(x: Tensor) -> Tensor:
    """A nonlinear stand-in for the denoiser whose output has about the size of its input."""
    mixed = torch.einsum("ij,njhw->nihw", MIX.to(x.dtype), x)
    return torch.tanh(mixed) + 0.3 * torch.sin(3 * x) + 0.5 * x / (1 + x.abs())


def noises(steps: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(SHAPE, generator=generator), torch.randn((steps, *SHAPE), generator=generator)


def by_diffusers(name: str, config: dict[str, Any], steps: int) -> Tensor:
    scheduler = make_scheduler(name, config, steps, "cpu")
    start, drawn = noises(steps)
    x = start * scheduler.init_noise_sigma
    for k, timestep in enumerate(scheduler.timesteps):
        made = scheduler.step(network(scheduler.scale_model_input(x, timestep)), timestep, x)
        x = made.prev_sample
        if name == "lcm" and k < steps - 1:
            share = scheduler.alphas_cumprod[scheduler.timesteps[k + 1]]
            x = share.sqrt() * made.denoised + (1 - share).sqrt() * drawn[k]
    return x


def by_table(name: str, config: dict[str, Any], steps: int) -> tuple[Tensor, Tensor]:
    table = sampler_table(name, config, steps)
    assert table is not None
    start, drawn = noises(steps)
    history, estimate = History.zeros(SHAPE, torch.device("cpu")), torch.empty(0)
    history.latents.copy_(start * table.start)
    for row, noise in zip(table.rows.float(), drawn, strict=True):
        estimate = advance(history, network(row[0] * history.latents), row, noise)
    return history.latents, estimate


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize(("name", "steps"), [(name, steps) for name in SCHEDULERS for steps in (1, 2, 4, 8, 25)][:-1])
def test_a_table_walks_as_diffusers_does(name: str, steps: int, config: dict[str, Any]) -> None:
    """The last pair is left out: LCM takes at most eight steps."""
    ours, estimate = by_table(name, config, steps)
    assert relative(ours, by_diffusers(name, config, steps)) < 1e-6
    assert torch.isfinite(estimate).all()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_networks_that_predict_something_else(name: str, config: dict[str, Any]) -> None:
    for prediction in ("v_prediction", "sample"):
        changed = {**config, "prediction_type": prediction}
        assert relative(by_table(name, changed, 6)[0], by_diffusers(name, changed, 6)) < 1e-5


@pytest.mark.parametrize(
    ("name", "switch"),
    [
        ("dpm++", {"solver_order": 3}),
        ("dpm++", {"solver_type": "heun"}),
        ("dpm++", {"algorithm_type": "sde-dpmsolver++"}),
        ("dpm++", {"thresholding": True}),
        ("unipc", {"solver_type": "bh1"}),
        ("unipc", {"predict_x0": False}),
        ("unipc", {"lower_order_final": False}),
        ("ddim", {"thresholding": True}),
    ],
)
def test_a_config_that_the_table_does_not_know_is_noticed(
    name: str, switch: dict[str, Any], config: dict[str, Any]
) -> None:
    assert sampler_table(name, {**config, **switch}, 25) is None


def test_switches_that_the_table_does_know(config: dict[str, Any]) -> None:
    for switch in ({"use_karras_sigmas": True}, {"final_sigmas_type": "sigma_min"}, {"timestep_spacing": "trailing"}):
        for name in ("dpm++", "unipc"):
            changed = {**config, **switch}
            assert relative(by_table(name, changed, 20)[0], by_diffusers(name, changed, 20)) < 1e-6


def test_only_lcm_draws_and_not_at_its_last_step(config: dict[str, Any]) -> None:
    tables = {name: sampler_table(name, config, 4) for name in SCHEDULERS}
    assert [name for name, table in tables.items() if table.draws] == ["lcm"]
    noise = tables["lcm"].rows[:, COLUMNS.index("u")]
    assert (noise[:3] > 0).all() and noise[3] == 0


def test_a_step_reads_no_number_on_the_host(config: dict[str, Any]) -> None:
    """On meta tensors there is no number to read."""
    history = History.zeros(SHAPE, torch.device("meta"))
    estimate = advance(history, torch.empty(SHAPE, device="meta"), torch.empty(12, device="meta"), None)
    assert estimate.shape == SHAPE
