"""LoRA files, merged into the weights they belong to and taken out again without a trace.

Merging happens in float32 inside the existing storage (`copy_`), so captured graphs keep their addresses; leaving
copies the saved originals back. Subtracting the update instead would drift by a rounding error at every use.
Formats read: kohya (`lora_unet_<path>.lora_down.weight` with `.alpha`) and diffusers (`unet.<path>.lora.down.weight`
or `unet.<path>.lora_A.weight`, alpha equal to the rank).
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from arc2face.errors import IncompatibleWeightsError
from arc2face.weights.store import load_state_dict

_ROLES = {
    "lora_down.weight": "down",
    "lora.down.weight": "down",
    "lora_A.weight": "down",
    "lora_A.default.weight": "down",
    "lora_up.weight": "up",
    "lora.up.weight": "up",
    "lora_B.weight": "up",
    "lora_B.default.weight": "up",
    "alpha": "alpha",
}
_OLD_PROCESSOR = re.compile(r"\.processor\.to_(q|k|v|out)_lora\.")


@dataclass(frozen=True)
class LoraUpdate:
    """Low-rank update of one layer: weight += scale * up @ down.

    `down`: (rank, in) or (rank, in, kh, kw). `up`: (out, rank) or (out, rank, 1, 1). `scale`: alpha / rank.
    """

    down: Tensor
    up: Tensor
    scale: float

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """The update in float32 on `weight`'s device, in its shape."""
        up = self.up.to(weight.device, torch.float32).flatten(1)
        down = self.down.to(weight.device, torch.float32).flatten(1)
        return (up @ down).mul_(self.scale * strength).reshape(weight.shape)


LoraWeights = Mapping[str, LoraUpdate]
"""Module path inside the UNet -> its update."""


def load_lora(path: Path, unet: nn.Module) -> LoraWeights:
    """Read a LoRA file and match every one of its tensors to a layer of `unet`.

    Raises IncompatibleWeightsError when a key belongs to no layer, a pair is incomplete, or a shape does not fit.
    """
    layers = {name: module for name, module in unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    flat_names = {"lora_unet_" + name.replace(".", "_"): name for name in layers}
    found: dict[str, dict[str, Tensor]] = {}
    unknown: list[str] = []
    for key, tensor in load_state_dict(path).items():
        name, role = _split(key, flat_names)
        if name is None or name not in layers or role is None:
            unknown.append(key)
        else:
            found.setdefault(name, {})[role] = tensor
    if unknown:
        raise IncompatibleWeightsError(
            f"{path} holds {len(unknown)} keys that fit no layer of this UNet, for example {unknown[0]}. "
            "It belongs to another architecture."
        )
    return {name: _update(path, name, parts, layers[name]) for name, parts in found.items()}


@contextmanager
def merged(unet: nn.Module, lora: LoraWeights, strength: float) -> Generator[None]:
    """Merge `lora` into `unet` for the body, then restore every touched weight bit for bit, whatever happened.

    Nests: an inner merge saves and restores the weights as the outer one left them.
    """
    originals: list[tuple[Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            for name, update in lora.items():
                weight = unet.get_submodule(name).weight
                assert isinstance(weight, Tensor)
                delta = update.delta(weight, strength)
                originals.append((weight, weight.detach().clone()))
                weight.copy_(weight.to(torch.float32) + delta)
        yield
    finally:
        with torch.no_grad():
            for weight, original in reversed(originals):
                weight.copy_(original)


def lora_bytes(lora: LoraWeights) -> int:
    """Memory the update matrices take."""
    return sum(t.numel() * t.element_size() for update in lora.values() for t in (update.down, update.up))


def _split(key: str, flat_names: Mapping[str, str]) -> tuple[str | None, str | None]:
    """(module path, down|up|alpha) of a key in any of the known spellings."""
    for suffix, role in _ROLES.items():
        if key.endswith("." + suffix):
            stem = key[: -len(suffix) - 1]
            if stem.startswith("lora_unet_"):
                return flat_names.get(stem), role
            return stem.removeprefix("unet.").removeprefix("base_model.model."), role
    old = _OLD_PROCESSOR.search(key)  # diffusers before 0.22: <path>.processor.to_q_lora.down.weight
    if old is not None:
        projection = "to_out.0" if old[1] == "out" else f"to_{old[1]}"
        role = {"down.weight": "down", "up.weight": "up"}.get(key[old.end() :])
        return key[: old.start()].removeprefix("unet.") + "." + projection, role
    return None, None


def _update(path: Path, name: str, parts: Mapping[str, Tensor], layer: nn.Linear | nn.Conv2d) -> LoraUpdate:
    if "down" not in parts or "up" not in parts:
        raise IncompatibleWeightsError(
            f"{path} is incomplete: {name} lacks its {'up' if 'down' in parts else 'down'} matrix."
        )
    down, up = parts["down"], parts["up"]
    rank = down.shape[0]
    weight = layer.weight
    fits = up.shape[0] == weight.shape[0] and up.shape[1] == rank and down[0].numel() == weight[0].numel()
    if not fits or up[0].numel() != rank:
        raise IncompatibleWeightsError(
            f"{path} does not fit this UNet: {name} has {tuple(down.shape)} and {tuple(up.shape)} "
            f"for a weight of shape {tuple(weight.shape)}."
        )
    alpha = float(parts["alpha"]) if "alpha" in parts else float(rank)
    return LoraUpdate(down=down, up=up, scale=alpha / rank)
