"""Latents of a whole source, computed once per VAE and kept as a memory map."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from training.common.session import Session
from training.common.shares import filled
from training.common.sources import AvatarSource, Latents, Source

log = logging.getLogger(__name__)


def vae_digest(vae: AutoencoderKL) -> str:
    """Short hash of the encoder's weights (the decoder does not matter to latents)."""
    digest = hashlib.sha256()
    for part in (vae.encoder, vae.quant_conv):
        for name, value in part.state_dict().items():
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def encode(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    """Scaled posterior means, (B, C, h, w)."""
    with torch.no_grad():
        return vae.encode(pixels).latent_dist.mode() * vae.config["scaling_factor"]


def cached_latents(source: Source, vae: AutoencoderKL, folder: Path, session: Session) -> Latents | None:
    """Latents of rendered people on the CPU; None for photos, which are encoded batch by batch. Raises as `filled`.

    Rows of people who are not finished stay zero and are never drawn.
    """
    if not isinstance(source, AvatarSource):
        return None
    data, digest = source.data, vae_digest(vae)
    side = data.config.size // 2 ** (len(vae.config["block_out_channels"]) - 1)
    shape = (source.count, int(vae.config["latent_channels"]), side, side)
    vae.to(session.device)

    def encoded(mirrored: bool) -> Tensor:
        def write(store: NDArray[np.float16], people: NDArray[np.int64]) -> None:
            numbers = np.concatenate([np.arange(s.start, s.stop) for s in map(data.rows, people)])
            pixels = source.pixels(numbers)
            pixels = pixels.flip(-1) if mirrored else pixels
            parts = [encode(vae, part.to(session.device)).half().cpu() for part in pixels.split(16)]
            store[numbers] = torch.cat(parts).numpy()
            log.info("latents up to person %d of %d", people[-1] + 1, len(data.done))

        path = folder / f"latents-{digest}{'-mirrored' if mirrored else ''}.npy"
        # mode c: torch wants writable memory, the file stays as it is
        filled(path, shape, np.asarray(data.done), write, session)
        return torch.from_numpy(np.load(path, mmap_mode="c"))

    return Latents(encoded(False), encoded(True) if source.flip else None)
