"""Small samplers for validation pictures and for tests; the product samples through arc2face.engine."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import DPMSolverMultistepScheduler, LCMScheduler
from torch import Tensor

from arc2face_training.diffusion.noise import SCHEDULER_CONFIG, Prediction

Predict = Callable[[Tensor, Tensor], Tensor]
"""(noisy latents (B, C, h, w), timesteps (B,)) -> network output."""


def sample(predict: Predict, noise: Tensor, prediction: Prediction, steps: int = 20, fast: bool = False) -> Tensor:
    """Denoise from standard normal `noise` with DPM-Solver++, or with LCM's sampler when `fast`."""
    cls = LCMScheduler if fast else DPMSolverMultistepScheduler
    known = {key: value for key, value in SCHEDULER_CONFIG.items() if key in cls._get_init_keys(cls)}  # type: ignore[attr-defined]
    scheduler = cls(**{**known, "prediction_type": prediction})
    scheduler.set_timesteps(steps, device=noise.device)
    latents = noise * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        output = predict(latents, timestep.expand(len(latents)))
        latents = scheduler.step(output, timestep, latents, return_dict=False)[0]
    return latents


def guided(predict: Callable[[Tensor, Tensor, bool], Tensor], scale: float) -> Predict:
    """Classifier-free guidance over `predict(noisy, timesteps, conditional)`."""

    def both(noisy: Tensor, timesteps: Tensor) -> Tensor:
        without = predict(noisy, timesteps, False)
        return without + scale * (predict(noisy, timesteps, True) - without)

    return both


def fixed_noise(shape: tuple[int, ...], device: torch.device, seed: int = 0) -> Tensor:
    """Standard normal noise that does not depend on the device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
