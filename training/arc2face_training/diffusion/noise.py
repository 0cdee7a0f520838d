"""Stable Diffusion 1.5's noise schedule and the algebra between its three parameterisations.

x_t = a x_0 + s e with a = sqrt(abar_t), s = sqrt(1 - abar_t); v = a e - s x_0 (arXiv 2202.00512, appendix D).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

TIMESTEPS = 1000
Prediction = Literal["epsilon", "v_prediction"]
SCHEDULER_CONFIG: dict[str, object] = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": TIMESTEPS,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "clip_sample": False,
    "trained_betas": None,
}
"""scheduler_config.json of SD 1.5; `prediction_type` is added on export."""


def alphas_cumprod() -> Tensor:
    """(1000,) float32 abar_t of the scaled-linear schedule."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def amounts(abar: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """a and s of each row, (B, 1, 1, 1)."""
    level = abar.to(timesteps.device)[timesteps].view(-1, 1, 1, 1)
    return level.sqrt(), (1 - level).sqrt()


def target(prediction: Prediction, clean: Tensor, noise: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """What the network is asked for."""
    return noise if prediction == "epsilon" else a * noise - s * clean


def to_clean(prediction: Prediction, output: Tensor, noisy: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """The network's x_0."""
    return (noisy - s * output) / a if prediction == "epsilon" else a * noisy - s * output


def to_noise(prediction: Prediction, output: Tensor, noisy: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """The network's noise."""
    return output if prediction == "epsilon" else a * output + s * noisy


def draw_timesteps(rng: np.random.Generator, n: int, high_share: float) -> Tensor:
    """(n,) int64. A share of them falls in the noisier half only, where identity and layout are decided."""
    low = np.where(rng.random(n) < high_share, TIMESTEPS // 2, 0)
    return torch.from_numpy((low + rng.random(n) * (TIMESTEPS - low)).astype(np.int64))
