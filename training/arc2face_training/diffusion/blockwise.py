"""An encoder that maps each block of pixels to its latents by one matrix, applied as that matrix.

The encoder that `arc2face_training.diffusion.linear_vae` writes down is such a map, carried out by the many layers of
diffusers' class: 90 CPU-milliseconds for a picture of 256 pixels, of which one strided convolution needs a hundredth.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

Encode = Callable[[Tensor], Tensor]
TOLERANCE = 5e-4
"""Root of the mean squared difference to the encoder, as a share of the latents' standard deviation: what float16,
in which latents are kept, loses anyway."""


def blockwise(vae: AutoencoderKL, encode: Encode, pixels: Tensor) -> Encode | None:
    """The encoder as one strided convolution, None where it is anything else.

    `encode`: (B, 3, S, S) in -1..1 -> (B, C, S / f, S / f). `pixels`: (B, 3, S, S), a few pictures on which both are
    compared. The matrix is read off pictures with one pixel each set in every block.
    """
    factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
    side = pixels.shape[-1] // factor
    size = 3 * factor * factor
    probes = torch.eye(size).reshape(size, 3, factor, factor).to(pixels)
    pictures = [_tiled(probes[k : k + side * side], side) for k in range(0, size, side * side)]
    zero = encode(torch.zeros_like(pixels[:1]))[0, :, 0, 0]
    columns = torch.cat([encode(picture[None])[0].flatten(1).T for picture in pictures])[:size] - zero
    weight = columns.T.reshape(-1, 3, factor, factor).contiguous()

    def applied(batch: Tensor) -> Tensor:
        with torch.no_grad():
            return F.conv2d(batch, weight.to(batch), zero.to(batch), stride=factor)

    wanted = encode(pixels)
    difference = float((applied(pixels) - wanted).square().mean().sqrt() / wanted.std().clamp_min(1e-8))
    return applied if difference < TOLERANCE else None


def _tiled(blocks: Tensor, side: int) -> Tensor:
    """Up to side x side blocks (n, 3, f, f) as one picture (3, side f, side f), row by row; the rest is zero."""
    n, _, factor, _ = blocks.shape
    whole = blocks.new_zeros(side * side, 3, factor, factor)
    whole[:n] = blocks
    return whole.reshape(side, side, 3, factor, factor).permute(2, 0, 3, 1, 4).reshape(3, side * factor, side * factor)
