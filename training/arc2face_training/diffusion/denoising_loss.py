"""The noise-prediction loss shared by the identity UNet, the ControlNet and the expression adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor

from arc2face_training.common.loop import Batch, Objective
from arc2face_training.diffusion.expression_module import ExpressionBranch
from arc2face_training.diffusion.latents import encode
from arc2face_training.diffusion.noise import Prediction, alphas_cumprod, amounts, draw_timesteps, target
from arc2face_training.diffusion.reading import ReferenceReading
from arc2face_training.diffusion.text import Prompts


@dataclass(frozen=True)
class LossConfig:
    """How the loss is drawn.

    `drop_identity`: share of empty prompts, for classifier-free guidance. `high_share`: share of the batch drawn from
    the noisier half of the schedule only. `control_share`: share of the steps that run the ControlNet.
    `expression_share`: share of the rows that see their expression; a row without identity sees all zeros, which is
    what the unconditional half of guidance is given at inference. `reference_share`: share of the steps that read a
    reference picture (a source of pairs is needed). `snr_gamma`: min-SNR weight (arXiv 2303.09556),
    0 for a plain mean.
    """

    prediction: Prediction = "epsilon"
    drop_identity: float = 0.1
    high_share: float = 0.0
    control_share: float = 0.0
    expression_share: float = 0.0
    reference_share: float = 0.0
    snr_gamma: float = 0.0


class DenoisingObjective(Objective):
    """Predict the noise (or v) of noisy latents given identity, and, where present, normals and expression."""

    def __init__(
        self,
        config: LossConfig,
        unet: UNet2DConditionModel,
        prompts: Prompts,
        controlnet: ControlNetModel | None = None,
        branch: ExpressionBranch | None = None,
        vae: AutoencoderKL | None = None,
        encoder_rate: float = 1.0,
    ) -> None:
        """`vae`: frozen, for sources without cached latents. `encoder_rate`: learning rate factor of the encoder."""
        super().__init__()
        self.config, self.encoder_rate = config, encoder_rate
        self.unet, self.prompts, self.controlnet, self.branch = unet, prompts, controlnet, branch
        self.vae = vae
        self.banks = ReferenceReading(unet)
        self.register_buffer("abar", alphas_cumprod(), persistent=False)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The text encoder may learn at its own rate."""
        encoder = {id(p) for p in self.prompts.parameters()}
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if id(p) not in encoder], "lr": learning_rate},
            {"params": [p for p in trained if id(p) in encoder], "lr": learning_rate * self.encoder_rate},
        ]
        return [group for group in groups if group["params"]]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`latents` or `pixels`, `identity`, `timesteps`, `dropped`, and what the parts need. Mean squared error."""
        clean = latents_of(batch, self.vae)
        noise = torch.randn_like(clean)
        a, s = amounts(self.abar, batch["timesteps"])
        noisy = a * clean + s * noise
        output = self.predict(noisy, batch)
        error = (output.float() - target(self.config.prediction, clean, noise, a, s)).square().mean((1, 2, 3))
        losses = {"loss": (error * self._weights(a, s)).mean()}
        high = batch["timesteps"] > 700
        if high.any():
            losses["high_noise"] = error.detach()[high].mean()
        return losses

    def predict(self, noisy: Tensor, batch: Batch) -> Tensor:
        """The network's output for (B, C, h, w) noisy latents; what it attaches stays until `release`."""
        self.release()
        timesteps = batch["timesteps"]
        prompt = self.prompts(batch["identity"], batch["dropped"])
        extra: dict[str, Any] = {}
        if self.controlnet is not None and "normals" in batch:
            down, mid = self.controlnet(noisy, timesteps, prompt, batch["normals"], return_dict=False)
            extra = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        if self.branch is not None and "expression" in batch:
            self.branch.begin(batch["expression"], batch["expression_weights"])
            self.attached.callback(self.branch.end)
        if "blind" in batch:
            reference = latents_of(batch, self.vae, "other_")
            self.banks.record(self.unet, reference, self.prompts(batch["identity"]).detach())
            self.attached.enter_context(self.banks.reading(self.unet, batch["blind"]))
        return self.unet(noisy, timesteps, prompt, **extra).sample

    def _weights(self, a: Tensor, s: Tensor) -> Tensor | float:
        if self.config.snr_gamma <= 0:
            return 1.0
        snr = (a / s).square().flatten()
        over = snr if self.config.prediction == "epsilon" else snr + 1
        return snr.clamp(max=self.config.snr_gamma) / over


def latents_of(batch: Batch, vae: AutoencoderKL | None, prefix: str = "") -> Tensor:
    """Cached latents, or the batch's pixels through the VAE."""
    if f"{prefix}latents" in batch:
        return batch[f"{prefix}latents"]
    assert vae is not None, "a source without cached latents needs the VAE"
    return encode(vae, batch[f"{prefix}pixels"])


def wanted(config: LossConfig, with_control: bool) -> tuple[str, ...]:
    """The batch keys a step needs."""
    keys = ["pixels", "identity"]
    if with_control:
        keys.append("normals")
    if config.expression_share > 0:
        keys.append("expression")
    return tuple(keys)


def needs(config: LossConfig) -> tuple[str, ...]:
    """The annotations that photos must have for this loss."""
    found = {"embedding": True, "normals": config.control_share > 0, "expression": config.expression_share > 0}
    return tuple(kind for kind, needed in found.items() if needed)


def prepare(batch: Batch, config: LossConfig, rng: np.random.Generator) -> Batch:
    """Add timesteps and what is dropped."""
    n = len(batch["identity"])
    batch["timesteps"] = draw_timesteps(rng, n, config.high_share)
    batch["dropped"] = torch.from_numpy(rng.random(n) < config.drop_identity)
    if "expression" in batch:
        batch["expression"] = batch["expression"].masked_fill(batch["dropped"][:, None], 0.0)
        batch["expression_weights"] = torch.from_numpy((rng.random(n) < config.expression_share).astype(np.float32))
    return batch
