"""A closed-form start for the VAE: its encoder computes a principal component transform of 8 x 8 pixel blocks.

On two CPU cores an autoencoder trained from random weights needs hours before its latents stop moving, and nothing
that uses latents can begin before. Twelve principal components of a block already hold the avatars at 27 dB, so
the weights of diffusers' encoder are written down instead: space-to-depth by its strided convolutions, a first
component transform at 4 x 4 pixels, a second one at 8 x 8. The only nonlinearity on the encoder's trunk, GroupNorm and
SiLU before the last convolution, is made linear: each latent travels as a pair (z, -z), because
silu(z) - silu(-z) = z, beside large constants that pin the group's variance. The decoder is then trained as usual.
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
GROUPS = 8
POSTERIOR_STD = 0.03


def block_vae(
    sample_size: int = 128, channels: tuple[int, int, int, int] = CHANNELS, latent_channels: int = MOST_LATENT_CHANNELS
) -> AutoencoderKL:
    """A small AutoencoderKL, factor 8, at most 16 latent channels, random weights."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=GROUPS,
        sample_size=sample_size,
        scaling_factor=1.0,
    )


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
    half = _blocks(pictures_u8.astype(np.float64) / 127.5 - 1)
    quarter = _blocks(half)
    mean4, basis4, _ = principal_components(quarter.reshape(-1, quarter.shape[-1])[::7], CHANNELS[1])
    eighth = _blocks(quarter @ basis4)
    rows = eighth.reshape(-1, eighth.shape[-1])
    count = int(vae.config["latent_channels"])
    mean8, basis8, std = principal_components(rows, count)
    gain = std**-power
    gain /= np.sqrt(np.mean((gain * std) ** 2))
    with torch.no_grad():
        _write_trunk(vae, basis4, basis8 * gain)
        _write_head(vae, (mean8 @ basis8) * gain)
    kept = (std**2).sum() * len(rows)
    lost = max(((quarter - mean4) ** 2).sum() - kept, 1e-12) / pictures_u8.size
    return float(-10 * np.log10(lost / 4))


def _write_trunk(vae: AutoencoderKL, basis4: Float64, basis8: Float64) -> None:
    encoder = vae.encoder
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.zeros_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    encoder.conv_in.weight[:3, :, 1, 1] = torch.eye(3)
    first, second, third = (cast(nn.Conv2d, block.downsamplers[0].conv) for block in encoder.down_blocks[:3])
    for place in range(4):
        first.weight[3 * place : 3 * place + 3, :3, place // 2, place % 2] = torch.eye(3)
        part4 = torch.from_numpy(basis4[12 * place : 12 * place + 12].T.copy()).float()
        second.weight[:16, :12, place // 2, place % 2] = part4
        part8 = torch.from_numpy(basis8[16 * place : 16 * place + 16].T.copy()).float()
        third.weight[: len(part8), :16, place // 2, place % 2] = part8
    shortcut = encoder.down_blocks[2].resnets[0].conv_shortcut
    shortcut.weight[:16, :16, 0, 0] = torch.eye(16)


def _write_head(vae: AutoencoderKL, mean: Float64) -> None:
    encoder = vae.encoder
    spread = encoder.down_blocks[3].resnets[0].conv_shortcut
    per_group, count = CHANNELS[3] // GROUPS, len(mean)
    norm, out = encoder.conv_norm_out, encoder.conv_out
    nn.init.zeros_(norm.weight)
    for latent in range(count):
        group, slot = divmod(latent, 2)
        plus = group * per_group + 2 * slot
        spread.weight[plus, latent, 0, 0], spread.weight[plus + 1, latent, 0, 0] = 1.0, -1.0
        spread.bias[plus], spread.bias[plus + 1] = -mean[latent], mean[latent]
        out.weight[latent, plus, 1, 1], out.weight[latent, plus + 1, 1, 1] = 1.0, -1.0
        norm.weight[plus : plus + 2] = PIN * ((per_group - 4) / per_group) ** 0.5
    for group in range(GROUPS):
        pins = spread.bias[group * per_group + 4 : (group + 1) * per_group]
        pins[0::2], pins[1::2] = PIN, -PIN
    out.bias[count:] = 2 * float(np.log(POSTERIOR_STD))
    quant = vae.quant_conv
    nn.init.zeros_(quant.bias)
    quant.weight.copy_(torch.eye(2 * count)[:, :, None, None])
    nn.init.zeros_(vae.post_quant_conv.bias)
    vae.post_quant_conv.weight.copy_(torch.eye(count)[:, :, None, None])
