"""The VAE: latents of 1/8 size.

`start: blocks` writes the encoder down in closed form (training.diffusion.linear_vae), freezes it and trains the
decoder on slightly noisy latents; `start: random` trains both halves from random weights; `start: bundle` goes on
from a trained one. Losses: L1 on pixels, on an eight times smaller picture (colour) and on gradients at two scales
(edges), optionally cosine distance of recogniser features, and a small KL term where the encoder is trained.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.common.loop import Batch, Loop, LoopConfig, Objective
from training.common.session import Session
from training.common.sources import DataConfig, Source, open_source
from training.diffusion.linear_vae import block_vae, write_encoder
from training.diffusion.parts import BASE, Bundle, save_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VaeConfig:
    """`latent_noise`: most noise added to latents before decoding, in their standard deviation.

    `latent_channels`: at most 16 for the closed form; fewer are easier to generate and harder to decode.
    `channels`: widths from the full resolution down (closed-form start: 16, 16, 48, 96 only).
    `fit_pictures`: pictures for the closed-form encoder. `kl`: weight of the KL term.
    """

    start: Literal["blocks", "random", "bundle"] = "blocks"
    bundle: Path = Path("models/starter")
    data: DataConfig = field(default_factory=DataConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    channels: tuple[int, int, int, int] = (16, 16, 48, 96)
    latent_channels: int = 16
    train_encoder: bool = False
    latent_noise: float = 0.12
    fit_pictures: int = 512
    kl: float = 1e-6
    colour: float = 1.0
    edges: float = 0.4
    output: Path = Path("models/starter")


class VaeObjective(Objective):
    """Reconstruction losses of a batch of `pixels`."""

    def __init__(self, vae: AutoencoderKL, config: VaeConfig) -> None:
        super().__init__()
        self.vae, self.config = vae, config
        for part in (vae.encoder, vae.quant_conv):
            part.requires_grad_(config.train_encoder)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses `pixels`, `colour`, `edges`, `kl`, and their weighted sum `loss`."""
        x, config = batch["pixels"], self.config
        posterior = self.vae.encode(x).latent_dist
        latents = posterior.sample() if config.train_encoder else posterior.mode()
        amount = config.latent_noise * torch.rand(len(x), 1, 1, 1, device=x.device)
        y = self.vae.decode(latents + amount * torch.randn_like(latents)).sample
        losses = reconstruction_losses(x, y)
        total = losses["pixels"] + config.colour * losses["colour"] + config.edges * losses["edges"]
        if config.train_encoder:
            losses["kl"] = posterior.kl().mean()
            total = total + config.kl * losses["kl"]
        return {"loss": total, **losses}


def reconstruction_losses(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Mean absolute errors of pixels, of 8 x 8 averages, and of horizontal and vertical differences at two scales."""
    half_x, half_y = functional.avg_pool2d(x, 2), functional.avg_pool2d(y, 2)
    return {
        "pixels": (y - x).abs().mean(),
        "colour": (functional.avg_pool2d(y, 8) - functional.avg_pool2d(x, 8)).abs().mean(),
        "edges": _edge_loss(x, y) + _edge_loss(half_x, half_y),
    }


def _edge_loss(x: Tensor, y: Tensor) -> Tensor:
    down = (y.diff(dim=2) - x.diff(dim=2)).abs().mean()
    return down + (y.diff(dim=3) - x.diff(dim=3)).abs().mean()


def psnr(x: Tensor, y: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in -1..1."""
    return float(-10 * torch.log10(((x - y.clamp(-1, 1)) ** 2).mean() / 4))


def make_vae(config: VaeConfig, source: Source) -> AutoencoderKL:
    """The VAE a run starts from."""
    if config.start == "bundle":
        return Bundle(config.bundle).vae().requires_grad_(True)
    vae = block_vae(config.data.size, config.channels, config.latent_channels)
    if config.start == "blocks":
        numbers = np.random.default_rng(0).permutation(np.concatenate(source.people))[: config.fit_pictures]
        pictures = ((source.pixels(np.sort(numbers)) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        log.info("closed-form encoder: %.2f dB if decoded linearly", write_encoder(vae, pictures))
    return vae


def train(config: VaeConfig, out: Path, resume: bool = True) -> dict[str, float]:
    """Train (a piece), export `stable-diffusion-v1-5/vae` when finished, and return figures."""
    session = Session(config.loop)
    source = open_source(config.data, session)
    torch.manual_seed(config.loop.seed)
    vae = make_vae(config, source)
    loop = Loop(session, VaeObjective(vae, config), out, config, resume)
    held = source.pixels(np.array([own[0] for own in source.people[-8:]])).to(loop.device)

    def validate() -> tuple[dict[str, float], NDArray[np.uint8]]:
        decoded = vae.decode(vae.encode(held).latent_dist.mode()).sample
        return {"psnr": psnr(held, decoded)}, grid(torch.cat([held, decoded]), len(held))

    outcome = loop.run(lambda turn, n: source.draw(turn.rng, n, ("pixels",)), validate)
    figures = outcome.figures()
    if session.is_main:
        with torch.no_grad(), loop.average.applied():
            figures |= validate()[0]
            if outcome.export:
                save_model(vae, config.output / BASE / "vae")
    return figures


def grid(pictures: Tensor, columns: int) -> NDArray[np.uint8]:
    """(n, 3, S, S) in -1..1 to one rgb_u8 of n / columns rows."""
    n, _, s, _ = pictures.shape
    tiles = ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().cpu().permute(0, 2, 3, 1).numpy()
    return tiles.reshape(n // columns, columns, s, s, 3).transpose(0, 2, 1, 3, 4).reshape(-1, columns * s, 3)
