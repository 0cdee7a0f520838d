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

    def last(self, count: int) -> ExpressionTokens:
        """Those of the last `count` rows."""
        strength = self.strength[-count:] if isinstance(self.strength, Tensor) else self.strength
        return replace(self, tokens=self.tokens[-count:], strength=strength)


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
        """The conditional rows alone, for steps without guidance."""
        if not self.guided:
            return self
        count = self.num_images
        expression = None if self.expression is None else self.expression.last(count)
        return Conditions(self.prompt[-count:], False, expression, self.bank)
