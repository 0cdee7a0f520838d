"""Exponential moving average of trained weights: diffusers' EMAModel, and the same for batch-norm statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

STATISTICS = ("running_mean", "running_var")


class WeightAverage:
    """Average of a module's trainable parameters and of its batch-norm statistics, on their device.

    The decay grows as (1 + step) / (10 + step) until it reaches `decay`, so that a short run is not dragged by its
    start. EMAModel would copy the statistics of the moment, which belong to other weights; they are averaged here.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.names, self.parameters = list(named), list(named.values())
        self.model = EMAModel(self.parameters, decay=decay, foreach=True)
        self.statistics = {name: b for name, b in module.named_buffers() if name.rpartition(".")[2] in STATISTICS}
        self.averaged = {name: value.detach().clone() for name, value in self.statistics.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the current weights."""
        self.model.step(self.parameters)
        assert self.model.cur_decay_value is not None
        for name, average in self.averaged.items():
            average.lerp_(self.statistics[name], 1 - self.model.cur_decay_value)

    def state_dict(self) -> dict[str, Tensor]:
        """Name -> average, of parameters and statistics."""
        return {**dict(zip(self.names, self.model.shadow_params, strict=True)), **self.averaged}

    def load_state_dict(self, state: Mapping[str, Tensor], step: int) -> None:
        """Continue from an average saved after `step` updates; every name must be there."""
        for name, average in self.state_dict().items():
            average.copy_(state[name])
        self.model.optimization_step = step

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the module for the body."""
        kept = {name: value.clone() for name, value in self.statistics.items()}
        self.model.store(self.parameters)
        self.model.copy_to(self.parameters)
        self._set(self.averaged)
        try:
            yield
        finally:
            self.model.restore(self.parameters)
            self._set(kept)

    def _set(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in values.items():
                self.statistics[name].copy_(value)
