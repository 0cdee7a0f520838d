"""Random models in the layout of the original files: of SD 1.5's size, or of a toy's, with activations that stay alive.

Weights are normal with variance 1 / fan-in, ControlNet's zero convolutions are not zero: zeros run faster.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.models.autoencoders.vae import DecoderTiny
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

TINY = Path(__file__).resolve().parents[2] / "tests" / "data" / "tiny"
LORA = (
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2"),
    *("conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj"),
)
"""Layers that LCM-LoRA changes; the reference adapter's changes the first four of every self-attention."""
EXPRESSION_TOKENS = 4


@dataclass(frozen=True)
class Size:
    """Widths of the networks. `side`: latent pixels. `layers`: of the text encoder. `rank`: of the LoRAs."""

    name: str
    unet: tuple[int, ...]
    vae: tuple[int, ...]
    vae_layers: int
    side: int
    layers: int
    rank: int
    condition: tuple[int, ...]
    decoder: int


FULL = Size("full", (320, 640, 1280, 1280), (128, 256, 512, 512), 2, 64, 12, 64, (16, 32, 96, 256), 64)
TOY = Size("toy", (32, 32, 64, 64), (32, 32, 32, 32), 1, 16, 2, 4, (8, 8, 16, 16), 16)


def write_models(folder: Path, size: Size, dtype: torch.dtype, device: str) -> Path:
    """Write everything that a picture from an embedding needs into `folder`; returns its models root.

    The values are drawn on `device`, so that a card makes them in seconds.
    """
    models = folder / "models"
    draw = Draw(dtype, device)
    shutil.copytree(TINY / "stable-diffusion-v1-5", folder / "stable-diffusion-v1-5", dirs_exist_ok=True)
    unet = _module(
        models / "arc2face",
        TINY / "models/arc2face/config.json",
        UNet2DConditionModel,
        draw,
        block_out_channels=size.unet,
        norm_num_groups=32,
        sample_size=size.side,
    )
    _module(
        models / "controlnet",
        TINY / "models/controlnet/config.json",
        ControlNetModel,
        draw,
        block_out_channels=size.unet,
        norm_num_groups=32,
        conditioning_embedding_out_channels=size.condition,
    )
    _module(
        folder / "stable-diffusion-v1-5/vae",
        TINY / "stable-diffusion-v1-5/vae/config.json",
        AutoencoderKL,
        draw,
        block_out_channels=size.vae,
        layers_per_block=size.vae_layers,
        norm_num_groups=32,
        sample_size=8 * size.side,
    )
    _text_encoder(models / "encoder", size, draw)
    _loras(folder, models, unet, size, draw)
    _expression(models / "exp_adapter", unet, draw)
    _small_decoder(folder / "taesd", size, draw)
    return models


class Draw:
    """Random tensors on a device, seeded."""

    def __init__(self, dtype: torch.dtype, device: str) -> None:
        self.dtype, self.device = dtype, device
        self.generator = torch.Generator(device).manual_seed(1)

    def normal(self, shape: Any, std: float) -> Tensor:
        """Normal numbers, in host memory."""
        made = torch.randn(tuple(shape), generator=self.generator, device=self.device)
        return (made * std).to("cpu", self.dtype)

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        """Live values for every tensor of a module on the meta device."""
        return {name: self._value(name, tensor) for name, tensor in model.state_dict().items()}

    def _value(self, name: str, like: Tensor) -> Tensor:
        if not like.is_floating_point():
            return torch.zeros(like.shape, dtype=like.dtype)
        if like.ndim < 2:
            return (
                torch.ones(like.shape, dtype=self.dtype) if name.endswith("weight") else self.normal(like.shape, 0.02)
            )
        if "token_embedding" in name or "position_embedding" in name:
            return self.normal(like.shape, 0.02)
        softer = ("controlnet_down_blocks", "controlnet_mid_block")
        soft = 0.3 if name.startswith(softer) or "out_proj" in name or "fc2" in name else 1.0
        return self.normal(like.shape, soft / math.sqrt(like[0].numel()))


