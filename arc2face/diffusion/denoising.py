"""The denoising loop: one UNet, guidance, and whatever the adapters gave for this request.

A `Denoiser` holds the state of one run over `num_images` pictures. Adapters give it inputs while their context managers
are open: LoRAs, expression tokens, a recorded reference, residuals, step hooks. The schedule lies in host memory and
the loop reads nothing back from the device. Row order with guidance is [unconditional * n, conditional * n].
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from arc2face.diffusion.float32 import float32_defaults
from arc2face.diffusion.forward import Conditions, ControlSource, ExpressionTokens, Network, UNetForward, network_for
from arc2face.diffusion.forward.conditions import Bank
from arc2face.diffusion.graphs.denoise import Plan, check_step_noise, denoise_captured
from arc2face.diffusion.graphs.fastpath import FastPath
from arc2face.diffusion.graphs.run import Watch
from arc2face.diffusion.hooks import Hooks, Residuals, ResidualSource, Step, summed
from arc2face.diffusion.lora import LoraWeights
from arc2face.diffusion.merging import WeightMerger
from arc2face.diffusion.schedulers import make_scheduler, takes_generator
from arc2face.errors import CancelledError, SettingsError
from arc2face.settings import GUIDANCE_SHARE

__all__ = ["Denoiser", "ResidualSource", "Residuals", "Step"]

Estimate = Callable[[], Tensor]
"""Makes the current estimate of the watched pictures' results, (k, C, h, w)."""
OnStep = Callable[[int, Estimate | None], None]
"""(steps done, estimate, or None when there is no new one)."""


