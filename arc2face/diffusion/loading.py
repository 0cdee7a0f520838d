"""Strict loading of the diffusion models from their original folders.

Every expected key must be attached and none may be left over; otherwise IncompatibleWeightsError names them. The
modules are built on the meta device and take over the file's tensors, so no time goes into random initialisation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from arc2face.errors import CorruptWeightsError, IncompatibleWeightsError
from arc2face.weights.folder import BASE_MODEL, SAFETENSORS, ModelsFolder
from arc2face.weights.store import load_state_dict

FP16 = "diffusion_pytorch_model.fp16.safetensors"
Rename = Callable[[str], str | None]
M = TypeVar("M", bound=nn.Module)

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_ATTENTION_KEY = re.compile(r"(attentions\.\d+\.)(query|key|value|proj_attn)(\.)")


def load_unet(models: ModelsFolder, dtype: torch.dtype) -> UNet2DConditionModel:
    """Arc2Face's denoiser from `arc2face/`."""
    files = weight_names("arc2face", dtype)
    return build(UNet2DConditionModel, models.require("arc2face/config.json"), models.require(*files), dtype)


def load_controlnet(models: ModelsFolder, dtype: torch.dtype) -> ControlNetModel:
    """The pose ControlNet from `controlnet/`."""
    config = models.require("controlnet/config.json", feature="pose")
    files = weight_names("controlnet", dtype)
    return build(ControlNetModel, config, models.require(*files, feature="pose"), dtype)


def load_vae(models: ModelsFolder, dtype: torch.dtype) -> AutoencoderKL:
    """SD 1.5's autoencoder; attention weights may carry their old names (query, key, value, proj_attn)."""
    folder = f"{BASE_MODEL}/vae"
    files = (*weight_names(folder, dtype), f"{folder}/diffusion_pytorch_model.bin")
    return build(
        AutoencoderKL, models.require(f"{folder}/config.json"), models.require(*files), dtype, _modern_attention
    )


def load_text_encoder(models: ModelsFolder, dtype: torch.dtype) -> CLIPTextModel:
    """Arc2Face's fine-tuned CLIP text encoder from `encoder/`, in any key layout since transformers 4."""
    config_file = models.require("encoder/config.json")
    weights = models.require("encoder/model.safetensors", "encoder/pytorch_model.bin")
    config = CLIPTextConfig.from_pretrained(config_file.parent, local_files_only=True)
    # Eager attention reproduces the reference implementation bit for bit; the encoder runs once per request.
    config._attn_implementation = "eager"  # pyright: ignore[reportPrivateUsage]
    with torch.device("meta"):
        model = CLIPTextModel(config)
    attach(model, load_state_dict(weights), weights, dtype, _modern_clip)
    positions = torch.arange(config.max_position_embeddings).expand((1, -1))
    model.embeddings.register_buffer("position_ids", positions, persistent=False)
    return model.eval().requires_grad_(False)


def load_tokenizer(models: ModelsFolder) -> CLIPTokenizer:
    """SD 1.5's tokenizer folder."""
    folder = models.require(f"{BASE_MODEL}/tokenizer/vocab.json").parent
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def load_scheduler_config(models: ModelsFolder) -> dict[str, Any]:
    """The raw scheduler_config.json.

    Raw on purpose: a config that went through a scheduler object holds that class's defaults (PNDM's `leading`
    spacing, for one), which would silently leak into the scheduler built from it.
    """
    return read_json(models.require(f"{BASE_MODEL}/scheduler/scheduler_config.json"))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; CorruptWeightsError when it is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptWeightsError(f"{path} cannot be read ({error}). Delete it and download it again.") from error
    if not isinstance(value, dict):
        raise CorruptWeightsError(f"{path} is not a model configuration. Delete it and download it again.")
    return value


def build(cls: type[M], config: Path, weights: Path, dtype: torch.dtype, rename: Rename | None = None) -> M:
    """One diffusers model from its config file and its weight file."""
    settings = read_json(config)
    if settings.get("_class_name", cls.__name__) != cls.__name__:
        raise IncompatibleWeightsError(f"{config} describes a {settings['_class_name']}, not a {cls.__name__}.")
    try:
        with torch.device("meta"):
            model = cls.from_config(settings)  # type: ignore[attr-defined]
    except (TypeError, ValueError, KeyError) as error:
        raise IncompatibleWeightsError(f"{config} does not describe a {cls.__name__}: {error}") from error
    attach(model, load_state_dict(weights), weights, dtype, rename)
    return model.eval().requires_grad_(False)


def attach(
    model: nn.Module, state: dict[str, Tensor], source: Path, dtype: torch.dtype, rename: Rename | None = None
) -> None:
    """Put `state` into `model`, exactly; raises IncompatibleWeightsError naming what does not fit."""
    if rename is not None:
        renamed = {rename(key): tensor for key, tensor in state.items()}
        state = {key: tensor for key, tensor in renamed.items() if key is not None}
    expected = model.state_dict()
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or extra:
        raise IncompatibleWeightsError(
            f"{source} does not fit its config: {len(missing)} keys missing{_some(missing)}, "
            f"{len(extra)} left over{_some(extra)}."
        )
    wrong = [key for key, tensor in state.items() if tensor.shape != expected[key].shape]
    if wrong:
        shapes = f"{tuple(state[wrong[0]].shape)} instead of {tuple(expected[wrong[0]].shape)}"
        raise IncompatibleWeightsError(f"{source} does not fit its config: {wrong[0]} has shape {shapes}.")
    cast = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    model.load_state_dict(cast, strict=True, assign=True)


def weight_names(folder: str, dtype: torch.dtype) -> tuple[str, ...]:
    """Accepted spellings of a diffusers weight file, the better one first."""
    names = (f"{folder}/{SAFETENSORS}", f"{folder}/{FP16}")
    # The half-precision file saves half the reading when half precision is what we run in.
    return names[::-1] if dtype == torch.float16 else names


def _modern_attention(key: str) -> str:
    return _OLD_ATTENTION_KEY.sub(lambda m: m[1] + _OLD_ATTENTION[m[2]] + m[3], key)


def _modern_clip(key: str) -> str | None:
    if key.endswith("position_ids"):  # a constant that old versions stored
        return None
    return key.removeprefix("text_model.")


def _some(keys: list[str]) -> str:
    if not keys:
        return ""
    return " (" + ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "") + ")"
