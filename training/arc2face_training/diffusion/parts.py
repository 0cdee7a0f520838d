"""The models a trainer needs: built small from a config, or loaded from a bundle folder (starter or SD 1.5)."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from arc2face.weights.folder import ModelsFolder
from arc2face.weights.store import replace_with
from arc2face_training.common.errors import TrainingError
from arc2face_training.diffusion.noise import SCHEDULER_CONFIG, Prediction
from arc2face_training.diffusion.text import make_encoder, write_tokenizer

BASE = "stable-diffusion-v1-5"
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class UNetShape:
    """Size of a new UNet (and of the ControlNet that matches it). `attention`: per level, whether it has attention.

    `heads`: attention heads of every level. `groups`: GroupNorm groups. `context`: width of the text encoder.
    `pooled`: the prompt embeddings also reach every residual block, pooled and added to the time embedding
    (diffusers' addition embedding "text"), and scale as well as shift there. SD 1.5 has neither; a model trained for
    an hour on a CPU learns who is meant many times sooner with it. The latent channels are the VAE's.
    """

    channels: tuple[int, ...] = (64, 96, 128)
    attention: tuple[bool, ...] = (True, True, False)
    layers: int = 1
    heads: int = 4
    groups: int = 16
    latent_size: int = 16
    context: int = 512
    hint_channels: tuple[int, ...] = (8, 16, 32, 64)
    pooled: bool = False


@dataclass(frozen=True)
class EncoderShape:
    """Size of a new text encoder; `width` must be at least 512.

    `components`: main directions of the identity embedding that the first layer starts out whitening (see
    `arc2face_training.diffusion.text.whiten`), at most half of `inner`; 0 for a random start.
    """

    width: int = 512
    layers: int = 1
    heads: int = 8
    inner: int = 1024
    context: int = 8
    components: int = 0


def new_unet(shape: UNetShape, latent_channels: int) -> UNet2DConditionModel:
    """A UNet of SD 1.5's block types with random weights; residual branches start small."""
    if len(shape.channels) != len(shape.attention):
        raise TrainingError("`channels` and `attention` of the UNet must have the same length.")
    unet = UNet2DConditionModel(
        sample_size=shape.latent_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        layers_per_block=shape.layers,
        block_out_channels=shape.channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in shape.attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(shape.attention)),
        mid_block_type="UNetMidBlock2DCrossAttn",
        cross_attention_dim=shape.context,
        attention_head_dim=shape.heads,
        norm_num_groups=shape.groups,
        addition_embed_type="text" if shape.pooled else None,
        addition_embed_type_num_heads=shape.heads,
        resnet_time_scale_shift="scale_shift" if shape.pooled else "default",
    )
    quiet_residuals(unet)
    with torch.no_grad():
        unet.conv_out.weight.mul_(0.05)
    return unet


def new_controlnet(shape: UNetShape, latent_channels: int) -> ControlNetModel:
    """A light ControlNet for `new_unet(shape)`: same residual shapes, without cross-attention on its way down."""
    controlnet = ControlNetModel(
        in_channels=latent_channels,
        down_block_types=("DownBlock2D",) * len(shape.channels),
        mid_block_type="UNetMidBlock2DCrossAttn",
        block_out_channels=shape.channels,
        layers_per_block=shape.layers,
        norm_num_groups=shape.groups,
        cross_attention_dim=shape.context,
        attention_head_dim=shape.heads,
        conditioning_embedding_out_channels=shape.hint_channels,
    )
    quiet_residuals(controlnet)
    return controlnet


def new_encoder(shape: EncoderShape) -> CLIPTextModel:
    """A text encoder for the starter's tokenizer."""
    return make_encoder(shape.width, shape.layers, shape.heads, shape.inner, shape.context)


def quiet_residuals(model: nn.Module) -> None:
    """Shrink the last layer of every residual branch; a new network then starts near a linear one and learns faster."""
    with torch.no_grad():
        for name, module in model.named_modules():
            if name.endswith(".conv2") and isinstance(module, nn.Conv2d):
                module.weight.mul_(0.1)
            elif name.endswith("proj_out") and isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.mul_(0.3)


SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
BASE_PARTS = {"unet": "diffusion_pytorch_model.safetensors", "text_encoder": "model.safetensors"}