@dataclass
class Denoiser:
    """State of one run. `prompt`: (1, L, D) conditional, `negative`: (1, L, D) unconditional prompt embeddings.

    `first`: number of this run's first picture within the request. `merger`: puts LoRAs into the UNet's weights.
    `borrow`: `with run.borrow("vae") as vae:` is a base part on the device for the body.
    `before_step`, `after_step`: the adapters' step hooks (`with run.before_step.added(hook, order=0):`).
    `network`: the UNet's own forward, made from `unet` when None; a UNet that it cannot run (an adapter swapped its
    attention processors, say) runs with diffusers' forward.
    `fast`: captured steps, where there are any. `guidance`: (n, 1, 1, 1) float32, where the pictures differ in it.
    `watched`: pictures whose estimates are wanted. `guidance_share`: between which shares of the steps guidance acts.
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
    network: UNetForward | None = None
    loras: tuple[tuple[LoraWeights, float], ...] = ()
    expression: ExpressionTokens | None = None
    bank: Bank | None = None
    fast: FastPath | None = None
    guidance: Tensor | None = None
    watched: Sequence[int] = (0,)
    guidance_share: tuple[float, float] = GUIDANCE_SHARE

    @property
    def guided(self) -> bool:
        """Whether unconditional rows are computed at all."""
        return self.guidance_scale > 1.0

    def guides(self, step: int, steps: int) -> bool:
        """Whether they are computed at a step (from 0)."""
        return self.guided and self.guidance_share[0] <= step / steps < self.guidance_share[1]

    @property
    def device(self) -> torch.device:
        """Device of the UNet and of the prompt."""
        return self.prompt.device

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

    @contextmanager
    def merged(self, lora: LoraWeights, strength: float) -> Generator[None]:
        """Run with a LoRA in the UNet's weights for the body; several add up, in their order."""
        before = self.loras
        self.loras = (*before, (lora, strength))
        try:
            yield
        finally:
            self.loras = before

    @contextmanager
    def expressing(self, tokens: ExpressionTokens) -> Generator[None]:
        """Run with a second cross-attention for the body. Raises SettingsError when another adapter gives one."""
        if self.expression is not None:
            raise SettingsError("Two adapters give expression tokens, and a run takes one set. Leave one of them out.")
        self.expression = tokens
        try:
            yield
        finally:
            self.expression = None

    @contextmanager
    def reading(self, bank: Bank) -> Generator[None]:
        """Let the conditional rows also attend to a recording for the body. Raises SettingsError for a second one."""
        if self.bank is not None:
            raise SettingsError("Two adapters give a recorded picture, and a run reads one. Leave one of them out.")
        self.bank = bank
        try:
            yield
        finally:
            self.bank = None

    def record(self, latents: Tensor) -> Bank:
        """What the plain UNet (no LoRA) sees of clean `latents` (m, C, h, w) with this run's prompt, at t = 0."""
        with self.merger.merging([]):
            return self._network().record(latents.to(self.prompt), self.prompt)

    def run(
        self,
        noise: Tensor,
        steps: int,
        generators: list[torch.Generator],
        step_noise: Tensor | None = None,
        on_step: OnStep = lambda step, estimate: None,
    ) -> Tensor:
        """Denoise (n, C, h, w) standard normal `noise` to float32 latents (not divided by the VAE's scaling factor).

        `generators`: one per picture, for samplers that draw noise. `step_noise`: (steps - 1, n, C, h, w) used
        instead of drawing. `on_step(step, estimate)`: called after each step.
        """
        made = self._captured(noise, steps, generators, step_noise, on_step)
        if made is not None:
            return made
        scheduler = make_scheduler(self.scheduler_name, self.scheduler_config, steps)
        check_step_noise(step_noise, len(scheduler.timesteps), noise)
        with self.merger.merging(self.loras):
            return self._steps(scheduler, noise, generators, step_noise, on_step)

    def conditions(self) -> Conditions:
        """What the UNet is conditioned on in every step, rows as in the loop."""
        rows = [self.negative, self.prompt] if self.guided else [self.prompt]
        prompt = torch.cat([row.expand(self.num_images, -1, -1) for row in rows])
        return Conditions(prompt, self.guided, self.expression, self.bank)

    def _captured(
        self,
        noise: Tensor,
        steps: int,
        generators: list[torch.Generator],
        step_noise: Tensor | None,
        on_step: OnStep,
    ) -> Tensor | None:
        """The same on captured steps, None where this run goes plainly: what a hook does is not known beforehand."""
        if self.fast is None or not self.fast.on or len(self.before_step) or len(self.after_step):
            return None

        def told(step: int, estimate: Tensor | None) -> None:
            on_step(step, None if estimate is None else lambda: estimate)

        with self.merger.merging(self.loras):
            plan = Plan(
                network=self._network(),
                conditions=self.conditions(),
                sources=self.residual_sources,
                guides=[self.guides(step, steps) for step in range(steps)],
                guidance=self._guidance(),
                sampler=self.scheduler_name,
                config=self.scheduler_config,
                steps=steps,
                noise=noise,
                generators=generators,
                step_noise=step_noise,
            )
            return denoise_captured(self.fast, plan, Watch(told, self.check_cancelled, self.watched))

    def _guidance(self) -> Tensor:
        """(n, 1, 1, 1) float32 on the device."""
        if self.guidance is not None:
            return self.guidance
        shape = (self.num_images, 1, 1, 1)
        return torch.full(shape, self.guidance_scale, dtype=torch.float32, device=self.device)

    def _steps(
        self,
        scheduler: Any,
        noise: Tensor,
        generators: list[torch.Generator],
        step_noise: Tensor | None,
        on_step: OnStep,
    ) -> Tensor:
        latents = noise.to(self.device, torch.float32) * scheduler.init_noise_sigma
        extra = {"generator": generators} if takes_generator(scheduler) else {}
        total = len(scheduler.timesteps)
        renoise = None if step_noise is None else step_noise.to(self.device, torch.float32)
        guides = [self.guides(step, total) for step in range(total)]
        calls = {guided: self._calls(guided, scheduler.timesteps) for guided in dict.fromkeys(guides)}
        for step, timestep in enumerate(scheduler.timesteps):
            self.check_cancelled()
            call, guided = calls[guides[step]], guides[step]
            state = Step(step, total, timestep, latents, call.given.prompt, self.first)
            self.before_step(state)
            before = state.latents
            rows = scheduler.scale_model_input(before, timestep).to(self.prompt.dtype)
            prediction = self._guide(call.predict(torch.cat([rows, rows]) if guided else rows, state), guided)
            with float32_defaults():
                output = scheduler.step(prediction, timestep, before, **extra)
            state.latents = output.prev_sample
            if renoise is not None and step < total - 1:
                state.latents = _renoise(scheduler, output.denoised, step, renoise[step])
            self.after_step(state)
            latents = state.latents
            on_step(step + 1, partial(_clean_estimate, scheduler, prediction, timestep, before, self.watched))
        return latents

    def _network(self) -> Network:
        return network_for(self.unet, self.network)

    def _calls(self, guided: bool, timesteps: Tensor) -> _Calls:
        """The UNet's calls at steps with guidance, or without."""
        given, sources = self.conditions(), self.residual_sources
        if self.guided and not guided:
            given, sources = given.conditional(), _conditional(sources, self.num_images)
        return _Calls(self._network(), given, timesteps, sources)

    def _guide(self, prediction: Tensor, guided: bool) -> Tensor:
        """The rows' noise predictions to the guided one, (n, C, h, w) float32."""
        prediction = prediction.float()
        if not guided:
            return prediction
        unconditional, conditional = prediction.chunk(2)
        scale = self.guidance_scale if self.guidance is None else self.guidance
        return unconditional + scale * (conditional - unconditional)


