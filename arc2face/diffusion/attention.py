"""Attention processors of the adapters. Each holds the state of ONE request and is dropped with it.

They follow the calling convention of diffusers' `Attention` (hidden states (B, L, D) in and out) and its plain
scaled-dot-product arithmetic. Rows are ordered as in the denoising loop: with guidance the first half of the batch
is unconditional, the second half conditional; without guidance all rows are conditional.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

Processor = Any


class Attention(Protocol):
    """What the processors use of diffusers' attention layer."""

    heads: int
    rescale_output_factor: float
    to_out: nn.ModuleList

    def to_q(self, x: Tensor, /) -> Tensor: ...  # noqa: D102
    def to_k(self, x: Tensor, /) -> Tensor: ...  # noqa: D102
    def to_v(self, x: Tensor, /) -> Tensor: ...  # noqa: D102


@contextmanager
def processors(unet: UNet2DConditionModel, replacements: Mapping[str, Processor]) -> Generator[None]:
    """Swap the named processors for the body; the very same objects come back afterwards."""
    originals = {name: unet.attn_processors[name] for name in replacements}
    try:
        _install(unet, replacements)
        yield
    finally:
        _install(unet, originals)


def self_attention_names(unet: UNet2DConditionModel) -> list[str]:
    """Processor names of the self-attentions (attn1), in the UNet's order: down, up, mid."""
    return [name for name in unet.attn_processors if name.endswith("attn1.processor")]


def cross_attention_names(unet: UNet2DConditionModel) -> dict[int, str]:
    """IP-Adapter number -> processor name of each cross-attention (attn2); numbers count all processors."""
    return {i: name for i, name in enumerate(unet.attn_processors) if name.endswith("attn2.processor")}


def attend(attn: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Multi-head attention over projected (B, L, inner) tensors. Returns (B, Lq, inner)."""
    batch, _, inner = query.shape
    shape = (batch, -1, attn.heads, inner // attn.heads)
    q, k, v = (x.view(shape).transpose(1, 2) for x in (query, key, value))  # (B, heads, L, head_dim)
    out = functional.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).reshape(batch, -1, inner)


def project_out(attn: Attention, hidden_states: Tensor) -> Tensor:
    """Output projection and dropout (inactive in eval mode)."""
    return attn.to_out[1](attn.to_out[0](hidden_states)) / attn.rescale_output_factor


class ExpressionCrossAttention:
    """Identity cross-attention plus a scaled second one on expression tokens (IP-Adapter, arXiv 2308.06721, eq. 5)."""

    def __init__(self, tokens: Tensor, to_k: Tensor, to_v: Tensor, scale: float | Tensor) -> None:
        """`tokens`: (B, T, D), one row per row of the batch; `to_k`, `to_v`: (inner, D) weights."""
        self.key = functional.linear(tokens, to_k)  # (B, T, inner), constant over the steps
        self.value = functional.linear(tokens, to_v)
        self.scale = scale

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        query = attn.to_q(hidden_states)
        out = attend(attn, query, attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states))
        out = out + self.scale * attend(attn, query, self.key, self.value)
        return project_out(attn, out)


class RecordSelfAttention:
    """Plain self-attention that keeps its normalised input, (rows, L, D), as one entry of the reference bank."""

    def __init__(self) -> None:
        self.recorded: Tensor | None = None

    def __call__(self, attn: Attention, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        self.recorded = hidden_states.detach().clone()
        return plain_self_attention(attn, hidden_states)


class ReadSelfAttention:
    """Self-attention whose conditional rows also attend to the recorded reference (arXiv 2510.04706).

    The unconditional rows stay plain. Keys and values of the bank are projected once, at the first step, with the
    weights of the request (LoRA merged).
    """

    def __init__(self, bank: Tensor, num_images: int, guided: bool) -> None:
        """`bank`: (1 or n, L_ref, D). `guided`: whether the batch holds unconditional rows first."""
        self.bank = bank.expand(num_images, -1, -1)
        self.num_images = num_images
        self.guided = guided
        self.key_value: tuple[Tensor, Tensor] | None = None

    def __call__(self, attn: Attention, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        if self.key_value is None:
            self.key_value = (attn.to_k(self.bank), attn.to_v(self.bank))
        conditional = hidden_states[-self.num_images :]
        key = torch.cat([attn.to_k(conditional), self.key_value[0]], dim=1)
        value = torch.cat([attn.to_v(conditional), self.key_value[1]], dim=1)
        read = project_out(attn, attend(attn, attn.to_q(conditional), key, value))
        if not self.guided:
            return read
        return torch.cat([plain_self_attention(attn, hidden_states[: self.num_images]), read], dim=0)


def plain_self_attention(attn: Attention, hidden_states: Tensor) -> Tensor:
    """Self-attention as the base model does it."""
    query, key, value = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
    return project_out(attn, attend(attn, query, key, value))


def _install(unet: nn.Module, replacements: Mapping[str, Processor]) -> None:
    # Set one by one: `unet.set_attn_processor` empties the dict it is given and needs all of them.
    for name, processor in replacements.items():
        unet.get_submodule(name.removesuffix(".processor")).set_processor(processor)  # type: ignore[operator]
