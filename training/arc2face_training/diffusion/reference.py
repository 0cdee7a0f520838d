"""The reference adapter: LoRA on self-attention, reading what the frozen UNet saw of a reference picture at t = 0.

How it reads: `arc2face_training.diffusion.reading`. Trained on pairs of frames of one person: photos of one folder, or
people rendered twice (`--pairs` of the dataset, else while training) with the same light, background and nearly the
same pose, but another expression. Rows without identity do not read, as at inference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional

from arc2face_training.common.errors import TrainingError
from arc2face_training.common.loop import Batch, DrawBatch, Loop, LoopConfig, Objective, Turn
from arc2face_training.common.session import Session
from arc2face_training.common.sources import DataConfig, Latents, RenderedSource, Source, open_source
from arc2face_training.common.world import same_moment
from arc2face_training.diffusion.denoising_loss import LossConfig, latents_of, prepare
from arc2face_training.diffusion.expression_module import ExpressionBranch
from arc2face_training.diffusion.latents import cached_latents
from arc2face_training.diffusion.lora import LoraLayer, diffusers_state, is_self_attention, switch, wrap
from arc2face_training.diffusion.noise import alphas_cumprod, amounts, target
from arc2face_training.diffusion.parts import Bundle, save_tensors
from arc2face_training.diffusion.reading import ReferenceReading
from arc2face_training.diffusion.text import Prompts


@dataclass(frozen=True)
class ReferenceConfig:
    """`rank` of the LoRA (ours). `turn`: standard deviation in radians by which a pair's second pose differs.

    `drop_reference`: share of the rows that do not read, so that the LoRA alone stays harmless.
    """

    rank: int = 16
    turn: float = 0.05
    drop_reference: float = 0.05
    bundle: Path = Path("models/starter")
    data: DataConfig = field(default_factory=DataConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    output: Path = Path("models/starter")


class ReferenceObjective(Objective):
    """Noise prediction with a reference picture; only the LoRA learns."""

    def __init__(
        self, config: LossConfig, unet: UNet2DConditionModel, prompts: Prompts, branch: ExpressionBranch | None,
        vae: AutoencoderKL, rank: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config, self.vae, self.prompts, self.branch = config, vae, prompts, branch
        self.unet = unet.requires_grad_(False)
        self.banks = ReferenceReading(unet)
        self.layers = wrap(unet, is_self_attention, rank)
        self.register_buffer("abar", alphas_cumprod(), persistent=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Keys as in DenoisingObjective, plus `other_pixels` or `other_latents` (the reference) and `blind` (B,)."""
        self.release()
        clean, reference = latents_of(batch, self.vae), latents_of(batch, self.vae, "other_")
        noise = torch.randn_like(clean)
        a, s = amounts(self.abar, batch["timesteps"])
        with torch.no_grad():
            prompt = self.prompts(batch["identity"], batch["dropped"])
            self.record(reference, self.prompts(batch["identity"]))
        if self.branch is not None and "expression" in batch:
            self.branch.begin(batch["expression"], batch["expression_weights"])
            self.attached.callback(self.branch.end)
        self.attached.enter_context(self.banks.reading(self.unet, batch["blind"]))
        output = self.unet(a * clean + s * noise, batch["timesteps"], prompt).sample
        return {"loss": functional.mse_loss(output.float(), target(self.config.prediction, clean, noise, a, s))}

    def record(self, reference: Tensor, prompt: Tensor) -> None:
        """Fill the banks from one pass of the plain UNet at t = 0."""
        switch(self.layers, False)
        try:
            self.banks.record(self.unet, reference, prompt)
        finally:
            switch(self.layers, True)


