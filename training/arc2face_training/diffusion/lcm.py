"""LCM-LoRA: few-step sampling by latent consistency distillation (arXiv 2310.04378, 2311.05556).

A LoRA on the frozen UNet learns f(z_t) = c_skip z_t + c_out x_0(z_t) to agree along the guided probability-flow ODE:
from t the frozen UNet takes one DDIM step of `skip` timesteps with guidance w, and f there (without gradient) is the
target at t. Guidance is thus distilled in; fast mode runs without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from arc2face_training.common.loop import Batch, DrawBatch, Loop, LoopConfig, Objective, Turn
from arc2face_training.common.session import Session
from arc2face_training.common.sources import DataConfig, Latents, Source, open_source
from arc2face_training.diffusion.denoising_loss import latents_of
from arc2face_training.diffusion.latents import cached_latents
from arc2face_training.diffusion.lora import LoraLayer, is_lcm_target, kohya_state, switch, wrap
from arc2face_training.diffusion.noise import TIMESTEPS, Prediction, alphas_cumprod, amounts, to_clean, to_noise
from arc2face_training.diffusion.parts import Bundle, save_tensors
from arc2face_training.diffusion.text import Prompts

SIGMA_DATA = 0.5
TIMESTEP_SCALING = 10.0


@dataclass(frozen=True)
class LcmConfig:
    """`rank` 64 and `alpha` 8 in the published LCM-LoRA. `guidance`: lowest and highest w drawn per row.

    `ddim_steps`: length of the teacher's schedule; one distillation step skips 1000 / ddim_steps timesteps.
    `huber`: constant of the pseudo-Huber loss. `start_share`: share of the rows that start from pure noise.
    `solve`: 0 for the published target, the student's own prediction one step earlier. Otherwise the teacher walks from
    t to 0 in so many guided steps, and f(z_t) shall agree with where it ends: the same condition with the step chosen
    so long that the target is f at 0, which is the identity. It costs more per picture but cannot drift, and a short
    run needs that (see LOG.md).
    """

    rank: int = 64
    alpha: float = 8.0
    guidance: tuple[float, float] = (3.0, 3.0)
    ddim_steps: int = 50
    huber: float = 0.001
    start_share: float = 0.0
    solve: int = 0
    bundle: Path = Path("models/starter")
    data: DataConfig = field(default_factory=DataConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    output: Path = Path("models/starter")


class LcmObjective(Objective):
    """The consistency loss of a batch."""

    def __init__(
        self,
        config: LcmConfig,
        unet: UNet2DConditionModel,
        prompts: Prompts,
        vae: AutoencoderKL,
        prediction: Prediction,
    ) -> None:
        super().__init__()
        self.config, self.prompts, self.vae, self.prediction = config, prompts, vae, prediction
        self.unet = unet.requires_grad_(False)
        self.layers = wrap(unet, is_lcm_target, config.rank, config.alpha)
        self.register_buffer("abar", alphas_cumprod(), persistent=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`latents` or `pixels`, `identity`, `timesteps` (of the DDIM grid), `guidance` (B,), `pure` (B,) bool."""
        clean = latents_of(batch, self.vae)
        noise = torch.randn_like(clean)
        start = batch["timesteps"]
        end = (start - TIMESTEPS // self.config.ddim_steps).clamp(min=0)
        a, s = amounts(self.abar, start)
        noisy = torch.where(batch["pure"].view(-1, 1, 1, 1), noise, a * clean + s * noise)
        with torch.no_grad():
            prompt = self.prompts(batch["identity"])
            empty = self.prompts(batch["identity"], torch.ones_like(batch["pure"]))
            if self.config.solve:
                wanted = self.walk(noisy, start, prompt, empty, batch["guidance"])
            else:
                earlier = self.teacher_step(noisy, start, end, prompt, empty, batch["guidance"])
                wanted = self.consistency(earlier, end, prompt)
        error = self.consistency(noisy, start, prompt) - wanted
        loss = (error.square() + self.config.huber**2).sqrt().mean() - self.config.huber
        return {"loss": loss}

    def teacher_step(
        self, noisy: Tensor, start: Tensor, end: Tensor, prompt: Tensor, empty: Tensor, w: Tensor
    ) -> Tensor:
        """One guided DDIM step of the frozen UNet from `start` to `end`."""
        switch(self.layers, False)
        try:
            output = self.unet(torch.cat([noisy, noisy]), torch.cat([start, start]), torch.cat([empty, prompt])).sample
        finally:
            switch(self.layers, True)
        without, with_identity = output.float().chunk(2)
        guided = without + w.view(-1, 1, 1, 1) * (with_identity - without)
        a, s = amounts(self.abar, start)
        clean = to_clean(self.prediction, guided, noisy, a, s)
        noise = to_noise(self.prediction, guided, noisy, a, s)
        a_end, s_end = amounts(self.abar, end)
        return a_end * clean + s_end * noise

    def walk(self, noisy: Tensor, start: Tensor, prompt: Tensor, empty: Tensor, w: Tensor) -> Tensor:
        """Where the frozen UNet arrives at t = 0 in `solve` guided steps of equal length."""
        for left in range(self.config.solve, 0, -1):
            at = (start * left) // self.config.solve
            after = (start * (left - 1)) // self.config.solve
            noisy = self.teacher_step(noisy, at, after, prompt, empty, w)
        return noisy

    def consistency(self, noisy: Tensor, timesteps: Tensor, prompt: Tensor) -> Tensor:
        """f(z_t), (B, C, h, w); the identity at t = 0."""
        a, s = amounts(self.abar, timesteps)
        output = self.unet(noisy, timesteps, prompt).sample.float()
        scaled = (timesteps * TIMESTEP_SCALING).float().view(-1, 1, 1, 1)
        skip = SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2)
        out = scaled / (scaled**2 + SIGMA_DATA**2).sqrt()
        return skip * noisy + out * to_clean(self.prediction, output, noisy, a, s)


