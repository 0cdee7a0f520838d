"""The VAE: latents of 1/8 size (four levels) or 1/16 size (five levels).

`start: blocks` writes the encoder down in closed form (arc2face_training.diffusion.linear_vae), freezes it and trains
the decoder on slightly noisy latents; `start: random` trains both halves from random weights; `start: bundle` goes on
from a trained one. Losses: L1 on pixels, on an eight times smaller picture (colour) and on gradients at two scales
(edges); optionally what a recogniser sees (arc2face_training.diffusion.face_features) and a small patch critic
(arc2face_training.diffusion.critic), without which fine detail stays soft; a small KL term where the encoder is
trained.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from arc2face_training.common.checkpoint import load_torch, save_torch
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.loop import Batch, Loop, LoopConfig, Objective, Turn
from arc2face_training.common.session import Session
from arc2face_training.common.sharpness import sharpness_ratios
from arc2face_training.common.sources import DataConfig, Source, open_source
from arc2face_training.diffusion.critic import PatchCritic, capped, same_part
from arc2face_training.diffusion.face_features import FaceFeatures
from arc2face_training.diffusion.linear_vae import block_vae, fits_closed_form, write_encoder
from arc2face_training.diffusion.parts import BASE, Bundle, save_model

log = logging.getLogger(__name__)
ENCODER = "encoder.pt"
MANY_PEOPLE = 100_000


@dataclass(frozen=True)
class SharpConfig:
    """What makes the decoder sharp. `recogniser`: a recogniser run's checkpoint.pt; `features`: weight of what it sees.

    `critic`: weight of the adversarial loss, 0 for none; it begins after `critic_from` steps, its gradient is at most
    `cap` times the reconstruction's. `critic_rate`: its learning rate relative to the decoder's. `part`: side in
    pixels of the random part that the critic sees.
    """

    recogniser: Path | None = None
    features: float = 0.0
    critic: float = 0.0
    critic_from: int = 0
    critic_rate: float = 0.3
    critic_width: int = 24
    cap: float = 0.3
    part: int = 160


@dataclass(frozen=True)
class VaeConfig:
    """`latent_noise`: most noise added to latents before decoding, in their standard deviation.

    `latent_channels`: as many as the widths have room for in the closed form (32 in the usual ones); fewer are easier
    to generate and harder to decode. `channels`: widths from the full resolution down. `fit_pictures`: pictures for
    the closed-form encoder. `kl`: weight of the KL term.
    """

    start: Literal["blocks", "random", "bundle"] = "blocks"
    bundle: Path = Path("models/starter")
    data: DataConfig = field(default_factory=DataConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    channels: tuple[int, ...] = (16, 16, 48, 96)
    latent_channels: int = 16
    train_encoder: bool = False
    latent_noise: float = 0.12
    fit_pictures: int = 512
    kl: float = 1e-6
    colour: float = 1.0
    edges: float = 0.4
    sharp: SharpConfig = field(default_factory=SharpConfig)
    output: Path = Path("models/starter")


class VaeObjective(Objective):
    """Reconstruction losses of a batch of `pixels` (and, for the features, `points`; for the critic, `step`)."""

    def __init__(self, vae: AutoencoderKL, config: VaeConfig) -> None:
        super().__init__()
        self.vae, self.config = vae, config
        for part in (vae.encoder, vae.quant_conv):
            part.requires_grad_(config.train_encoder)
        sharp = config.sharp
        if sharp.features > 0 and sharp.recogniser is None:
            raise TrainingError("`sharp.features` needs `sharp.recogniser`: the checkpoint.pt of a recogniser's run.")
        self.features = FaceFeatures.of(sharp.recogniser) if sharp.features > 0 and sharp.recogniser else None
        self.critic = PatchCritic(sharp.critic_width) if sharp.critic > 0 else None

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The critic learns at a rate of its own."""
        own = [] if self.critic is None else list(self.critic.parameters())
        known = {id(p) for p in own}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        groups = [{"params": rest, "lr": learning_rate}]
        return groups + ([{"params": own, "lr": learning_rate * self.config.sharp.critic_rate}] if own else [])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`pixels`, `colour`, `edges`, where wanted `kl`, `features`, `critic`; their weighted sum is `loss`."""
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
        if self.features is not None:
            losses["features"] = self.features(x, y, batch.get("points"))
            total = total + config.sharp.features * losses["features"]
        if self.critic is not None and int(batch["step"]) >= config.sharp.critic_from:
            total = total + self._critic_losses(x, y, total, losses)
        return {"loss": total, **losses}

    def _critic_losses(self, x: Tensor, y: Tensor, total: Tensor, losses: dict[str, Tensor]) -> Tensor:
        assert self.critic is not None
        own, score = self.critic.losses(*same_part(x, y, self.config.sharp.part))
        adversarial = self.config.sharp.critic * score
        factor = capped(adversarial, total, self.vae.decoder.conv_out.weight, self.config.sharp.cap)
        losses |= {"critic": own.detach(), "adversarial": score.detach(), "critic_factor": factor}
        return own + factor * adversarial


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


def make_vae(config: VaeConfig, source: Source, out: Path) -> AutoencoderKL:
    """The VAE a run starts from. A closed-form encoder is fitted once and kept in `out`: the data may grow."""
    if config.start == "bundle":
        return Bundle(config.bundle).vae().requires_grad_(True)
    vae = block_vae(config.data.size, config.channels, config.latent_channels)
    if config.start == "random":
        return vae
    if not fits_closed_form(config.channels, config.latent_channels):
        raise TrainingError(
            f"A closed-form encoder with {config.latent_channels} latent channels has no room in the widths "
            f"{list(config.channels)}; use four or five levels, [16, 24, 48, 96, 128] for up to 32, or start: random."
        )
    if (out / ENCODER).exists():
        state = load_torch(out / ENCODER)
        vae.encoder.load_state_dict(state["encoder"])
        vae.quant_conv.load_state_dict(state["quant"])
        # The transform's last step is the identity.
        vae.post_quant_conv.load_state_dict(state["post"])
        return vae
    numbers = some_numbers(source, config.fit_pictures)
    pictures = ((source.pixels(np.sort(numbers)) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    decibels = write_encoder(vae, pictures)
    log.info("closed-form encoder: %.2f dB if decoded linearly", decibels)
    parts = {"encoder": vae.encoder, "quant": vae.quant_conv, "post": vae.post_quant_conv}
    save_torch({"settings": {}, **{name: part.state_dict() for name, part in parts.items()}}, out / ENCODER)
    return vae


def some_numbers(source: Source, most: int) -> NDArray[np.int64]:
    """At most so many random pictures: of all of them, or of as many people where there are very many."""
    rng, people = np.random.default_rng(0), source.people
    chosen = people if len(people) <= MANY_PEOPLE else [people[int(p)] for p in rng.choice(len(people), most, False)]
    return source.readable(rng.permutation(np.concatenate(list(chosen)))[:most])


def train(config: VaeConfig, out: Path, resume: bool = True) -> dict[str, float]:
    """Train (a piece), export `stable-diffusion-v1-5/vae` when finished, and return figures."""
    session = Session(config.loop)
    source = open_source(config.data, session)
    torch.manual_seed(config.loop.seed)
    if session.is_main and not resume:
        (out / ENCODER).unlink(missing_ok=True)
    with session.accelerator.main_process_first():
        vae = make_vae(config, source, out)
    loop = Loop(session, VaeObjective(vae, config), out, config, resume)
    held = source.pixels(np.array([own[0] for own in source.shown(8)])).to(loop.device)
    want = ("pixels", "points") if config.sharp.features > 0 else ("pixels",)

    def draw(turn: Turn, n: int) -> Batch:
        return {**source.draw(turn.rng, n, want), "step": torch.tensor(turn.step)}

    def validate() -> tuple[dict[str, float], NDArray[np.uint8]]:
        decoded = vae.decode(vae.encode(held).latent_dist.mode()).sample
        figures = {"psnr": psnr(held, decoded), **sharpness_ratios(to_u8(decoded), to_u8(held))}
        return figures, grid(torch.cat([held, decoded]), len(held))

    outcome = loop.run(draw, validate)
    figures = outcome.figures()
    if session.is_main:
        with torch.no_grad(), loop.average.applied():
            figures |= validate()[0]
            if outcome.export:
                save_model(vae, config.output / BASE / "vae")
    return figures


def to_u8(pictures: Tensor) -> NDArray[np.uint8]:
    """(n, 3, S, S) in -1..1 to (n, S, S, 3) uint8."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().cpu().permute(0, 2, 3, 1).numpy()


def grid(pictures: Tensor, columns: int) -> NDArray[np.uint8]:
    """(n, 3, S, S) in -1..1 to one rgb_u8 of n / columns rows."""
    n, _, s, _ = pictures.shape
    tiles = to_u8(pictures).reshape(n // columns, columns, s, s, 3)
    return tiles.transpose(0, 2, 1, 3, 4).reshape(-1, columns * s, 3)