class PairRenderer:
    """Two moments of one person: same light, background, clothes and camera; other expression; nearly the same pose."""

    def __init__(self, source: RenderedSource, turn: float, size: int) -> None:
        from arc2face_training.common.world import PeopleWorld

        self.world, self.source, self.turn, self.size = PeopleWorld(), source, turn, size

    def draw(self, rng: np.random.Generator, n: int) -> Batch:
        """`pixels`, `other_pixels`, `identity`, `expression` (of `pixels`)."""
        rows: dict[str, list[np.ndarray]] = {"pixels": [], "other_pixels": [], "expression": []}
        chosen, _ = self.source.choose(rng, n)
        for number in chosen:
            seed = int(self.source.data.seeds[number // self.source.data.config.per_person])
            person = self.world.identity(seed)
            before = self.world.sample_state(rng)
            after = same_moment(before, rng, self.turn)
            for key, state in (("other_pixels", before), ("pixels", after)):
                rows[key].append(self.world.render(person, state, self.size, ("rgb",)).rgb_u8)  # type: ignore[arg-type]
            rows["expression"].append(after.expression55)
        batch = {
            key: torch.from_numpy(np.stack(rows[key])).permute(0, 3, 1, 2).float() / 127.5 - 1
            for key in ("pixels", "other_pixels")
        }
        batch["expression"] = torch.from_numpy(np.stack(rows["expression"]))
        batch["identity"] = self.source.identities(chosen)
        return batch


def train(config: ReferenceConfig, out: Path, resume: bool = True) -> dict[str, float]:
    """Train (a piece); export `ref_adapter/pytorch_lora_weights.safetensors` when finished."""
    session, bundle = Session(config.loop), Bundle(config.bundle)
    source = open_source(config.data, session, ("embedding", "expression"))
    refuse_singles(source, config.data.path)
    torch.manual_seed(config.loop.seed)
    objective = make_objective(config, bundle)
    loop = Loop(session, objective, out, config, resume)
    paired = isinstance(source, RenderedSource) and source.data.config.pairs
    latents = cached_latents(source, objective.vae, out, session) if paired else None
    outcome = loop.run(_drawer(config, source, latents))
    if outcome.export:
        with loop.average.applied():
            export(objective.layers, config.output)
    return outcome.figures()


def refuse_singles(source: Source, where: Path) -> None:
    """A picture that reads itself teaches copying. Raises TrainingError where no person has two photos."""
    if not isinstance(source, RenderedSource) and all(len(own) < 2 for own in source.people[:1000]):
        raise TrainingError(f"The reference adapter learns from two photos of a person; {where} has one of each.")


def make_objective(config: ReferenceConfig, bundle: Bundle) -> ReferenceObjective:
    """Frozen parts of the bundle with a fresh LoRA; the expression branch when the bundle has one."""
    unet = bundle.unet()
    path = config.bundle / "exp_adapter" / "exp_adapter.bin"
    branch = None
    if path.exists() and config.loss.expression_share > 0:
        branch = ExpressionBranch(unet)
        branch.load(torch.load(path, map_location="cpu", weights_only=True))
        branch.requires_grad_(False)
    prompts = Prompts(bundle.encoder(), bundle.tokenizer()).requires_grad_(False)
    return ReferenceObjective(config.loss, unet, prompts, branch, bundle.vae(), config.rank)


def export(layers: dict[str, LoraLayer], root: Path) -> None:
    """Write the LoRA in diffusers' naming."""
    save_tensors(diffusers_state(layers), root / "ref_adapter" / "pytorch_lora_weights.safetensors")


def _drawer(config: ReferenceConfig, source: Source, latents: Latents | None) -> DrawBatch:
    live = isinstance(source, RenderedSource) and not source.data.config.pairs
    pairs = PairRenderer(source, config.turn, config.data.size) if live else None

    def draw(turn: Turn, n: int) -> Batch:
        rng = turn.rng
        keys = ("pixels", "other_pixels", "identity", "expression")
        batch = source.draw(rng, n, keys, latents) if pairs is None else pairs.draw(rng, n)
        batch = prepare(batch, config.loss, rng)
        batch["blind"] = batch["dropped"] | torch.from_numpy(rng.random(n) < config.drop_reference)
        return batch

    return draw
