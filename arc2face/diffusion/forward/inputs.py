"""What the UNet reads beside the latents, as plain tensors.

Nothing of a request is a Python number here, so whoever captures a call can own static copies of these tensors, fill
them for the next request and replay. Rows are ordered as in the denoising loop: with guidance the first n of B = 2n
rows are unconditional; without it B = n.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one attention, each (rows, heads, tokens, head width)."""
KeyValues = tuple[KeyValue, ...]
"""One per transformer block, in the order in which they run: down, middle, up."""


@dataclass(frozen=True)
class StepInputs:
    """What one call reads.

    `time`: (1 or B, width), every ResNet's time projection side by side. `cross`: of the prompt, B rows.
    `expression`: of the expression's tokens, B rows, the strength already in the values; None for none. `bank`: of the
    recorded reference, 1 or n rows, read by the conditional rows; None for none. `residuals`: the ControlNet's, those
    of the down blocks in their order and the middle's last, already scaled; None for none.
    """

    time: Tensor
    cross: KeyValues
    expression: KeyValues | None = None
    bank: KeyValues | None = None
    residuals: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class RunInputs:
    """What all calls of one run read.

    `time`: (steps, 1 or B, width). `guided`: whether there are unconditional rows; with `bank` it decides which rows
    read. The rest is as in `StepInputs`.
    """

    time: Tensor
    cross: KeyValues
    guided: bool
    expression: KeyValues | None = None
    bank: KeyValues | None = None

    def at(self, step: int, residuals: tuple[Tensor, ...] | None = None) -> StepInputs:
        """What the call of `step` (0 to steps - 1) reads."""
        return StepInputs(self.time[step], self.cross, self.expression, self.bank, residuals)