def _conditional(sources: Sequence[ResidualSource], count: int) -> list[ResidualSource]:
    return [source.conditional(count) if isinstance(source, ControlSource) else source for source in sources]


class _Calls:
    """The UNet's calls of one run: inputs are prepared once, and anew for a step whose prompt a hook replaced."""

    def __init__(self, network: Network, given: Conditions, timesteps: Tensor, sources: list[ResidualSource]) -> None:
        self.network, self.given, self.timesteps, self.sources = network, given, timesteps, sources
        self.inputs = network.prepare(given, timesteps)
        for source in sources:
            if isinstance(source, ControlSource):
                source.prepare(given.prompt, timesteps)

    def predict(self, rows: Tensor, state: Step) -> Tensor:
        """(B, C, h, w) -> noise predictions of all rows."""
        given = [source(rows, state.timestep, state.prompt, state.number, state.total) for source in self.sources]
        residuals = summed(given)
        if state.prompt is self.given.prompt:
            return self.network.predict(rows, self.inputs, state.number, residuals)
        alone = self.timesteps[state.number : state.number + 1]
        return self.network.predict(
            rows, self.network.prepare(replace(self.given, prompt=state.prompt), alone), 0, residuals
        )


def _renoise(scheduler: Any, denoised: Tensor, step: int, noise: Tensor) -> Tensor:
    """LCM's multistep renoising (arXiv 2310.04378, algorithm 3) with given noise."""
    alpha = scheduler.alphas_cumprod[scheduler.timesteps[step + 1]]
    return alpha.sqrt() * denoised + (1 - alpha).sqrt() * noise


def _clean_estimate(
    scheduler: Any, prediction: Tensor, timestep: Tensor, latents: Tensor, pictures: Sequence[int]
) -> Tensor:
    """x0 of some pictures, (k, C, h, w), for the preview. Good enough for the eye in every sampler."""
    alpha = scheduler.alphas_cumprod[int(timestep)]
    sample, output = (torch.stack([tensor[k] for k in pictures]) for tensor in (latents, prediction))
    if float(scheduler.init_noise_sigma) > 1.5:  # variance-exploding samplers (Euler) keep x0 + sigma * noise
        sample = sample * alpha.sqrt()
    if scheduler.config.prediction_type == "v_prediction":
        return alpha.sqrt() * sample - (1 - alpha).sqrt() * output
    return (sample - (1 - alpha).sqrt() * output) / alpha.sqrt()
