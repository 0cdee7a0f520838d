"""One interface for both forwards, and the choice between them."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor

from arc2face.diffusion.forward.conditions import Bank, Conditions
from arc2face.diffusion.forward.control import ControlForward
from arc2face.diffusion.forward.fallback import DiffusersControl, DiffusersForward
from arc2face.diffusion.forward.operations import Operations
from arc2face.diffusion.forward.source import ControlNetwork
from arc2face.diffusion.forward.supported import why_not_control, why_not_unet
from arc2face.diffusion.forward.unet import UNetForward

log = logging.getLogger(__name__)


class Network(Protocol):
    """A denoiser: what is constant is prepared once per run, with the weights as they are then."""

    def prepare(self, given: Conditions, timesteps: Tensor) -> Any:
        """What all calls of a run read. `timesteps`: (steps,) in host memory."""
        ...

    def predict(self, rows: Tensor, inputs: Any, step: int, residuals: tuple[Tensor, ...] | None = None) -> Tensor:
        """Predicted noise (B, C, h, w) at `step`. `residuals`: of the down blocks in their order, the middle's last."""
        ...

    def record(self, latents: Tensor, prompt: Tensor) -> Bank:
        """Normalised self-attention inputs of one call at t = 0 over clean `latents` (m, C, h, w)."""
        ...


def network_for(unet: UNet2DConditionModel, own: UNetForward | None = None) -> Network:
    """The own forward where it can run this UNet as it is now, else diffusers'. `own`: one that is there already."""
    reason = why_not_unet(unet)
    if reason is None:
        return own or UNetForward(unet)
    log.info("the UNet runs with diffusers' forward: %s", reason)
    return DiffusersForward(unet)


def control_for(network: ControlNetModel, ops: Operations | None = None) -> ControlNetwork:
    """The same for a ControlNet."""
    reason = why_not_control(network)
    if reason is None:
        return ControlForward(network, ops)
    log.info("the ControlNet runs with diffusers' forward: %s", reason)
    return DiffusersControl(network)
