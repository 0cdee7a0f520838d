"""diffusers' own forward behind the same three methods, for UNets that the own forward does not know."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from arc2face.diffusion.attention import (
    ExpressionCrossAttention,
    ReadSelfAttention,
    RecordSelfAttention,
    processors,
    self_attention_names,
)
from arc2face.diffusion.forward.conditions import Bank, Conditions


@dataclass(frozen=True)
class DiffusersInputs:
    """What all calls of a run read. `replacements`: attention processors of the run, by name."""

    timesteps: Tensor
    prompt: Tensor
    replacements: Mapping[str, Any]


class DiffusersForward:
    """Slower, and right for every UNet that diffusers can run."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.unet = unet

    def prepare(self, given: Conditions, timesteps: Tensor) -> DiffusersInputs:
        """`timesteps`: (steps,)."""
        replacements: dict[str, Any] = {}
        if given.expression is not None:
            tokens, strength = given.expression.tokens, given.expression.strength
            for name, (to_k, to_v) in given.expression.projections.items():
                replacements[name] = ExpressionCrossAttention(tokens, to_k, to_v, strength)
        for name, entry in (given.bank or {}).items():
            replacements[name] = ReadSelfAttention(entry, given.num_images, given.guided)
        return DiffusersInputs(timesteps.to(given.prompt.device), given.prompt, replacements)

    def predict(
        self, rows: Tensor, inputs: DiffusersInputs, step: int, residuals: tuple[Tensor, ...] | None = None
    ) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        extra: dict[str, Any] = {}
        if residuals is not None:
            extra = {
                "down_block_additional_residuals": residuals[:-1],
                "mid_block_additional_residual": residuals[-1],
            }
        with processors(self.unet, inputs.replacements):
            return self.unet(rows, inputs.timesteps[step], inputs.prompt, return_dict=False, **extra)[0]

    def record(self, latents: Tensor, prompt: Tensor) -> Bank:
        """As `UNetForward.record`."""
        recorders = {name: RecordSelfAttention() for name in self_attention_names(self.unet)}
        with torch.no_grad(), processors(self.unet, recorders):
            zero = torch.zeros((), dtype=torch.long, device=latents.device)
            self.unet(latents, zero, prompt.expand(len(latents), -1, -1))
        bank = {name: recorder.recorded for name, recorder in recorders.items()}
        return {name: entry for name, entry in bank.items() if entry is not None}


@dataclass(frozen=True)
class DiffusersControlInputs:
    """What all calls of a run read."""

    timesteps: Tensor
    prompt: Tensor
    condition: Tensor
    strength: float | Tensor


class DiffusersControl:
    """The same for a ControlNet; the embedded condition stands in for its embedder while it runs."""

    def __init__(self, network: ControlNetModel) -> None:
        self.network = network

    def prepare(
        self, prompt: Tensor, timesteps: Tensor, condition: Tensor, strength: float | Tensor
    ) -> DiffusersControlInputs:
        """As `ControlForward.prepare`."""
        return DiffusersControlInputs(timesteps.to(prompt.device), prompt, condition, strength)

    def residuals(self, rows: Tensor, inputs: DiffusersControlInputs, step: int) -> tuple[Tensor, ...]:
        """As `ControlForward.residuals`."""
        condition = inputs.condition.expand(len(rows), -1, -1, -1)
        with _precomputed(self.network, condition):
            down, middle = self.network(
                rows,
                inputs.timesteps[step],
                encoder_hidden_states=inputs.prompt,
                controlnet_cond=condition,
                conditioning_scale=inputs.strength,
                return_dict=False,
            )
        return (*down, middle)


@contextmanager
def _precomputed(network: ControlNetModel, embedding: Tensor) -> Generator[None]:
    embedder = network.controlnet_cond_embedding
    network.controlnet_cond_embedding = _Constant(embedding)  # type: ignore[assignment]
    try:
        yield
    finally:
        network.controlnet_cond_embedding = embedder


class _Constant(nn.Module):
    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, condition: Tensor) -> Tensor:
        return self.value