def _module(folder: Path, config: Path, cls: Any, draw: Draw, **sizes: Any) -> nn.Module:
    """Write one diffusers model; returns it on the meta device."""
    settings = json.loads(config.read_text("utf-8")) | sizes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings), "utf-8")
    with torch.device("meta"):
        model = cls.from_config(settings)
    _save(draw.state(model), folder / "diffusion_pytorch_model.safetensors")
    return model


def _save(state: dict[str, Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path, metadata={"format": "pt"})


def _text_encoder(folder: Path, size: Size, draw: Draw) -> None:
    settings = json.loads((TINY / "models/encoder/config.json").read_text("utf-8"))
    settings |= {"num_hidden_layers": size.layers}
    if size is FULL:
        settings |= {"intermediate_size": 3072, "num_attention_heads": 12, "vocab_size": 49408}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings), "utf-8")
    with torch.device("meta"):
        model = CLIPTextModel(CLIPTextConfig(**settings))
    state = {"text_model." + name.removeprefix("text_model."): value for name, value in draw.state(model).items()}
    _save({name: value for name, value in state.items() if "position_ids" not in name}, folder / "model.safetensors")


def _loras(folder: Path, models: Path, unet: nn.Module, size: Size, draw: Draw) -> None:
    rank = size.rank
    lcm: dict[str, Tensor] = {}
    for name, weight in _layers(unet, lambda name: name.endswith(LORA)):
        key = "lora_unet_" + name.replace(".", "_")
        down, up = _pair(weight, rank, draw)
        lcm |= {key + ".lora_down.weight": down, key + ".lora_up.weight": up, key + ".alpha": torch.tensor(float(rank))}
    _save(lcm, folder / "lcm-lora-sdv1-5" / "pytorch_lora_weights.safetensors")
    look: dict[str, Tensor] = {}
    for name, weight in _layers(unet, lambda name: ".attn1." in name and name.endswith(LORA[:4])):
        down, up = _pair(weight, rank, draw)
        look |= {f"unet.{name}.lora.down.weight": down, f"unet.{name}.lora.up.weight": up}
    _save(look, models / "ref_adapter" / "pytorch_lora_weights.safetensors")


def _layers(unet: nn.Module, wanted: Callable[[str], bool]) -> list[tuple[str, Tensor]]:
    found = [(name, module) for name, module in unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return [(name, module.weight) for name, module in found if wanted(name)]


def _pair(weight: Tensor, rank: int, draw: Draw) -> tuple[Tensor, Tensor]:
    """A LoRA's matrices, whose product is small beside the weight."""
    down = draw.normal((rank, *weight.shape[1:]), 1 / math.sqrt(weight[0].numel()))
    up = draw.normal((weight.shape[0], rank, *([1, 1] if weight.ndim == 4 else [])), 0.05 / math.sqrt(rank))
    return down, up


def _expression(folder: Path, unet: Any, draw: Draw) -> None:
    width = int(unet.config["cross_attention_dim"])
    out = width * EXPRESSION_TOKENS
    state = {
        "image_proj.proj.weight": draw.normal((out, 55), 1 / math.sqrt(55)),
        "image_proj.proj.bias": torch.zeros(out, dtype=draw.dtype),
        "image_proj.norm.weight": torch.ones(width, dtype=draw.dtype),
        "image_proj.norm.bias": torch.zeros(width, dtype=draw.dtype),
    }
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            shape = unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape
            for kind in "kv":
                state[f"ip_adapter.{number}.to_{kind}_ip.weight"] = draw.normal(shape, 1 / math.sqrt(shape[1]))
    _save(state, folder / "exp_adapter.safetensors")


def _small_decoder(folder: Path, size: Size, draw: Draw) -> None:
    with torch.device("meta"):
        model = DecoderTiny(4, 3, (3, 3, 3, 1), (size.decoder,) * 4, 2, "relu", "nearest")
    state = {}
    for name, value in draw.state(model).items():
        _, number, rest = name.split(".", 2)
        state[f"{int(number) + 1}.{rest}"] = value  # the published file counts its clamp as layer 0
    _save(state, folder / "taesd_decoder.safetensors")
