"""The denoising loop: one UNet, guidance, and whatever the adapters added for this request.

A `Denoiser` holds the state of one run over `num_images` pictures. Adapters change it (and the UNet) while their
context managers are open. Row order with guidance is [unconditional * n, conditional * n].
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from arc2face.diffusion.float32 import float32_defaults
from arc2face.diffusion.hooks import Hooks, Residuals, ResidualSource, Step, summed
from arc2face.diffusion.lora import LoraWeights
from arc2face.diffusion.merging import WeightMerger
from arc2face.diffusion.schedulers import make_scheduler, takes_generator
from arc2face.errors import CancelledError, SettingsError

__all__ = ["Denoiser", "ResidualSource", "Residuals", "Step"]


@dataclass
class Denoiser:
    """State of one run. `prompt`: (1, L, D) conditional, `negative`: (1, L, D) unconditional prompt embeddings.

    `first`: number of this run's first picture within the request. `merger`: puts LoRAs into the UNet's weights.
    `borrow`: `with run.borrow("vae") as vae:` is a base part on the device for the body.
    `before_step`, `after_step`: the adapters' step hooks (`with run.before_step.added(hook, order=0):`).
    """

    unet: UNet2DConditionModel
    merger: WeightMerger
    borrow: Callable[[str], AbstractContextManager[Any]]
    prompt: Tensor
    negative: Tensor
    num_images: int
    guidance_scale: float
    scheduler_name: str
    scheduler_config: dict[str, Any]
    cancelled: Callable[[], bool] = lambda: False
    first: int = 0
    residual_sources: list[ResidualSource] = field(default_factory=list[ResidualSource])
    before_step: Hooks = field(default_factory=Hooks)
    after_step: Hooks = field(default_factory=Hooks)

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

    @contextmanager
    def residuals_from(self, source: ResidualSource) -> Generator[None]:
        """Add the residuals of `source` to the UNet for the body; those of several sources add up."""
        self.residual_sources.append(source)
        try:
            yield
        finally:
            self.residual_sources = [other for other in self.residual_sources if other is not source]

    def merged(self, lora: LoraWeights, strength: float) -> AbstractContextManager[None]:
        """Merge a LoRA into the UNet's weights for the body; they come back bit for bit."""
        return self.merger.merged(lora, strength)

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
        extra = {"generator": generators} if takes_generator(scheduler) else {}
        total = len(scheduler.timesteps)
        if step_noise is not None and step_noise.shape != (total - 1, *noise.shape):
            raise SettingsError(
                f"step_noise must have shape {(total - 1, *noise.shape)}, not {tuple(step_noise.shape)}."
            )
        for step, timestep in enumerate(scheduler.timesteps):
            self.check_cancelled()
            state = Step(step, total, timestep, latents, prompt, self.first)
            self.before_step(state)
            before = state.latents
            prediction = self._predict(scheduler, before, timestep, state.prompt, step, total)
            with float32_defaults():
                output = scheduler.step(prediction, timestep, before, **extra)
            state.latents = output.prev_sample
            if step_noise is not None and step < total - 1:
                state.latents = _renoise(scheduler, output.denoised, step, step_noise[step])
            self.after_step(state)
            latents = state.latents
            if on_step is not None:
                on_step(step + 1, _clean_estimate(scheduler, prediction, timestep, before))
        return latents

    def _predict(
        self, scheduler: Any, latents: Tensor, timestep: Tensor, prompt: Tensor, step: int, total: int
    ) -> Tensor:
        """Guided noise prediction (n, C, h, w)."""
        rows = torch.cat([latents, latents]) if self.guided else latents
        rows = scheduler.scale_model_input(rows, timestep)
        extra = summed(source(rows, timestep, prompt, step, total) for source in self.residual_sources)
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
