"""The identity UNet and its text encoder (Arc2Face, arXiv 2403.11641), optionally together with the adapters.

`full`: fine-tune SD 1.5's UNet and CLIP text encoder, both trainable, noise prediction. `people`: the same loss from
random weights at a small size. `people-cpu` trains UNet, encoder, ControlNet and expression branch jointly with
dropout: what pose and expression explain is then no noise to the identity, and one run replaces three. Batches with
control run the ControlNet; rows without expression switch the branch off.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextModel, CLIPTokenizer

from arc2face_training.common.checkpoint import save_torch
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.loop import Batch, DrawBatch, Loop, LoopConfig, Turn
from arc2face_training.common.session import Session
from arc2face_training.common.sources import DataConfig, Latents, Source, open_source
from arc2face_training.diffusion.denoising_loss import DenoisingObjective, LossConfig, needs, prepare, wanted
from arc2face_training.diffusion.expression_module import ExpressionBranch
from arc2face_training.diffusion.latents import cached_latents
from arc2face_training.diffusion.listening import gains, level_hint
from arc2face_training.diffusion.parts import (
    Bundle,
    EncoderShape,
    UNetShape,
    new_controlnet,
    new_encoder,
    new_unet,
    save_base,
    save_model,
)  # fmt: skip
from arc2face_training.diffusion.sampling import fixed_noise, guided, sample
from arc2face_training.diffusion.text import Prompts, whiten, write_tokenizer
from arc2face_training.diffusion.vae import grid


@dataclass(frozen=True)
class IdentityConfig:
    """`start`: random (sizes from `unet` and `encoder`), base (Stable Diffusion 1.5's own UNet and text encoder, in
    `bundle`'s stable-diffusion-v1-5), or bundle (go on with `arc2face` and `encoder` of `weights`, or of `bundle`).

    `encoder_rate`: learning rate of the text encoder relative to the UNet's. `joint`: also train a ControlNet and
    an expression branch, and export them. `pairs`: frames for the steps that read a reference picture
    (`loss.reference_share`), so that the self-attention can be read before the reference adapter refines it.
    """

    start: Literal["random", "base", "bundle"] = "random"
    bundle: Path = Path("models/starter")
    weights: Path | None = None
    data: DataConfig = field(default_factory=DataConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    unet: UNetShape = field(default_factory=UNetShape)
    encoder: EncoderShape = field(default_factory=EncoderShape)
    encoder_rate: float = 1.0
    joint: bool = False
    pairs: DataConfig | None = None
    guidance: float = 3.0
    output: Path = Path("models/starter")


def make_objective(config: IdentityConfig, vae: AutoencoderKL, source: Source) -> DenoisingObjective:
    """The parts to be trained, and the loss over them."""
    channels = int(vae.config["latent_channels"])
    if config.start != "random":
        unet, encoder, tokenizer = _starting_parts(config)
        if channels != int(unet.config["in_channels"]):
            raise TrainingError(
                f"The VAE makes latents of {channels} channels, but the UNet takes {unet.config['in_channels']}; "
                "they belong to different models."
            )
    else:
        unet, encoder = new_unet(config.unet, channels), new_encoder(config.encoder)
        with tempfile.TemporaryDirectory() as folder:
            write_tokenizer(Path(folder), config.encoder.context)
            tokenizer = CLIPTokenizer.from_pretrained(folder)
    controlnet = new_controlnet(config.unet, channels) if config.joint else None
    if controlnet is not None and config.start == "random":
        rows = np.sort(np.array([own[0] for own in source.shown(16)]))
        level_hint(controlnet, source.normals(rows))
    branch = ExpressionBranch(unet) if config.joint else None
    prompts = Prompts(encoder.requires_grad_(True), tokenizer)
    if config.start == "random" and config.encoder.components:
        whiten(encoder, prompts.place, _several_of_each(source), config.encoder.components)
    unet.requires_grad_(True).train()
    return DenoisingObjective(config.loss, unet, prompts, controlnet, branch, vae, config.encoder_rate)


def _starting_parts(config: IdentityConfig) -> tuple[UNet2DConditionModel, CLIPTextModel, CLIPTokenizer]:
    bundle = Bundle(config.bundle)
    parts = bundle if config.weights is None else Bundle(config.weights)
    base = config.start == "base"
    encoder = bundle.base_encoder() if base else parts.encoder()
    unet = bundle.base_unet() if base else parts.unet()
    width, taken = encoder.config.hidden_size, int(unet.config["cross_attention_dim"])
    if width != taken:
        raise TrainingError(
            f"The text encoder gives {width} numbers per token, but the UNet takes {taken}; they belong to different "
            "models (Stable Diffusion 1.5 has 768)."
        )
    return unet, encoder, bundle.tokenizer()


def train(config: IdentityConfig, out: Path, resume: bool = True) -> dict[str, float]:
    """Train (a piece) and, when finished, export `arc2face`, `encoder` and what was trained jointly."""
    session = Session(config.loop)
    source = open_source(config.data, session, needs(config.loss))
    vae = Bundle(config.bundle).vae()
    torch.manual_seed(config.loop.seed)
    objective = make_objective(config, vae, source)
    loop = Loop(session, objective, out, config, resume)
    latents = cached_latents(source, vae, out, session)
    draw = drawer(source, config.loss, latents)
    if config.pairs is not None and config.loss.reference_share > 0:
        pairs = open_source(config.pairs, session, needs(config.loss))
        draw = with_pairs(draw, pairs, vae, config.loss, out / "pairs", session)
    validate = make_validator(objective, vae, source, loop.device, config.guidance)
    outcome = loop.run(draw, validate)
    if outcome.export:
        with loop.average.applied():
            export(objective, config)
    return outcome.figures()


def _several_of_each(source: Source, most: int = 4000) -> torch.Tensor:
    """(P, K, 512) embeddings: as many pictures of each person as the person with the fewest has."""
    people = source.people[:most]
    fewest = min(len(own) for own in people)
    return torch.stack([source.identities(own[:fewest]) for own in people])


def drawer(source: Source, config: LossConfig, latents: Latents | None) -> DrawBatch:
    """The function that draws a step's batch."""

    def draw(turn: Turn, n: int) -> Batch:
        with_control = turn.shared().random() < config.control_share
        return prepare(source.draw(turn.rng, n, wanted(config, with_control), latents), config, turn.rng)

    return draw


def with_pairs(
    plain: DrawBatch, pairs: Source, vae: AutoencoderKL, config: LossConfig, out: Path, session: Session
) -> DrawBatch:
    """Steps without reference from `plain`, the others from `pairs`; rows without identity do not read."""
    latents = cached_latents(pairs, vae, out, session)
    keys = ("pixels", "other_pixels", "identity", "expression")

    def draw(turn: Turn, n: int) -> Batch:
        # The choice for control uses the lower end of the same number.
        if turn.shared().random() < 1 - config.reference_share:
            return plain(turn, n)
        batch = prepare(pairs.draw(turn.rng, n, keys, latents), config, turn.rng)
        return {**batch, "blind": batch["dropped"].clone()}

    return draw


def make_validator(
    objective: DenoisingObjective, vae: AutoencoderKL, source: Source, device: torch.device, scale: float
):
    """Pictures of eight people: the photo in the first row, samples without and with control below."""
    people = source.shown(8)
    shown, other = (np.array([own[min(k, len(own) - 1)] for own in people]) for k in (0, 1))
    count = len(people)

    def validate() -> tuple[dict[str, float], NDArray[np.uint8]]:
        side = source.size // 2 ** (len(vae.config["block_out_channels"]) - 1)
        noise = fixed_noise((count, int(objective.unet.config["in_channels"]), side, side), device)
        identity = source.identities(other).to(device)
        rows = [source.pixels(shown).to(device)]
        for control in (False, True):
            if control and objective.controlnet is None:
                continue
            batch: Batch = {"identity": identity}
            if control:
                batch["normals"] = source.normals(shown).to(device)

            def predict(
                noisy: torch.Tensor, timesteps: torch.Tensor, conditional: bool, batch: Batch = batch
            ) -> torch.Tensor:
                dropped = torch.full((count,), not conditional, device=device)
                return objective.predict(noisy, {**batch, "timesteps": timesteps, "dropped": dropped})

            latent = sample(guided(predict, scale), noise, objective.config.prediction)
            rows.append(vae.decode(latent / vae.config["scaling_factor"]).sample)
        return gains(objective, vae, source, device), grid(torch.cat(rows), count)

    return validate


def export(objective: DenoisingObjective, config: IdentityConfig) -> None:
    """Write the trained parts into the bundle layout, fp16."""
    root = config.output
    if objective.branch is not None:
        state = objective.branch.export()
        save_torch(state, root / "exp_adapter" / "exp_adapter.bin")
    save_model(objective.unet, root / "arc2face")
    save_model(objective.prompts.encoder, root / "encoder")
    if objective.controlnet is not None:
        save_model(objective.controlnet, root / "controlnet")
    if config.start == "random":
        save_base(root, config.loss.prediction, config.encoder.context)
