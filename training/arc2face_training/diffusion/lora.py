"""Trainable low-rank updates (arXiv 2106.09685) on a frozen UNet, and the two file formats we write.

`wrap` replaces the chosen linear and convolution layers by a `LoraLayer` that holds the original. Exported files are
what arc2face.diffusion.lora reads: diffusers' naming without alpha, or the kohya naming of LCM-LoRA with alpha.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class LoraLayer(nn.Module):
    """`base(x) + scale * up(down(x))`; `up` starts at zero. `enabled` switches the update off."""

    def __init__(self, base: nn.Linear | nn.Conv2d, rank: int, alpha: float | None = None) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = 1.0 if alpha is None else alpha / rank
        self.alpha = alpha
        self.enabled = True
        if isinstance(base, nn.Conv2d):
            self.down: nn.Module = nn.Conv2d(
                base.in_channels,
                rank,
                base.kernel_size,
                base.stride,
                base.padding,
                bias=False,  # type: ignore[arg-type]
            )
            self.up: nn.Module = nn.Conv2d(rank, base.out_channels, 1, bias=False)
        else:
            self.down = nn.Linear(base.in_features, rank, bias=False)
            self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Same shapes as the wrapped layer."""
        out = self.base(x)
        return out + self.scale * self.up(self.down(x)) if self.enabled else out


def wrap(
    root: nn.Module, wanted: Callable[[str, nn.Module], bool], rank: int, alpha: float | None = None
) -> dict[str, LoraLayer]:
    """Wrap every wanted layer of `root` in place; returns module path -> layer."""
    found = [
        (name, module)
        for name, module in root.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and wanted(name, module)
    ]
    layers: dict[str, LoraLayer] = {}
    for name, module in found:
        parent, _, child = name.rpartition(".")
        layers[name] = LoraLayer(module, min(rank, *module.weight.shape[:2]) if alpha is None else rank, alpha)
        setattr(root.get_submodule(parent), child, layers[name])
    return layers


def switch(layers: dict[str, LoraLayer], enabled: bool) -> None:
    """Turn all updates on or off."""
    for layer in layers.values():
        layer.enabled = enabled


def diffusers_state(layers: dict[str, LoraLayer]) -> dict[str, Tensor]:
    """`unet.<path>.lora_A.weight` and `lora_B`, without alpha (effective scale 1), fp16."""
    state: dict[str, Tensor] = {}
    for name, layer in layers.items():
        state[f"unet.{name}.lora_A.weight"] = _half(layer.down.weight)
        state[f"unet.{name}.lora_B.weight"] = _half(layer.up.weight * layer.scale)
    return state


def kohya_state(layers: dict[str, LoraLayer]) -> dict[str, Tensor]:
    """`lora_unet_<path>.lora_down.weight`, `lora_up.weight`, `alpha`, fp16: the format of lcm-lora-sdv1-5."""
    state: dict[str, Tensor] = {}
    for name, layer in layers.items():
        key = "lora_unet_" + name.replace(".", "_")
        rank = layer.down.weight.shape[0]
        state[f"{key}.lora_down.weight"] = _half(layer.down.weight)
        state[f"{key}.lora_up.weight"] = _half(layer.up.weight)
        state[f"{key}.alpha"] = torch.tensor(float(rank if layer.alpha is None else layer.alpha)).half()
    return state


def is_lcm_target(name: str, module: nn.Module) -> bool:
    """The layers that LCM-LoRA changes: attention projections, feed-forward, resnets, samplers, time embeddings."""
    endings = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2",
               "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj")  # fmt: skip
    return name.endswith(endings)


def is_self_attention(name: str, module: nn.Module) -> bool:
    """The reference adapter's layers."""
    return ".attn1." in name and name.endswith(("to_q", "to_k", "to_v", "to_out.0"))


def _half(weight: Tensor) -> Tensor:
    return weight.detach().half().cpu().contiguous().clone()