def train(config: LcmConfig, out: Path, resume: bool = True) -> dict[str, float]:
    """Train (a piece); export `lcm-lora-sdv1-5/pytorch_lora_weights.safetensors` when finished."""
    session, bundle = Session(config.loop), Bundle(config.bundle)
    source = open_source(config.data, session, ("embedding",))
    torch.manual_seed(config.loop.seed)
    objective = make_objective(config, bundle)
    loop = Loop(session, objective, out, config, resume)
    latents = cached_latents(source, objective.vae, out, session)
    outcome = loop.run(_drawer(config, source, latents))
    if outcome.export:
        with loop.average.applied():
            export(objective.layers, config.output)
    return outcome.figures()


def make_objective(config: LcmConfig, bundle: Bundle) -> LcmObjective:
    """Frozen parts of the bundle with a fresh LoRA."""
    prompts = Prompts(bundle.encoder(), bundle.tokenizer()).requires_grad_(False)
    return LcmObjective(config, bundle.unet(), prompts, bundle.vae(), bundle.prediction())


def export(layers: dict[str, LoraLayer], root: Path) -> None:
    """Write the LoRA in the kohya naming of the original."""
    save_tensors(kohya_state(layers), root / "lcm-lora-sdv1-5" / "pytorch_lora_weights.safetensors")


def _drawer(config: LcmConfig, source: Source, latents: Latents | None) -> DrawBatch:
    step = TIMESTEPS // config.ddim_steps

    def draw(turn: Turn, n: int) -> Batch:
        rng = turn.rng
        batch = source.draw(rng, n, ("pixels", "identity"), latents)
        pure = rng.random(n) < config.start_share
        place = np.where(pure, config.ddim_steps, rng.integers(1, config.ddim_steps + 1, n))
        batch["timesteps"] = torch.from_numpy(place * step - 1)
        batch["guidance"] = torch.from_numpy(rng.uniform(*config.guidance, n).astype(np.float32))
        batch["pure"] = torch.from_numpy(pure)
        return batch

    return draw
