"""The reference adapter: LoRA on self-attention, reading what the frozen UNet saw of a reference picture at t = 0.

arXiv 2510.04706: the plain UNet runs once over the reference's clean latents at t = 0 with the same identity; the
normalised input of each self-attention is appended to keys and values of the denoiser's. Trained on pairs of frames of
one person: photos of one folder, or avatars rendered twice with the same light, background and nearly the same pose,
but another expression. Rows without identity do not read, as at inference.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional

from arc2face.attention import RecordSelfAttention, processors, self_attention_names
from training.common.loop import Batch, Loop, LoopConfig, Objective
from training.common.sources import AvatarSource, DataConfig, Source, open_source
from training.diffusion.denoising_loss import LossConfig, latents_of, prepare
from training.diffusion.expression_module import ExpressionBranch
from training.diffusion.lora import LoraLayer, diffusers_state, is_self_attention, switch, wrap
from training.diffusion.noise import alphas_cumprod, amounts, target
from training.diffusion.parts import Bundle, save_tensors
from training.diffusion.text import Prompts


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


class ReadingAttention:
    """Self-attention over its own tokens and the recorded ones; rows marked in `blind` see only their own."""

    def __init__(self) -> None:
        self.bank: Tensor | None = None
        self.blind: Tensor | None = None

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        assert self.bank is not None and self.blind is not None
        batch, tokens, _ = hidden_states.shape
        seen = torch.cat([hidden_states, self.bank], dim=1)
        query, key, value = attn.to_q(hidden_states), attn.to_k(seen), attn.to_v(seen)
        shape = (batch, -1, attn.heads, query.shape[-1] // attn.heads)
        q, k, v = (x.view(shape).transpose(1, 2) for x in (query, key, value))
        mask = torch.ones(batch, 1, 1, seen.shape[1], dtype=torch.bool, device=seen.device)
        mask[self.blind, :, :, tokens:] = False
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return attn.to_out[0](out.transpose(1, 2).reshape(batch, tokens, -1))


class ReferenceObjective(Objective):
    """Noise prediction with a reference picture; only the LoRA learns."""

    def __init__(
        self, config: LossConfig, unet: UNet2DConditionModel, prompts: Prompts, branch: ExpressionBranch | None,
        vae: AutoencoderKL, rank: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config, self.vae, self.prompts, self.branch = config, vae, prompts, branch
        self.unet = unet.requires_grad_(False)
        self.names = self_attention_names(unet)
        self.layers = wrap(unet, is_self_attention, rank)
        self.readers = {name: ReadingAttention() for name in self.names}
        self.register_buffer("abar", alphas_cumprod(), persistent=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Keys as in DenoisingObjective, plus `other_pixels` or `other_latents` (the reference) and `blind` (B,)."""
        clean, reference = latents_of(batch, self.vae), latents_of(batch, self.vae, "other_")
        noise = torch.randn_like(clean)
        a, s = amounts(self.abar, batch["timesteps"])
        with torch.no_grad():
            prompt = self.prompts(batch["identity"], batch["dropped"])
            self.record(reference, self.prompts(batch["identity"]))
        for reader in self.readers.values():
            reader.blind = batch["blind"]
        if self.branch is not None and "expression" in batch:
            self.branch.begin(batch["expression"], batch["expression_weights"])
        try:
            with processors(self.unet, self.readers):
                output = self.unet(a * clean + s * noise, batch["timesteps"], prompt).sample
        finally:
            if self.branch is not None:
                self.branch.end()
        return {"loss": functional.mse_loss(output.float(), target(self.config.prediction, clean, noise, a, s))}

    def record(self, reference: Tensor, prompt: Tensor) -> None:
        """Fill the readers' banks from one pass of the plain UNet at t = 0."""
        recorders = {name: RecordSelfAttention() for name in self.names}
        switch(self.layers, False)
        try:
            with processors(self.unet, recorders):
                self.unet(reference, torch.zeros(len(reference), dtype=torch.long, device=reference.device), prompt)
        finally:
            switch(self.layers, True)
        for name, recorder in recorders.items():
            self.readers[name].bank = recorder.recorded


class PairRenderer:
    """Two moments of one avatar: same light, background, clothes and camera; other expression; nearly the same pose."""

    def __init__(self, source: AvatarSource, turn: float, size: int) -> None:
        from training.avatars.world import AvatarWorld

        self.world, self.source, self.turn, self.size = AvatarWorld(), source, turn, size

    def draw(self, rng: np.random.Generator, n: int) -> Batch:
        """`pixels`, `other_pixels`, `identity`, `expression` (of `pixels`)."""
        rows: dict[str, list[np.ndarray]] = {"pixels": [], "other_pixels": [], "expression": []}
        chosen, _ = self.source.choose(rng, n)
        for number in chosen:
            seed = int(self.source.data.seeds[number // self.source.data.config.per_person])
            person = self.world.identity(seed)
            before = self.world.sample_state(rng)
            after, other = copy.deepcopy(before), self.world.sample_state(rng)
            after.expression, after.eyelids, after.jaw = other.expression, other.eyelids, other.jaw
            after.gaze = other.gaze
            after.yaw, after.pitch, after.roll = (
                angle + float(rng.normal(0, self.turn)) for angle in (before.yaw, before.pitch, before.roll)
            )
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
    bundle, source = Bundle(config.bundle), open_source(config.data)
    torch.manual_seed(config.loop.seed)
    objective = make_objective(config, bundle)
    loop = Loop(config.loop, objective, out, config, resume)
    outcome = loop.run(_drawer(config, source))
    if outcome.finished:
        with loop.average.applied():
            export(objective.layers, config.output)
    return {**outcome.losses, "step": float(outcome.step), "images_per_second": outcome.images_per_second}


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


def _drawer(config: ReferenceConfig, source: Source):
    pairs = PairRenderer(source, config.turn, config.data.size) if isinstance(source, AvatarSource) else None

    def draw(rng: np.random.Generator, n: int) -> Batch:
        keys = ("pixels", "other_pixels", "identity", "expression")
        batch = source.draw(rng, n, keys) if pairs is None else pairs.draw(rng, n)
        batch = prepare(batch, config.loss, rng)
        batch["blind"] = batch["dropped"] | torch.from_numpy(rng.random(n) < config.drop_reference)
        return batch

    return draw
