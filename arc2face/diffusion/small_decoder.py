"""The small decoder: latents to pictures in a twelfth of the VAE's time, not exactly. No default on a GPU.

TAESD (https://github.com/madebyollin/taesd, MIT) is a stack of plain convolutions that was trained to agree with the
VAE of Stable Diffusion 1.x. How faces of Arc2Face look through it has not been checked here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DecoderTiny
from torch import Tensor, nn
from torch.nn import functional

from arc2face.diffusion.loading import attach
from arc2face.diffusion.pixels import to_u8
from arc2face.errors import Arc2FaceError, DeviceError, IncompatibleWeightsError
from arc2face.types import GenerationRequest, RgbU8
from arc2face.weights.folder import ModelsFolder
from arc2face.weights.jsonfile import read_json
from arc2face.weights.sniff import read_safetensors_header
from arc2face.weights.store import load_state_dict

__all__ = ["FACTOR", "KEY", "SmallPreview", "decode_small", "load_small_decoder", "usable", "with_decoder"]

KEY = "small-decoder"
"""Key in the weights table."""
FACTOR = 8
"""Pixels per latent pixel: three doublings."""
PREVIEW_SHARE = 0.05
"""Part of a run's time that its previews may take at most."""
PREVIEW_SIDE = 32
"""Latent pixels on a side; larger latents are halved before they are previewed."""
_BLOCKS = (3, 3, 3, 1)
_WIDEST = 512
_FIRST = ("1.weight", "decoder.layers.0.weight")
"""The first convolution, in the published file (layer 0 clamps) and in diffusers' form of it."""
_PUBLISHED = re.compile(r"^(\d+)\.(.+)$")


def load_small_decoder(path: Path, channels: int, dtype: torch.dtype) -> DecoderTiny:
    """The decoder of a TAESD file for latents of `channels` channels: every key attached, none left over.

    The published `taesd_decoder.safetensors` is read, and diffusers' file, whose encoder is left aside.

    Raises:
        IncompatibleWeightsError: for other latents, or no decoder of this kind. CorruptWeightsError: damaged.
    """
    state = load_state_dict(path)
    first = next((state[name] for name in _FIRST if name in state), None)
    if first is None or first.ndim != 4 or not 1 <= first.shape[0] <= _WIDEST:
        raise IncompatibleWeightsError(f"{path} is not a TAESD decoder: its first convolution is missing.")
    if first.shape[1] != channels:
        raise IncompatibleWeightsError(
            f"{path} decodes latents of {first.shape[1]} channels; those of these models have {channels}."
        )
    width = int(first.shape[0])
    with torch.device("meta"):
        decoder = DecoderTiny(channels, 3, _BLOCKS, (width,) * len(_BLOCKS), 2, "relu", "nearest")
    attach(decoder, state, path, dtype, _rename)
    return decoder.eval().requires_grad_(False)


def usable(models: ModelsFolder) -> bool:
    """Whether a small decoder for these models' latents is there; only its header is read."""
    try:
        path = models.locate(KEY)
        if path is None or not _doubles_thrice(models):
            return False
        header = read_safetensors_header(path)
        shape = next((header[name]["shape"] for name in _FIRST if name in header), [])
        return len(shape) == 4 and shape[1] == read_json(models.need("unet-config"))["in_channels"]
    except (Arc2FaceError, ValueError, LookupError, TypeError, OSError):
        return False


def check_factor(models: ModelsFolder) -> None:
    """Raise IncompatibleWeightsError where the models' own decoder does not enlarge as this one does."""
    if not _doubles_thrice(models):
        raise IncompatibleWeightsError(f"The small decoder enlarges {FACTOR} times; the VAE of these models does not.")


def with_decoder(request: GenerationRequest, models: ModelsFolder, device: str) -> GenerationRequest:
    """The request with `auto` resolved: small in fast mode on a CPU where the file is there, exact elsewhere."""
    if request.decoder != "auto":
        return request
    small = request.fast and device == "cpu" and usable(models)
    return request.with_(decoder="small" if small else "exact")


def decode_small(decoder: nn.Module, latents: Tensor) -> RgbU8:
    """Final latents (C, h, w), not divided by any factor, to rgb_u8 of (8h, 8w). Raises DeviceError for NaN."""
    like = next(decoder.parameters())
    with torch.no_grad():
        made = decoder(latents[None].to(like.device, like.dtype))[0]
    if not bool(torch.isfinite(made).all()):
        raise DeviceError(
            "The small decoder made invalid numbers (NaN); nothing was kept. Use --decoder exact, or fetch its file "
            "again."
        )
    return to_u8(made)


@dataclass
class SmallPreview:
    """Previews of one run through the small decoder. Between two, the last one is shown again: they take little time.

    `clock`: seconds; another one in tests.
    """

    decoder: nn.Module
    clock: Callable[[], float] = time.perf_counter
    _picture: RgbU8 | None = field(default=None, init=False)
    _next: float = field(default=0.0, init=False)

    def picture(self, latents: Tensor) -> RgbU8:
        """(C, h, w) estimate of the clean latents to a small rgb_u8 (PREVIEW_SIDE * 8 pixels on a side, about)."""
        began = self.clock()
        if self._picture is None or began >= self._next:
            small = latents.float()
            if max(small.shape[-2:]) > PREVIEW_SIDE:
                small = functional.avg_pool2d(small, 2)
            self._picture = decode_small(self.decoder, small.nan_to_num(0.0, 0.0, 0.0))
            done = self.clock()
            self._next = done + (done - began) / PREVIEW_SHARE
        return self._picture


def _doubles_thrice(models: ModelsFolder) -> bool:
    config: Mapping[str, Any] = read_json(models.need("sd15-vae-config"))
    channels = config.get("block_out_channels")
    return isinstance(channels, list) and 2 ** (len(channels) - 1) == FACTOR


def _rename(key: str) -> str | None:
    """The published file counts its clamp as layer 0; diffusers' file holds an encoder as well."""
    if key.startswith("encoder."):
        return None
    if found := _PUBLISHED.match(key):
        return f"layers.{int(found[1]) - 1}.{found[2]}"
    return key.removeprefix("decoder.")
