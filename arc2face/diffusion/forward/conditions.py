"""What a run is conditioned on, as the adapters give it; a network makes its inputs from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

Bank = Mapping[str, Tensor]
"""Processor name of a self-attention -> its recorded normalised input (1 or n, tokens, width)."""


@dataclass(frozen=True)
class ExpressionTokens:
    """A second cross-attention (IP-Adapter, arXiv 2308.06721, eq. 5).

    `tokens`: (B, T, D). `projections`: processor name of a cross-attention -> its `to_k` and `to_v`, each (inner, D).
    `strength`: factor of what it adds, one or (B, 1, 1).
    """

    tokens: Tensor
    projections: Mapping[str, tuple[Tensor, Tensor]]
    strength: float | Tensor


@dataclass(frozen=True)
class Conditions:
    """`prompt`: (B, L, D), with guidance the unconditional rows first. `guided`: whether there are such rows."""

    prompt: Tensor
    guided: bool
    expression: ExpressionTokens | None = None
    bank: Bank | None = None

    @property
    def num_images(self) -> int:
        """Pictures n, the number of conditional rows."""
        return len(self.prompt) // 2 if self.guided else len(self.prompt)

    def conditional(self) -> Conditions:
        """The conditional rows alone."""
        n, expression = self.num_images, self.expression
        if expression is not None:
            strength = expression.strength
            rows = strength[-n:] if isinstance(strength, Tensor) and strength.ndim else strength
            expression = replace(expression, tokens=expression.tokens[-n:], strength=rows)
        return Conditions(self.prompt[-n:], False, expression, self.bank)