class Bundle:
    """A models root (the layout of models/starter) to read trained parts from."""

    # A folder counts when it holds its description; a Python package called encoder beside the models does not.
    MARKS: ClassVar[dict[str, str]] = {f"{BASE}/tokenizer": "vocab.json", f"{BASE}/scheduler": "scheduler_config.json"}

    def __init__(self, root: Path) -> None:
        self.root = root

    def vae(self) -> AutoencoderKL:
        """The VAE, frozen."""
        return self._load(AutoencoderKL, f"{BASE}/vae", "vae")

    def unet(self) -> UNet2DConditionModel:
        """The identity UNet, frozen."""
        return self._load(UNet2DConditionModel, "arc2face", "unet")

    def controlnet(self) -> ControlNetModel:
        """The ControlNet, frozen."""
        return self._load(ControlNetModel, "controlnet", "controlnet")

    def base_unet(self) -> UNet2DConditionModel:
        """The base model's own UNet (of Stable Diffusion 1.5), frozen. Raises TrainingError that says where it goes."""
        return self._load(UNet2DConditionModel, f"{BASE}/unet", "")

    def base_encoder(self) -> CLIPTextModel:
        """The base model's own text encoder (CLIP ViT-L/14), frozen, every key matched."""
        return self._encoder(f"{BASE}/text_encoder", "")

    def encoder(self) -> CLIPTextModel:
        """The text encoder, frozen, every key matched."""
        return self._encoder("encoder", "unet")

    def _encoder(self, place: str, component: str) -> CLIPTextModel:
        folder = self._folder(place, component)
        with _understood(folder):
            loaded: Any = CLIPTextModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        model, info = loaded
        if info["missing_keys"]:
            raise TrainingError(f"{folder} lacks weights: {', '.join(sorted(info['missing_keys'])[:3])}.")
        return model.requires_grad_(False).eval()

    def tokenizer(self) -> CLIPTokenizer:
        """The base model's tokenizer."""
        return CLIPTokenizer.from_pretrained(self._folder(f"{BASE}/tokenizer", "unet"))

    def prediction(self) -> Prediction:
        """What the UNet predicts, from the scheduler config."""
        path = self._folder(f"{BASE}/scheduler", "unet") / "scheduler_config.json"
        return json.loads(path.read_text()).get("prediction_type", "epsilon")

    def _load(self, cls: Callable[..., Any], folder: str, component: str) -> Any:
        path = self._folder(folder, component)
        with _understood(path):
            model = cls.from_pretrained(path, torch_dtype=torch.float32, low_cpu_mem_usage=False)  # type: ignore[attr-defined]
        return model.requires_grad_(False).eval()

    def _folder(self, folder: str, component: str) -> Path:
        found = ModelsFolder(self.root).find(f"{folder}/{self.MARKS.get(folder, 'config.json')}")
        if found is not None:
            return found.parent
        if component:
            raise TrainingError(
                f"{self.root} has no {folder}. Train it first (arc2face train {component}) or set `bundle`."
            )
        part = folder.rpartition("/")[2]
        raise TrainingError(
            f"{self.root} has no {folder}, which `start: base` trains from. It is Stable Diffusion 1.5's own; fetch it "
            f"(docs/training.md): hf download {SD15} {part}/config.json {part}/{BASE_PARTS[part]} "
            f"--local-dir {self.root / BASE}"
        )


@contextmanager
def _understood(folder: Path) -> Generator[None]:
    """What the model libraries raise for files that are missing, damaged or of another kind, as one error."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"{folder} cannot be loaded: {reason}. It must hold config.json and the weights as one safetensors file "
            "(diffusion_pytorch_model.safetensors, or model.safetensors for a text encoder)."
        ) from error


def save_model(model: Any, folder: Path) -> None:
    """Write a diffusers or transformers model as fp16 safetensors, whole or not at all."""
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        copy.deepcopy(model).cpu().half().save_pretrained(partial, safe_serialization=True)
        _forget_origin(partial / "config.json")
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise TrainingError(f"{folder} could not be written: {error}. Free some space and export again.") from error
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial.rename(folder)


def _forget_origin(path: Path) -> None:
    """Take the folder that a model was loaded from out of its config; it means nothing elsewhere."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def save_tensors(state: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file atomically."""
    with replace_with(path) as part:
        save_file(state, str(part), metadata={"format": "pt"})


def save_base(root: Path, prediction: Prediction, context: int) -> None:
    """Tokenizer, scheduler and model index of the base folder (the VAE has its own export)."""
    base = root / BASE
    write_tokenizer(base / "tokenizer", context)
    (base / "scheduler").mkdir(parents=True, exist_ok=True)
    settings = {**SCHEDULER_CONFIG, "prediction_type": prediction}
    (base / "scheduler" / "scheduler_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (base / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
