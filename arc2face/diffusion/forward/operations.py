"""The operations of a forward that a device may have a fused kernel for, and their plain form."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional


class Operations(Protocol):
    """What can be exchanged. Whoever implements it keeps the shapes; how it rounds is his to declare."""

    def norm(self, x: Tensor, layer: nn.GroupNorm, *, silu: bool, time: Tensor | None = None) -> Tensor:
        """Group norm of `x` (B, C, h, w), plus `time` (1 or B, C) before it when given, SiLU after it when asked."""
        ...

    def gated(self, x: Tensor) -> Tensor:
        """GEGLU of (B, L, 2 W): the first half times GELU of the second, (B, L, W)."""
        ...

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Scaled dot-product attention over (B, heads, L, head width)."""
        ...


class PlainOperations:
    """Bit for bit what diffusers does, on every device."""

    def norm(self, x: Tensor, layer: nn.GroupNorm, *, silu: bool, time: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        normed = layer(x if time is None else x + time[:, :, None, None])
        return functional.silu(normed) if silu else normed

    def gated(self, x: Tensor) -> Tensor:
        """(B, L, 2 W) -> (B, L, W)."""
        value, gate = x.chunk(2, dim=-1)
        return value * functional.gelu(gate)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, heads, L, head width) -> the same."""
        return functional.scaled_dot_product_attention(query, key, value)
