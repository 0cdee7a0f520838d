"""The ControlNet's own forward (arXiv 2302.05543): the same blocks as the UNet's left half."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

from arc2face.diffusion.forward.blocks import Call, Layers
from arc2face.diffusion.forward.inputs import KeyValues, StepInputs
from arc2face.diffusion.forward.operations import Operations, PlainOperations
from arc2face.diffusion.forward.timing import time_table
from arc2face.diffusion.forward.unet import down_and_middle


@dataclass(frozen=True)
class ControlInputs:
    """What all calls of one run read, as plain tensors.

    `time`: (steps, 1 or R, width). `cross`: of the prompt, R rows each. `condition`: the embedded
    picture (1 or R, C, h, w). `strength`: 0-dim, or (R, 1, 1, 1). R is B, or n when pooled conditions are for the
    conditional rows alone.
    """

    time: Tensor
    cross: KeyValues
    condition: Tensor
    strength: Tensor


class ControlForward(nn.Module):
    """Calls of one ControlNet that `why_not_control` says nothing against."""

    def __init__(self, network: ControlNetModel, ops: Operations | None = None) -> None:
        """`network`: used as it is, never copied."""
        super().__init__()
        self.network = network
        self.ops = ops or PlainOperations()
        self.layers = Layers.of(network)

    def prepare(self, prompt: Tensor, timesteps: Tensor, condition: Tensor, strength: float | Tensor) -> ControlInputs:
        """`prompt`: (R, L, D); `timesteps`: (steps,) in host memory; `condition`: (1 or R, C, h, w), embedded."""
        with torch.no_grad():
            return ControlInputs(
                time=time_table(self.network, self.layers, timesteps, prompt),
                cross=self.layers.cross(prompt),
                condition=condition,
                strength=torch.as_tensor(strength, dtype=condition.dtype, device=condition.device),
            )

    def residuals(self, rows: Tensor, inputs: ControlInputs, step: int) -> tuple[Tensor, ...]:
        """The residuals for `rows` (R, C, h, w) at `step`: down blocks in their order, the middle's last, scaled."""
        return self(rows, inputs.time[step], inputs)

    def forward(self, rows: Tensor, time: Tensor, inputs: ControlInputs) -> tuple[Tensor, ...]:
        """As `residuals`, with the step's row of the time table, (1 or R, width)."""
        network: Any = self.network
        call = Call(self.layers, self.ops, StepInputs(time, inputs.cross))
        x, skips = down_and_middle(network, call, network.conv_in(rows) + inputs.condition)
        made = [layer(skip) for layer, skip in zip(network.controlnet_down_blocks, skips, strict=True)]
        made.append(network.controlnet_mid_block(x))
        scaled = [residual * inputs.strength for residual in made]
        if network.config["global_pool_conditions"]:
            scaled = [residual.mean(dim=(2, 3), keepdim=True) for residual in scaled]
        return tuple(scaled)
