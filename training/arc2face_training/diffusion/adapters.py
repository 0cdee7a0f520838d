"""ControlNet and expression adapter, each trained alone on the frozen identity UNet, as published.

ControlNet: initialised from the UNet, normal maps, noise prediction (arXiv 2302.05543; Arc2Face's authors trained it on
FFHQ for 50 epochs at 1e-5). Expression adapter: only the second cross-attention and its tokens learn (arXiv 2308.06721,
2510.04706).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel

from arc2face_training.common.checkpoint import save_torch
from arc2face_training.common.loop import Loop, LoopConfig, Outcome
from arc2face_training.common.session import Session
from arc2face_training.common.sources import DataConfig, Source, open_source
from arc2face_training.diffusion.denoising_loss import DenoisingObjective, LossConfig, needs
from arc2face_training.diffusion.expression_module import ExpressionBranch
from arc2face_training.diffusion.identity import drawer, make_validator
from arc2face_training.diffusion.latents import cached_latents
from arc2face_training.diffusion.listening import level_hint
from arc2face_training.diffusion.parts import Bundle, UNetShape, new_controlnet, save_model
from arc2face_training.diffusion.text import Prompts


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
    session, bundle = Session(config.loop), Bundle(config.bundle)
    unet, vae = bundle.unet(), bundle.vae()
    source = open_source(config.data, session, needs(config.loss))
    torch.manual_seed(config.loop.seed)
    if config.start == "unet":
        controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=config.unet.hint_channels)
    else:
        controlnet = new_controlnet(config.unet, int(unet.config["in_channels"]))
    level_hint(controlnet, source.normals(np.sort(np.array([own[0] for own in source.shown(16)]))))
    controlnet.requires_grad_(True).train()
    objective = DenoisingObjective(config.loss, unet, _prompts(bundle), controlnet, None, vae)
    loop, outcome = _run(session, config, objective, vae, source, out, resume)
    if outcome.export:
        with loop.average.applied():
            save_model(controlnet, config.output / "controlnet")
    return outcome.figures()


def train_expression(config: ExpressionConfig, out: Path, resume: bool = True) -> dict[str, float]:
    """Train (a piece); export `exp_adapter/exp_adapter.bin` when finished."""
    session, bundle = Session(config.loop), Bundle(config.bundle)
    unet, vae = bundle.unet(), bundle.vae()
    source = open_source(config.data, session, needs(config.loss))
    torch.manual_seed(config.loop.seed)
    branch = ExpressionBranch(unet, config.tokens)
    objective = DenoisingObjective(config.loss, unet, _prompts(bundle), None, branch, vae)
    loop, outcome = _run(session, config, objective, vae, source, out, resume)
    if outcome.export:
        with loop.average.applied():
            state = branch.export()
        save_torch(state, config.output / "exp_adapter" / "exp_adapter.bin")
    return outcome.figures()


def _prompts(bundle: Bundle) -> Prompts:
    return Prompts(bundle.encoder(), bundle.tokenizer()).requires_grad_(False)


def _run(
    session: Session,
    config: ControlNetConfig | ExpressionConfig,
    objective: DenoisingObjective,
    vae: AutoencoderKL,
    source: Source,
    out: Path,
    resume: bool,
) -> tuple[Loop, Outcome]:
    loop = Loop(session, objective, out, config, resume)
    latents = cached_latents(source, vae, out, session)
    validate = make_validator(objective, vae, source, loop.device, config.guidance)
    return loop, loop.run(drawer(source, config.loss, latents), validate)
