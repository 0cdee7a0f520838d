"""The denoising loop: one UNet, guidance, and whatever the adapters added for this request.

A `Denoiser` holds the state of one run over `num_images` pictures. Adapters change it (and the UNet) while their
context managers are open. Row order with guidance is [unconditional * n, conditional * n].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from arc2face.diffusion.schedulers import make_scheduler
from arc2face.errors import CancelledError, SettingsError

Residuals = tuple[Sequence[Tensor], Tensor]
ResidualSource = Callable[[Tensor, Tensor, Tensor, int, int], Residuals | None]
"""(model input (B, C, h, w), timestep, prompt embeddings (B, L, D), step, steps) -> UNet residuals, or None."""


@dataclass
class Denoiser:
    """State of one run. `prompt`: (1, L, D) conditional, `negative`: (1, L, D) unconditional prompt embeddings."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    prompt: Tensor
    negative: Tensor
    num_images: int
    guidance_scale: float
    scheduler_name: str
    scheduler_config: dict[str, Any]
    cancelled: Callable[[], bool] = lambda: False
    residual_sources: list[ResidualSource] = field(default_factory=list[ResidualSource])

    @property
    def guided(self) -> bool:
        """Whether unconditional rows are computed at all."""
        return self.guidance_scale > 1.0

    @property
    def device(self) -> torch.device:
        """Device of the UNet."""
        return self.unet.device

    def check_cancelled(self) -> None:
        """Raise CancelledError when the caller asked to stop."""
        if self.cancelled():
            raise CancelledError("Stopped as you asked; nothing was kept.")

    def run(
        self,
        noise: Tensor,
        steps: int,
        generators: list[torch.Generator],
        step_noise: Tensor | None = None,
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """Denoise (n, C, h, w) standard normal `noise` to latents (not divided by the VAE's scaling factor).

        `generators`: one per picture, for samplers that draw noise. `step_noise`: (steps - 1, n, C, h, w) used
        instead of drawing. `on_step(step, x0)`: called after each step with the current estimate of the result.
        """
        scheduler = make_scheduler(self.scheduler_name, self.scheduler_config, steps, str(self.device))
        latents = noise.to(self.device, self.unet.dtype) * scheduler.init_noise_sigma
        rows = [self.negative, self.prompt] if self.guided else [self.prompt]
        prompt = torch.cat([row.expand(self.num_images, -1, -1) for row in rows])
        extra = {"generator": generators} if self.scheduler_name == "lcm" else {}
        total = len(scheduler.timesteps)
        if step_noise is not None and step_noise.shape != (total - 1, *noise.shape):
            raise SettingsError(
                f"step_noise must have shape {(total - 1, *noise.shape)}, not {tuple(step_noise.shape)}."
            )
        for step, timestep in enumerate(scheduler.timesteps):
            self.check_cancelled()
            prediction = self._predict(scheduler, latents, timestep, prompt, step, total)
            before = latents
            output = scheduler.step(prediction, timestep, latents, **extra)
            latents = output.prev_sample
            if step_noise is not None and step < total - 1:
                latents = _renoise(scheduler, output.denoised, step, step_noise[step])
            if on_step is not None:
                on_step(step + 1, _clean_estimate(scheduler, prediction, timestep, before))
        return latents

    def _predict(
        self, scheduler: Any, latents: Tensor, timestep: Tensor, prompt: Tensor, step: int, total: int
    ) -> Tensor:
        """Guided noise prediction (n, C, h, w)."""
        rows = torch.cat([latents, latents]) if self.guided else latents
        rows = scheduler.scale_model_input(rows, timestep)
        extra: dict[str, Any] = {}
        for source in self.residual_sources:
            residuals = source(rows, timestep, prompt, step, total)
            if residuals is not None:
                extra = {"down_block_additional_residuals": residuals[0], "mid_block_additional_residual": residuals[1]}
        prediction = self.unet(rows, timestep, encoder_hidden_states=prompt, return_dict=False, **extra)[0]
        if not self.guided:
            return prediction
        unconditional, conditional = prediction.chunk(2)
        return unconditional + self.guidance_scale * (conditional - unconditional)


def _renoise(scheduler: Any, denoised: Tensor, step: int, noise: Tensor) -> Tensor:
    """LCM's multistep renoising (arXiv 2310.04378, algorithm 3) with given noise."""
    alpha = scheduler.alphas_cumprod[scheduler.timesteps[step + 1]].to(denoised.device)
    noise = noise.to(denoised.device, denoised.dtype)
    return alpha.sqrt() * denoised + (1 - alpha).sqrt() * noise


def _clean_estimate(scheduler: Any, prediction: Tensor, timestep: Tensor, latents: Tensor) -> Tensor:
    """x0 of the first picture, (C, h, w), for the preview. Good enough for the eye in every sampler."""
    alpha = scheduler.alphas_cumprod[int(timestep)].to(latents.device)
    sample = latents[0]
    if float(scheduler.init_noise_sigma) > 1.5:  # variance-exploding samplers (Euler) keep x0 + sigma * noise
        sample = sample * alpha.sqrt()
    if scheduler.config.prediction_type == "v_prediction":
        return alpha.sqrt() * sample - (1 - alpha).sqrt() * prediction[0]
    return (sample - (1 - alpha).sqrt() * prediction[0]) / alpha.sqrt()
