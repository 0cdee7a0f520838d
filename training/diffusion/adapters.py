"""ControlNet and expression adapter, each trained alone on the frozen identity UNet, as published.

ControlNet: initialised from the UNet, normal maps, noise prediction (arXiv 2302.05543; Arc2Face's authors trained it on
FFHQ for 50 epochs at 1e-5). Expression adapter: only the second cross-attention and its tokens learn (arXiv 2308.06721,
2510.04706).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from diffusers import AutoencoderKL, ControlNetModel

from training.common.checkpoint import write_atomically
from training.common.loop import Loop, LoopConfig, Outcome
from training.common.sources import DataConfig, open_source
from training.diffusion.denoising_loss import DenoisingObjective, LossConfig
from training.diffusion.expression_module import ExpressionBranch
from training.diffusion.identity import drawer, make_validator
from training.diffusion.latents import cached_latents
from training.diffusion.parts import Bundle, UNetShape, new_controlnet, save_model
from training.diffusion.text import Prompts


@dataclass(frozen=True)
class ControlNetConfig:
    """`start`: unet copies the UNet's encoder; light builds a small one without cross-attention (sizes from `unet`)."""

    start: Literal["unet", "light"] = "unet"
    bundle: Path = Path("models/starter")
    data: DataConfig = field(default_factory=DataConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    unet: UNetShape = field(default_factory=UNetShape)
    guidance: float = 3.0
    output: Path = Path("models/starter")


@dataclass(frozen=True)
class ExpressionConfig:
    """`tokens`: key/value tokens made from one expression."""

    tokens: int = 4
    bundle: Path = Path("models/starter")
    data: DataConfig = field(default_factory=DataConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    guidance: float = 3.0
    output: Path = Path("models/starter")


def train_controlnet(config: ControlNetConfig, out: Path, resume: bool = True) -> dict[str, float]:
    """Train (a piece); export `controlnet` when finished."""
    bundle = Bundle(config.bundle)
    unet, vae = bundle.unet(), bundle.vae()
    torch.manual_seed(config.loop.seed)
    if config.start == "unet":
        controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=config.unet.hint_channels)
    else:
        controlnet = new_controlnet(config.unet, int(unet.config["in_channels"]))
    controlnet.requires_grad_(True).train()
    objective = DenoisingObjective(config.loss, unet, _prompts(bundle), controlnet, None, vae)
    loop, outcome = _run(config, objective, vae, out, resume)
    if outcome.finished and loop.accelerator.is_main_process:
        with loop.average.applied():
            save_model(controlnet, config.output / "controlnet")
    return _figures(outcome)


def train_expression(config: ExpressionConfig, out: Path, resume: bool = True) -> dict[str, float]:
    """Train (a piece); export `exp_adapter/exp_adapter.bin` when finished."""
    bundle = Bundle(config.bundle)
    unet, vae = bundle.unet(), bundle.vae()
    torch.manual_seed(config.loop.seed)
    branch = ExpressionBranch(unet, config.tokens)
    objective = DenoisingObjective(config.loss, unet, _prompts(bundle), None, branch, vae)
    loop, outcome = _run(config, objective, vae, out, resume)
    if outcome.finished and loop.accelerator.is_main_process:
        with loop.average.applied():
            state = branch.export()
        write_atomically(config.output / "exp_adapter" / "exp_adapter.bin", lambda path: torch.save(state, path))
    return _figures(outcome)


def _prompts(bundle: Bundle) -> Prompts:
    return Prompts(bundle.encoder(), bundle.tokenizer()).requires_grad_(False)


def _run(
    config: ControlNetConfig | ExpressionConfig,
    objective: DenoisingObjective,
    vae: AutoencoderKL,
    out: Path,
    resume: bool,
) -> tuple[Loop, Outcome]:
    source = open_source(config.data)
    loop = Loop(config.loop, objective, out, config, resume)
    latents = cached_latents(source, vae, out, loop.device)
    validate = make_validator(objective, vae, source, loop.device, config.guidance)
    return loop, loop.run(drawer(source, config.loss, latents), validate)


def _figures(outcome: Outcome) -> dict[str, float]:
    return {**outcome.losses, "step": float(outcome.step), "images_per_second": outcome.images_per_second}
