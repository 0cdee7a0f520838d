"""Latents to pictures: the exact decoder, and a linear map cheap enough for every step."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from arc2face.errors import DeviceError
from arc2face.types import RgbU8

log = logging.getLogger(__name__)
LEAST_TILE = 16
"""Latent pixels on a side: a smaller tile has too little around it to be decoded well."""


def decode(vae: AutoencoderKL, latents: Tensor, tile: int | None = None) -> RgbU8:
    """Final latents (C, h, w) of one picture to rgb_u8 of (8h, 8w), rounded as diffusers does.

    `tile`: decode in overlapping tiles of that many latent pixels; None decodes the whole picture at once. A picture
    with NaN or infinite numbers, which is how half precision overflows, is decoded once more in float32. Raises
    DeviceError when that gives none either.
    """
    factor = 2 ** (len(vae.config["block_out_channels"]) - 1)

    def once(decoder: AutoencoderKL) -> Tensor:
        scaled = latents[None].to(decoder.device, decoder.dtype) / decoder.config["scaling_factor"]
        if tile is None:
            return decoder.decode(scaled, return_dict=False)[0][0]  # pyright: ignore[reportReturnType]
        with _tiles(decoder, tile, factor):
            return decoder.tiled_decode(scaled, return_dict=False)[0][0]  # pyright: ignore[reportReturnType]

    return to_u8(_finite(vae, once, "The decoded picture"))


def encode(vae: AutoencoderKL, picture: RgbU8, noise: Tensor | None) -> Tensor:
    """A picture to latents (m, C, h/8, w/8), scaled. `noise`: (m, C, h/8, w/8) posterior sample, None for the mean.

    Sides that are not multiples of the VAE's factor are cropped at the right and bottom.
    """
    factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
    height, width = (side // factor * factor for side in picture.shape[:2])
    tensor = torch.from_numpy(np.ascontiguousarray(picture[:height, :width])).permute(2, 0, 1)[None]
    tensor = tensor.to(vae.device, torch.float32) / 127.5 - 1.0

    def once(encoder: AutoencoderKL) -> Tensor:
        posterior = encoder.encode(tensor.to(encoder.dtype), return_dict=False)[0]
        latents = posterior.mean if noise is None else posterior.mean + posterior.std * noise.to(posterior.mean)
        return latents * encoder.config["scaling_factor"]

    return _finite(vae, once, "The encoded photo").to(vae.dtype)


class Preview(Protocol):
    """Latents to a small picture while a run is under way."""

    def picture(self, latents: Tensor) -> RgbU8:
        """(C, h, w) latents, an estimate of the clean ones, to a small rgb_u8."""
        ...


@dataclass(frozen=True)
class PreviewMap:
    """Ridge regression from latents to colours: rgb = latents @ weight + bias, per latent pixel."""

    weight: Tensor  # (C, 3)
    bias: Tensor  # (3,)

    @classmethod
    def fit(cls, vae: AutoencoderKL, size: int = 64, pictures: int = 6) -> PreviewMap:
        """Fit to a handful of smooth random pictures pushed through the VAE's encoder; works for any VAE."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand((pictures, 3, 5, 5), generator=generator, dtype=torch.float32)
        colours = functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
        with torch.no_grad():
            images = (colours * 2 - 1).to(vae.device, vae.dtype)
            latents = vae.encode(images, return_dict=False)[0].mean * vae.config["scaling_factor"]
        x = latents.float().cpu().permute(0, 2, 3, 1).flatten(0, 2)  # -> (P, C)
        small = functional.interpolate(colours, size=tuple(latents.shape[-2:]), mode="area")
        y = small.permute(0, 2, 3, 1).flatten(0, 2)  # -> (P, 3)
        x1 = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        solution = torch.linalg.solve(x1.T @ x1 + 1e-2 * torch.eye(x1.shape[1], dtype=x1.dtype), x1.T @ y)
        return cls(weight=solution[:-1], bias=solution[-1])

    def picture(self, latents: Tensor, enlarge: int = 4) -> RgbU8:
        """(C, h, w) latents to a small rgb_u8 of (h * enlarge, w * enlarge)."""
        flat = latents.detach().float().cpu().permute(1, 2, 0) @ self.weight + self.bias
        small = flat.permute(2, 0, 1)[None].clamp(0, 1)
        big = functional.interpolate(small, scale_factor=enlarge, mode="bilinear")[0]
        return (big.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def _finite(vae: AutoencoderKL, once: Callable[[AutoencoderKL], Tensor], what: str) -> Tensor:
    """`once(vae)`; once more with a float32 copy of the VAE when numbers overflowed. Raises DeviceError."""
    with torch.no_grad():
        made = once(vae)
        if bool(torch.isfinite(made).all()):
            return made
        if vae.dtype != torch.float32:
            log.warning("%s overflowed in half precision; trying again in single precision", what)
            made = once(copy.deepcopy(vae).float())
            if bool(torch.isfinite(made).all()):
                return made
    raise DeviceError(
        f"{what} holds invalid numbers (NaN), in single precision too; nothing was kept. The VAE's weight file may be "
        "damaged: delete it and download it again."
    )


@contextmanager
def _tiles(vae: AutoencoderKL, tile: int, factor: int) -> Generator[None]:
    before = vae.tile_latent_min_size, vae.tile_sample_min_size
    vae.tile_latent_min_size, vae.tile_sample_min_size = tile, tile * factor
    try:
        yield
    finally:
        vae.tile_latent_min_size, vae.tile_sample_min_size = before


def to_u8(picture: Tensor) -> RgbU8:
    """(3, H, W) from -1 to 1 to rgb_u8. Rounded where the picture lies: a quarter of the bytes leave the device."""
    return ((picture.float() / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
