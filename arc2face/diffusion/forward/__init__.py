"""The UNet's and the ControlNet's own forward over diffusers' modules, with all that is constant taken out.

network = network_for(unet)                                # UNetForward, or DiffusersForward when not supported
inputs = network.prepare(given, timesteps)                 # once per run: plain tensors
noise = network.predict(rows, inputs, step, residuals)     # once per step
"""

from __future__ import annotations

from arc2face.diffusion.forward.conditions import Conditions, ExpressionTokens
from arc2face.diffusion.forward.control import ControlForward, ControlInputs
from arc2face.diffusion.forward.fallback import DiffusersForward
from arc2face.diffusion.forward.inputs import KeyValue, KeyValues, RunInputs, StepInputs
from arc2face.diffusion.forward.network import Network, control_for, network_for
from arc2face.diffusion.forward.operations import Operations, PlainOperations
from arc2face.diffusion.forward.source import ControlNetwork, ControlSource
from arc2face.diffusion.forward.supported import why_not_control, why_not_unet
from arc2face.diffusion.forward.unet import UNetForward

__all__ = [
    "Conditions",
    "ControlForward",
    "ControlInputs",
    "ControlNetwork",
    "ControlSource",
    "DiffusersForward",
    "ExpressionTokens",
    "KeyValue",
    "KeyValues",
    "Network",
    "Operations",
    "PlainOperations",
    "RunInputs",
    "StepInputs",
    "UNetForward",
    "control_for",
    "network_for",
    "why_not_control",
    "why_not_unet",
]
