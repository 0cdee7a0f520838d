"""Exponential moving average of trained weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average of a module's trainable parameters, kept in float32 on their device.

    The decay grows as step / (step + 20) until it reaches `decay`, so that short runs are not dragged by their start.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.names = [name for name, p in module.named_parameters() if p.requires_grad]
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.average = [p.detach().float().clone() for p in self.parameters]

    def update(self, step: int) -> None:
        """Move towards the current weights."""
        weight = 1 - min(self.decay, step / (step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, [p.detach().float() for p in self.parameters], weight)

    def state_dict(self) -> dict[str, Tensor]:
        """Name -> average."""
        return dict(zip(self.names, self.average, strict=True))

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved average; every name must be there."""
        for name, average in zip(self.names, self.average, strict=True):
            average.copy_(state[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the module for the body."""
        kept = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            for parameter, average in zip(self.parameters, self.average, strict=True):
                parameter.copy_(average)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, kept, strict=True):
                    parameter.copy_(value)
