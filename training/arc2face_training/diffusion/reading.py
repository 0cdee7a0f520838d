"""Reference attention with gradients: self-attention that also reads what the UNet saw of a reference picture.

arXiv 2510.04706: the UNet runs once over the reference's clean latents at t = 0 with the same identity; the normalised
input of each self-attention is appended to keys and values of the denoiser's.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional

from arc2face.diffusion.attention import RecordSelfAttention, processors, self_attention_names


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


class ReferenceReading:
    """The banks of one UNet: `record` fills them, `reading` lets the UNet's self-attention use them."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.names = self_attention_names(unet)
        self.readers = {name: ReadingAttention() for name in self.names}

    @torch.no_grad()
    def record(self, unet: UNet2DConditionModel, reference: Tensor, prompt: Tensor) -> None:
        """Fill the banks from one pass over (B, C, h, w) clean latents at t = 0; no gradient flows back."""
        recorders = {name: RecordSelfAttention() for name in self.names}
        with processors(unet, recorders):
            unet(reference, torch.zeros(len(reference), dtype=torch.long, device=reference.device), prompt)
        for name, recorder in recorders.items():
            self.readers[name].bank = recorder.recorded

    @contextmanager
    def reading(self, unet: UNet2DConditionModel, blind: Tensor) -> Generator[None]:
        """Within, rows of the batch read the banks, except where `blind` (B,) is True."""
        for reader in self.readers.values():
            reader.blind = blind
        try:
            with processors(unet, self.readers):
                yield
        finally:
            for reader in self.readers.values():
                reader.bank = reader.blind = None
