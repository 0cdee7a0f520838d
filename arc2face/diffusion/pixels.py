"""Latents to pictures: the exact decoder, and a linear map cheap enough for every step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from arc2face.types import RgbU8


def decode(vae: AutoencoderKL, latents: Tensor) -> list[RgbU8]:
    """Final latents (n, C, h, w) to n pictures rgb_u8 of (8h, 8w), rounded as diffusers does."""
    with torch.no_grad():
        pictures = vae.decode(latents.to(vae.dtype) / vae.config["scaling_factor"], return_dict=False)[0]
    return [_to_u8(picture) for picture in pictures]


def encode(vae: AutoencoderKL, picture: RgbU8, noise: Tensor | None) -> Tensor:
    """A picture to latents (m, C, h/8, w/8), scaled. `noise`: (m, C, h/8, w/8) posterior sample, None for the mean.

    Sides that are not multiples of the VAE's factor are cropped at the right and bottom.
    """
    factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
    height, width = (side // factor * factor for side in picture.shape[:2])
    tensor = torch.from_numpy(np.ascontiguousarray(picture[:height, :width])).permute(2, 0, 1)[None]
    tensor = (tensor.to(vae.device, torch.float32) / 127.5 - 1.0).to(vae.dtype)
    with torch.no_grad():
        posterior = vae.encode(tensor, return_dict=False)[0]
    latents = posterior.mean if noise is None else posterior.mean + posterior.std * noise.to(posterior.mean)
    return latents * vae.config["scaling_factor"]


@dataclass(frozen=True)
class PreviewMap:
    """Ridge regression from latents to colours: rgb = latents @ weight + bias, per latent pixel."""

    weight: Tensor  # (C, 3)
    bias: Tensor  # (3,)

    @classmethod
    def fit(cls, vae: AutoencoderKL, size: int = 64, pictures: int = 6) -> PreviewMap:
        """Fit to a handful of smooth random pictures pushed through the VAE's encoder; works for any VAE."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand((pictures, 3, 5, 5), generator=generator)
        colours = functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
        with torch.no_grad():
            images = (colours * 2 - 1).to(vae.device, vae.dtype)
            latents = vae.encode(images, return_dict=False)[0].mean * vae.config["scaling_factor"]
        x = latents.float().cpu().permute(0, 2, 3, 1).flatten(0, 2)  # -> (P, C)
        small = functional.interpolate(colours, size=tuple(latents.shape[-2:]), mode="area")
        y = small.permute(0, 2, 3, 1).flatten(0, 2)  # -> (P, 3)
        x1 = torch.cat([x, torch.ones(len(x), 1)], dim=1)
        solution = torch.linalg.solve(x1.T @ x1 + 1e-2 * torch.eye(x1.shape[1]), x1.T @ y)
        return cls(weight=solution[:-1], bias=solution[-1])

    def picture(self, latents: Tensor, enlarge: int = 4) -> RgbU8:
        """(C, h, w) latents to a small rgb_u8 of (h * enlarge, w * enlarge)."""
        flat = latents.detach().float().cpu().permute(1, 2, 0) @ self.weight + self.bias
        small = flat.permute(2, 0, 1)[None].clamp(0, 1)
        big = functional.interpolate(small, scale_factor=enlarge, mode="bilinear")[0]
        return (big.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def _to_u8(picture: Tensor) -> RgbU8:
    unit = (picture.float() / 2 + 0.5).clamp(0, 1).cpu().permute(1, 2, 0).numpy()
    return np.round(unit * 255).astype(np.uint8)
