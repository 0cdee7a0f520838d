"""Strict loading of the diffusion models from their original folders.

Every expected key must be attached and none may be left over; otherwise IncompatibleWeightsError names them. The
modules are built on the meta device and take over the file's tensors, so no time goes into random initialisation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from arc2face.diffusion.fitting import native_size
from arc2face.errors import CorruptWeightsError, IncompatibleWeightsError, MissingWeightsError
from arc2face.weights.configs import check_config
from arc2face.weights.folder import ModelsFolder
from arc2face.weights.jsonfile import read_json
from arc2face.weights.shards import parts_of
from arc2face.weights.spellings import is_index, preferred
from arc2face.weights.store import load_state_dict

__all__ = [
    "PART_KEYS",
    "attach",
    "build",
    "load_controlnet",
    "load_scheduler_config",
    "load_text_encoder",
    "load_tokenizer",
    "load_unet",
    "load_vae",
    "picture_side",
    "source_of",
    "source_of_any",
    "stamp_of",
]

PART_KEYS = {
    "tokenizer": "sd15-tokenizer-vocab",
    "text_encoder": "encoder",
    "unet": "unet",
    "vae": "sd15-vae-diffusion-pytorch-model",
}
"""Base part -> key of its file in the weights table."""

Rename = Callable[[str], str | None]
M = TypeVar("M", bound=nn.Module)

_LONGEST_PROMPT = 4096
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_ATTENTION_KEY = re.compile(r"(attentions\.\d+\.)(query|key|value|proj_attn)(\.)")


def source_of(models: ModelsFolder, part: str, dtype: torch.dtype) -> Path | None:
    """The file that a base part is read from in this precision, None when it is missing."""
    return models.locate(PART_KEYS[part], _half(dtype))


def source_of_any(models: ModelsFolder, names: Iterable[str], dtype: torch.dtype) -> Path | None:
    """The file that an adapter with these accepted names is read from in this precision."""
    return models.find(*preferred(names, _half(dtype)))


def stamp_of(path: Path | None) -> tuple[Any, ...]:
    """What changes when a weight file, or a part of a sharded one, is replaced; empty when it is not there."""
    if path is None:
        return ()
    try:
        files = parts_of(path) if is_index(path.name) else [path]
        states = [file.stat() for file in files]
    except (OSError, CorruptWeightsError, MissingWeightsError):
        return ()
    return tuple((state.st_ino, state.st_size, state.st_mtime_ns) for state in states)


def load_unet(models: ModelsFolder, dtype: torch.dtype) -> UNet2DConditionModel:
    """Arc2Face's denoiser from `arc2face/`."""
    return build(UNet2DConditionModel, models.need("unet-config"), models.need("unet", _half(dtype)), dtype)


def load_controlnet(models: ModelsFolder, dtype: torch.dtype) -> ControlNetModel:
    """The pose ControlNet from `controlnet/`."""
    config, weights = models.need("controlnet-config"), models.need("controlnet", _half(dtype))
    return build(ControlNetModel, config, weights, dtype)


def load_vae(models: ModelsFolder, dtype: torch.dtype) -> AutoencoderKL:
    """SD 1.5's autoencoder; attention weights may carry their old names (query, key, value, proj_attn)."""
    config, weights = models.need("sd15-vae-config"), models.need(PART_KEYS["vae"], _half(dtype))
    return build(AutoencoderKL, config, weights, dtype, _modern_attention)


def load_text_encoder(models: ModelsFolder, dtype: torch.dtype) -> CLIPTextModel:
    """Arc2Face's fine-tuned CLIP text encoder from `encoder/`, in any key layout since transformers 4."""
    config_file, weights = models.need("encoder-config"), models.need("encoder", _half(dtype))
    settings = read_json(config_file)
    if isinstance(settings.get("text_config"), dict):
        settings = settings["text_config"]
    check_config("CLIPTextModel", settings, config_file)
    with _explained(config_file, "CLIPTextModel"):
        config = CLIPTextConfig(**settings)
        # Eager attention reproduces the reference implementation bit for bit; the encoder runs once per request.
        config._attn_implementation = "eager"  # pyright: ignore[reportPrivateUsage]
        with torch.device("meta"):
            model = CLIPTextModel(config)
    attach(model, load_state_dict(weights), weights, dtype, _modern_clip)
    positions = torch.arange(config.max_position_embeddings).expand((1, -1))
    model.embeddings.register_buffer("position_ids", positions, persistent=False)
    return model.eval().requires_grad_(False)


def load_tokenizer(models: ModelsFolder) -> CLIPTokenizer:
    """SD 1.5's tokenizer folder. Raises CorruptWeightsError when one of its files is damaged."""
    folder = models.need(PART_KEYS["tokenizer"]).parent
    for path in sorted(folder.glob("*.json")):
        read_json(path)
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        if not 1 <= tokenizer.model_max_length <= _LONGEST_PROMPT:
            raise ValueError(f"model_max_length is {tokenizer.model_max_length}")
        tokenizer("photo of a id person")  # some settings show only in use that they are wrong
        return tokenizer
    except Exception as error:  # the tokenizer library raises bare Exceptions, among much else
        raise CorruptWeightsError(
            f"The tokenizer in {folder} cannot be used ({_reason(error)}). "
            "Delete it and run: arc2face download identity"
        ) from error


def load_scheduler_config(models: ModelsFolder) -> dict[str, Any]:
    """The raw scheduler_config.json.

    Raw on purpose: a config that went through a scheduler object holds that class's defaults (PNDM's `leading`
    spacing, for one), which would silently leak into the scheduler built from it.
    """
    path = models.need("sd15-scheduler-scheduler-config")
    settings = read_json(path)
    check_config("Scheduler", settings, path)
    return settings


def picture_side(models: ModelsFolder) -> int:
    """Side of the pictures that the models of a folder were trained for, pixels. Raises WeightsError."""
    sizes: list[dict[str, Any]] = []
    for key, kind in (("unet-config", "UNet2DConditionModel"), ("sd15-vae-config", "AutoencoderKL")):
        path = models.need(key)
        sizes.append(read_json(path))
        check_config(kind, sizes[-1], path)
    return min(native_size(sizes[0])) * 2 ** (len(sizes[1]["block_out_channels"]) - 1)


def build(cls: type[M], config: Path, weights: Path, dtype: torch.dtype, rename: Rename | None = None) -> M:
    """One diffusers model from its config file and its weight file (or the index of a sharded one)."""
    settings = read_json(config)
    check_config(cls.__name__, settings, config)
    with _explained(config, cls.__name__), torch.device("meta"):
        model = cls.from_config(settings)  # type: ignore[attr-defined]
    attach(model, load_state_dict(weights), weights, dtype, rename)
    return model.eval().requires_grad_(False)


@contextmanager
def _explained(config: Path, name: str) -> Generator[None]:
    """What a model's constructor raises for settings that do not go together, as one error."""
    try:
        yield
    except Exception as error:  # assertions, torch's errors, validation errors: there is no common base
        raise IncompatibleWeightsError(f"{config} does not describe a {name}: {_reason(error)}") from error


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


def _half(dtype: torch.dtype) -> bool:
    """The half-precision file saves half the reading when half precision is what we run in."""
    return dtype == torch.float16


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


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
