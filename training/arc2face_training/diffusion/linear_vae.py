"""A closed-form start for the VAE: its encoder computes a principal component transform of 8 x 8 or 16 x 16 blocks.

On two CPU cores an autoencoder trained from random weights needs hours before its latents stop moving, and nothing
that uses latents can begin before. 32 principal components of a 16 x 16 block hold people at
256 pixels at 31 dB, so the weights of diffusers' encoder are written down instead: space-to-depth by
its strided convolutions, a first component transform at 4 x 4 pixels, the next at 8 x 8, and, with five levels, one
at 16 x 16. The only nonlinearity on the encoder's trunk, GroupNorm and SiLU before the last convolution, is made
linear: each latent travels as a pair (z, -z), because silu(z) - silu(-z) = z, beside large constants that pin the
group's variance. The decoder is then trained as usual.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import nn

Float64 = NDArray[np.float64]
PIN = 100.0
MOST_LATENT_CHANNELS = 16
CHANNELS = (16, 16, 48, 96)
WIDE_CHANNELS = (16, 24, 48, 96, 128)
"""Five levels: latents of 1/16 size, up to 32 channels."""
GROUPS = 8
POSTERIOR_STD = 0.03


def block_vae(
    sample_size: int = 128, channels: tuple[int, ...] = CHANNELS, latent_channels: int = MOST_LATENT_CHANNELS
) -> AutoencoderKL:
    """A small AutoencoderKL with random weights; four levels make a factor of 8, five one of 16."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=GROUPS,
        sample_size=sample_size,
        scaling_factor=1.0,
    )


def fits_closed_form(channels: tuple[int, ...], latent_channels: int) -> bool:
    """Whether widths have room for the transform: each latent travels as a pair beside at least four pins per group."""
    paired = 2 * _per_group(latent_channels)
    widths = len(channels) in (4, 5) and channels[0] >= 12 and channels[-2] >= latent_channels
    return widths and channels[-1] != channels[-2] and channels[-1] // GROUPS >= paired + 4


def _per_group(count: int) -> int:
    return max(2, -(-count // GROUPS))


def principal_components(rows: Float64, keep: int) -> tuple[Float64, Float64, Float64]:
    """Mean (d,), orthonormal basis (d, keep) by falling variance, standard deviations (keep,) of rows (n, d)."""
    mean = rows.mean(0)
    variance, basis = np.linalg.eigh(np.cov((rows - mean).T))
    order = np.argsort(variance)[::-1][:keep]
    signs = np.sign(basis[np.abs(basis).argmax(0), range(basis.shape[1])])
    return mean, (basis * signs)[:, order], np.sqrt(variance[order])


def _blocks(pictures: Float64) -> Float64:
    """(n, h, w, c) -> (n, h / 2, w / 2, 4 c), the order of `_space_to_depth`: row, column, channel."""
    n, h, w, c = pictures.shape
    return pictures.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4 * c)


def write_encoder(vae: AutoencoderKL, pictures_u8: NDArray[np.uint8], power: float = 0.5) -> float:
    """Write the component transform into the encoder in place; returns the linear PSNR in dB.

    `pictures_u8`: (n, S, S, 3) RGB, a few hundred. `power`: latents are divided by their standard deviation to this
    power (0 leaves colour and layout dominant, 1 makes all channels equal), then brought to unit variance together.
    """
    channels, count = tuple(vae.config["block_out_channels"]), int(vae.config["latent_channels"])
    blocks = _blocks(pictures_u8.astype(np.float64) / 127.5 - 1)
    total = float(((blocks - blocks.mean((0, 1, 2))) ** 2).sum())
    bases: list[Float64] = []
    rows, mean, basis, std = blocks, np.zeros(0), np.zeros((0, 0)), np.zeros(0)
    for keep in (*channels[1:-2], count):
        blocks = _blocks(blocks)
        rows = blocks.reshape(-1, blocks.shape[-1])
        # The inner transforms need no more than a part of the many small blocks.
        mean, basis, std = principal_components(rows if keep == count else rows[::7], keep)
        bases.append(basis)
        blocks = blocks @ basis
    gain = std**-power
    gain /= np.sqrt(np.mean((gain * std) ** 2))
    bases[-1] = basis * gain
    with torch.no_grad():
        _write_trunk(vae, bases)
        _write_head(vae, (mean @ basis) * gain)
    kept = (std**2).sum() * len(rows)
    lost = max(total - kept, 1e-12) / pictures_u8.size
    return float(-10 * np.log10(lost / 4))


def _write_trunk(vae: AutoencoderKL, bases: list[Float64]) -> None:
    encoder = vae.encoder
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.zeros_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    encoder.conv_in.weight[:3, :, 1, 1] = torch.eye(3)
    strided = [cast(nn.Conv2d, block.downsamplers[0].conv) for block in encoder.down_blocks[:-1]]
    for place in range(4):
        strided[0].weight[3 * place : 3 * place + 3, :3, place // 2, place % 2] = torch.eye(3)
    before = 12
    for level, basis in enumerate(bases, 1):
        shortcut = encoder.down_blocks[level].resnets[0].conv_shortcut
        if shortcut is not None:
            shortcut.weight[:before, :before, 0, 0] = torch.eye(before)
        for place in range(4):
            part = torch.from_numpy(basis[before * place : before * (place + 1)].T.copy()).float()
            strided[level].weight[: len(part), :before, place // 2, place % 2] = part
        before = basis.shape[1]


def _write_head(vae: AutoencoderKL, mean: Float64) -> None:
    encoder = vae.encoder
    spread = encoder.down_blocks[-1].resnets[0].conv_shortcut
    count, width = len(mean), int(vae.config["block_out_channels"][-1]) // GROUPS
    pairs = _per_group(count)
    norm, out = encoder.conv_norm_out, encoder.conv_out
    nn.init.zeros_(norm.weight)
    for latent in range(count):
        group, slot = divmod(latent, pairs)
        plus = group * width + 2 * slot
        spread.weight[plus, latent, 0, 0], spread.weight[plus + 1, latent, 0, 0] = 1.0, -1.0
        spread.bias[plus], spread.bias[plus + 1] = -mean[latent], mean[latent]
        out.weight[latent, plus, 1, 1], out.weight[latent, plus + 1, 1, 1] = 1.0, -1.0
        norm.weight[plus : plus + 2] = PIN * ((width - 2 * pairs) / width) ** 0.5
    for group in range(GROUPS):
        pins = spread.bias[group * width + 2 * pairs : (group + 1) * width]
        pins[0::2], pins[1::2] = PIN, -PIN
    out.bias[count:] = 2 * float(np.log(POSTERIOR_STD))
    quant = vae.quant_conv
    nn.init.zeros_(quant.bias)
    quant.weight.copy_(torch.eye(2 * count)[:, :, None, None])
    nn.init.zeros_(vae.post_quant_conv.bias)
    vae.post_quant_conv.weight.copy_(torch.eye(count)[:, :, None, None])
