"""Where a run's memory goes: layers computed twice instead of kept, frozen weights in half precision, the layout."""

from __future__ import annotations

import logging

import torch
from torch import nn

log = logging.getLogger(__name__)
HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
SWITCHES = (
    "enable_gradient_checkpointing",  # diffusers
    "activation_checkpointing_enable",  # transformers, and its earlier name
    "gradient_checkpointing_enable",
)
JUDGES = ("features.",)
"""Frozen networks with batch norms, which stay in full precision; they are small."""
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)  # pyright: ignore[reportPrivateUsage]
"""Small, and autocast computes them in float32."""
NARROW = 16


def checkpoint_layers(module: nn.Module) -> int:
    """Turn on gradient checkpointing in every part that offers it; how many did."""
    count = 0
    for part in module.modules():
        switch = next((getattr(part, name) for name in SWITCHES if hasattr(part, name)), None)
        if switch is not None:
            switch()
            count += 1
    return count


def halve_frozen(module: nn.Module, precision: str) -> None:
    """Frozen floating-point weights in the run's half precision (fp16 or bf16), in place; autocast does the rest."""
    kind = HALVES.get(precision)
    if kind is None:
        log.warning("frozen parts stay in float32: this run computes in full precision")
        return
    for name, layer in module.named_modules():
        if isinstance(layer, NORMS) or f"{name}.".startswith(JUDGES):
            continue
        for parameter in layer.parameters(recurse=False):
            if not parameter.requires_grad and parameter.is_floating_point():
                parameter.data = parameter.data.to(kind)


def layout_of(model: nn.Module) -> torch.memory_format:
    """channels_last, except where a network for the CPU has convolutions of fewer than 16 channels.

    torch 2.13's kernels for AVX-512 write beyond their buffers there while training. Pictures (three channels) and
    pointwise convolutions are not concerned.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1:
            narrow_in = layer.in_channels < NARROW and layer.in_channels != 3
            if narrow_in or layer.out_channels < NARROW:
                return torch.contiguous_format
    return torch.channels_last
