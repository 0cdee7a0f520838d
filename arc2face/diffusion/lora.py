"""LoRA files, read and matched to the layers they belong to (`arc2face.diffusion.merging` applies them).

Formats read: kohya (`lora_unet_<path>.lora_down.weight` with `.alpha`) and diffusers (`unet.<path>.lora.down.weight`
or `unet.<path>.lora_A.weight`). Without an alpha tensor, the alpha of the safetensors metadata counts, as diffusers
writes it (`lora_adapter_metadata`); without that, alpha equals the rank.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
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
_TEXT_ENCODER = ("lora_te_", "lora_te1_", "lora_te2_", "text_encoder.", "text_encoder_2.")
_METADATA = "lora_adapter_metadata"
_OLD_PROCESSOR = re.compile(r"\.processor\.to_(q|k|v|out)_lora\.")


@dataclass(frozen=True, eq=False)
class LoraUpdate:
    """Low-rank update of one layer: weight += scale * up @ down.

    `down`: (rank, in) or (rank, in, kh, kw). `up`: (out, rank) or (out, rank, 1, 1). `scale`: alpha / rank.
    """

    down: Tensor
    up: Tensor
    scale: float


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
        raise _stranger(path, unknown)
    if not found:
        raise IncompatibleWeightsError(f"{path} is empty: it holds no LoRA matrices. Download it again.")
    settings = _metadata(path)
    return {name: _update(path, name, parts, layers[name], settings) for name, parts in found.items()}


def add_update(weight: Tensor, update: LoraUpdate, strength: float) -> None:
    """Add strength * scale * up @ down: one product into the weight's own storage, nothing of its size beside it.

    float32, and float16 where the device multiplies it with float32 sums, are added directly (one rounding at the end);
    other precisions go through float32.
    """
    rows, down = _as_rows(weight, update.down)
    direct = weight.dtype == torch.float32 or (weight.dtype == torch.float16 and weight.device.type != "cpu")
    dtype = weight.dtype if direct else torch.float32
    up, down = (matrix.to(weight.device, dtype) for matrix in (update.up.flatten(1), down))
    alpha = update.scale * strength
    if direct:
        rows.addmm_(up, down, alpha=alpha)
    else:
        rows.copy_(torch.addmm(rows.float(), up, down, alpha=alpha))


def _as_rows(weight: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """A weight and `down` as matrices (out, in * kh * kw) and (rank, the same) in the weight's own order, as views."""
    if weight.is_contiguous():
        return weight.view(len(weight), -1), down.flatten(1)
    down = down.reshape(len(down), *weight.shape[1:]).permute(0, 2, 3, 1)
    return weight.permute(0, 2, 3, 1).view(len(weight), -1), down.flatten(1)  # channels_last


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


def _stranger(path: Path, unknown: list[str]) -> IncompatibleWeightsError:
    text = [key for key in unknown if key.startswith(_TEXT_ENCODER)]
    if text:
        return IncompatibleWeightsError(
            f"{path} also changes the text encoder ({len(text)} keys, for example {text[0]}). The identity encoder "
            "takes no LoRA; use a file that holds the UNet's part alone."
        )
    return IncompatibleWeightsError(
        f"{path} holds {len(unknown)} keys that fit no layer of this UNet, for example {unknown[0]}. "
        "It belongs to another architecture."
    )


def _metadata(path: Path) -> dict[str, Any]:
    """What diffusers wrote about the UNet's LoRA into the file's metadata: lora_alpha, alpha_pattern, use_rslora."""
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as file:  # pyright: ignore[reportUnknownVariableType]
            found: Any = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise IncompatibleWeightsError(f"{path}: its LoRA metadata cannot be read ({error}).") from error
    if not isinstance(found, dict):
        raise IncompatibleWeightsError(f"{path}: its LoRA metadata is not an object.")
    values = cast(dict[str, Any], found)
    return {key.removeprefix("unet."): value for key, value in values.items() if not key.startswith(_TEXT_ENCODER)}


def _alpha(path: Path, name: str, rank: int, settings: Mapping[str, Any]) -> float:
    """The layer's alpha by the metadata (PEFT's rule: a pattern names the end of the path), else its rank."""
    patterns = settings.get("alpha_pattern") or {}
    named = [value for key, value in patterns.items() if name == key or name.endswith("." + key)]
    alpha = named[0] if named else settings.get("lora_alpha", rank)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise IncompatibleWeightsError(f"{path}: the metadata's alpha of {name} is {alpha!r}, not a number.")
    return float(alpha) * math.sqrt(rank) if settings.get("use_rslora") else float(alpha)


def _update(
    path: Path, name: str, parts: Mapping[str, Tensor], layer: nn.Linear | nn.Conv2d, settings: Mapping[str, Any]
) -> LoraUpdate:
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
    alpha = float(parts["alpha"]) if "alpha" in parts else _alpha(path, name, rank, settings)
    return LoraUpdate(down=down, up=up, scale=alpha / rank)
