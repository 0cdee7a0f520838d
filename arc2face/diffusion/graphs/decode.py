"""The VAE's decoder as captured work: one picture at a time, from latents to bytes without leaving the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from arc2face.diffusion.device import is_out_of_memory
from arc2face.diffusion.graphs.fastpath import FastPath
from arc2face.types import RgbU8


class DecodeProgram:
    """Static buffers of one size: `latents` (1, C, h, w) in, `picture` (8h, 8w, 3) uint8 and `sound` (1,) out."""

    def __init__(self, vae: AutoencoderKL, latents: Tensor) -> None:
        """`latents`: (C, h, w), for the size alone."""
        self.vae = vae
        factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
        channels, height, width = latents.shape
        weight = next(vae.parameters())
        self.latents = torch.zeros((1, channels, height, width), dtype=weight.dtype, device=weight.device)
        self.picture = torch.zeros((height * factor, width * factor, 3), dtype=torch.uint8, device=weight.device)
        self.sound = torch.zeros(1, dtype=torch.uint8, device=weight.device)

    def __call__(self) -> None:
        """Decode. A picture with NaN or infinite numbers is not sound."""
        scaled = self.latents / self.vae.config["scaling_factor"]
        made: Any = self.vae.decode(scaled, return_dict=False)[0][0]
        unit = (made.float() / 2 + 0.5).clamp(0, 1)
        self.picture.copy_((unit * 255).round().to(torch.uint8).permute(1, 2, 0))
        self.sound.copy_(torch.isfinite(made).all().reshape(1))

    def changed(self) -> Sequence[Tensor]:
        """What a run writes."""
        return self.picture, self.sound

    def buffers(self) -> Iterable[Tensor]:
        """All of them."""
        return self.latents, self.picture, self.sound


def decode_captured(fast: FastPath, vae: AutoencoderKL, latents: Tensor) -> RgbU8 | None:
    """One picture rgb_u8 from final latents (C, h, w), as `arc2face.diffusion.pixels.decode` makes it.

    None when it has to be decoded plainly: there is no fast path, it failed (it is off from then on), or half
    precision overflowed. Raises out-of-memory errors as they are.
    """
    key = ("decode", tuple(latents.shape))
    entry = fast.entry(key, (vae,), lambda: DecodeProgram(vae, latents))
    if entry is None:
        return None
    program: DecodeProgram = entry.program
    try:
        with torch.no_grad():
            program.latents.copy_(latents[None])
            fast.prepare(entry)
            entry.step()
            sound = bool(program.sound.cpu())
            return program.picture.cpu().numpy().copy() if sound else None
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        fast.failed(error)
        return None
    finally:
        entry.empty()
