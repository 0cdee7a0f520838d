"""A ControlNet as a source of residuals for one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from diffusers import ControlNetModel
from torch import Tensor

from arc2face.diffusion.hooks import Residuals


class ControlNetwork(Protocol):
    """Calls of a ControlNet: `ControlForward`, or `DiffusersControl` where that cannot run it."""

    network: ControlNetModel

    def prepare(self, prompt: Tensor, timesteps: Tensor, condition: Tensor, strength: float | Tensor) -> Any:
        """What all calls of a run read."""
        ...

    def residuals(self, rows: Tensor, inputs: Any, step: int) -> tuple[Tensor, ...]:
        """Those of the down blocks in their order, the middle's last, scaled."""
        ...


class ControlSource:
    """A ControlNet as a source of residuals for one run.

    `acts(step, steps)`: whether it acts in a step. Where its conditions are pooled they are for the conditional rows
    alone, as in diffusers' pipeline; `unconditional` is how many rows come before those.
    """

    def __init__(
        self,
        network: ControlNetwork,
        condition: Tensor,
        strength: float | Tensor,
        acts: Callable[[int, int], bool],
        unconditional: int = 0,
    ) -> None:
        """`condition`: the embedded picture (1, C, h, w), or one per row; so may `strength` be, (R, 1, 1, 1).

        `unconditional`: 0 without guidance.
        """
        self.network, self.condition, self.strength, self.acts = network, condition, strength, acts
        self.skipped = unconditional if network.network.config["global_pool_conditions"] else 0
        self.inputs: Any = None
        self._prompt: Tensor | None = None

    def conditional(self, count: int) -> ControlSource:
        """The same for steps without guidance: `count` conditional rows alone."""
        condition, strength = self.condition, self.strength
        if len(condition) > 1:
            condition = condition[-count:]
        if isinstance(strength, Tensor):
            strength = strength[-count:]
        return ControlSource(self.network, condition, strength, self.acts)

    @property
    def silent(self) -> bool:
        """Whether its strength is 0, so that it need not run."""
        return not isinstance(self.strength, Tensor) and self.strength == 0.0

    def prepare(self, prompt: Tensor, timesteps: Tensor) -> None:
        """Before the first step. `prompt`: (B, L, D), all rows; `timesteps`: (steps,) in host memory."""
        self._prompt = prompt
        self.inputs = self._inputs(prompt, timesteps)

    def __call__(self, rows: Tensor, timestep: Tensor, prompt: Tensor, step: int, steps: int) -> Residuals | None:
        """The residuals of a step for `rows` (B, C, h, w), or None when it does not act."""
        if not self.acts(step, steps) or self.silent:
            return None
        prepared = prompt is self._prompt
        inputs = self.inputs if prepared else self._inputs(prompt, timestep.reshape(1))
        made = self.network.residuals(rows[self.skipped :], inputs, step if prepared else 0)
        if self.skipped:
            made = tuple(torch.cat([torch.zeros_like(residual), residual]) for residual in made)
        return made[:-1], made[-1]

    def _inputs(self, prompt: Tensor, timesteps: Tensor) -> Any:
        return self.network.prepare(prompt[self.skipped :], timesteps, self.condition, self.strength)
