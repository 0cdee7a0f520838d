"""Latents of a whole source, computed once per VAE and kept as a memory map."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from diffusers import AutoencoderKL
from torch import Tensor

from training.common.sources import AvatarSource, Source

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


def cached_latents(
    source: Source, vae: AutoencoderKL, folder: Path, device: torch.device, batch: int = 64
) -> Tensor | None:
    """(count, C, h, w) float16 on the CPU for rendered avatars; None for photos, which are encoded batch by batch.

    Rows of people who are not finished stay zero and are never drawn.
    """
    if not isinstance(source, AvatarSource):
        return None
    # One process writes, the others find it done.
    with PartialState().main_process_first():
        return _cached(source, vae, folder, device, batch)


def _cached(source: AvatarSource, vae: AutoencoderKL, folder: Path, device: torch.device, batch: int) -> Tensor:
    path = folder / f"latents-{vae_digest(vae)}.npy"
    finished = path.with_suffix(".people.npy")
    side = source.data.config.size // 2 ** (len(vae.config["block_out_channels"]) - 1)
    shape = (source.count, int(vae.config["latent_channels"]), side, side)
    folder.mkdir(parents=True, exist_ok=True)
    mode = "r+" if path.exists() else "w+"
    store = np.lib.format.open_memmap(path, mode, np.float16, shape)
    done = np.load(finished) if finished.exists() else np.zeros(source.data.config.people, bool)
    todo = np.flatnonzero(np.asarray(source.data.done) & ~done)
    vae.to(device)
    for start in range(0, len(todo), batch):
        people = todo[start : start + batch]
        numbers = np.concatenate([np.arange(s.start, s.stop) for s in map(source.data.rows, people)])
        for part in np.array_split(numbers, max(1, len(numbers) // batch)):
            store[part] = encode(vae, source.pixels(part).to(device)).half().cpu().numpy()
        done[people] = True
        store.flush()
        np.save(finished, done)
        log.info("latents of %d of %d people", start + len(people), len(todo))
    return torch.from_numpy(np.load(path, mmap_mode="c"))
