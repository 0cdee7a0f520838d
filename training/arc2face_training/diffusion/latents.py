"""Latents of a whole source, computed once per VAE and kept as a memory map."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from arc2face_training.common.session import Session
from arc2face_training.common.shares import filled
from arc2face_training.common.sources import Latents, RenderedSource, Source, StoredLatents
from arc2face_training.diffusion.blockwise import Encode, blockwise
from arc2face_training.photos.mixed import MixedLatents, MixedSource
from arc2face_training.photos.source import PhotoSource

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
    """Latents of all pictures on the CPU; None for photos that are to be encoded batch by batch. Raises as `filled`.

    Rows of people who are not finished, and of photos that are left out, stay zero and are never drawn.
    """
    if isinstance(source, MixedSource):
        parts = [cached_latents(part, vae, folder / f"set-{k}", session) for k, part in enumerate(source.parts)]
        whole = [part for part in parts if part is not None]
        return MixedLatents(whole, source.starts) if len(whole) == len(parts) else None
    if isinstance(source, RenderedSource):
        data = source.data

        def rows_of(people: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.concatenate([np.arange(s.start, s.stop) for s in map(data.rows, people)])

        found = _filled(source, vae, folder, session, np.asarray(data.done), rows_of)
        return found if source.device is None else found.to(source.device)
    if not isinstance(source, PhotoSource) or not source.cache_latents:
        return None
    found = _filled(source, vae, folder, session, source.usable, lambda numbers: numbers)
    # A photo that could not be decoded left its row empty; a latent of zeros does not occur otherwise.
    usable = np.flatnonzero(source.usable)
    broken = [part[~(found.plain[part, :, 0, 0] != 0).any(1).numpy()] for part in np.array_split(usable, 64)]
    source.leave_out(np.concatenate(broken))
    return found


def _filled(
    source: Source,
    vae: AutoencoderKL,
    folder: Path,
    session: Session,
    ready: NDArray[np.bool_],
    rows_of: Callable[[NDArray[np.int64]], NDArray[np.int64]],
) -> StoredLatents:
    side = source.size // 2 ** (len(vae.config["block_out_channels"]) - 1)
    shape = (source.count, int(vae.config["latent_channels"]), side, side)
    digest = vae_digest(vae)
    vae.to(session.device)

    quick = _encoder(source, vae, session, rows_of(np.flatnonzero(ready)[:4]))

    def encoded(mirrored: bool) -> Tensor:
        def write(store: NDArray[np.float16], units: NDArray[np.int64]) -> None:
            numbers, pixels = _readable(source, rows_of(units))
            pixels = pixels.flip(-1) if mirrored else pixels
            parts = [quick(part.to(session.device)).half().cpu() for part in pixels.split(16)]
            if len(numbers):
                store[numbers] = torch.cat(parts).numpy()
            log.info("latents up to %d of %d", units[-1] + 1, len(ready))

        path = folder / f"latents-{digest}{'-mirrored' if mirrored else ''}.npy"
        # mode c: torch wants writable memory, the file stays as it is
        filled(path, shape, ready, write, session)
        return torch.from_numpy(np.load(path, mmap_mode="c"))

    return StoredLatents(encoded(False), encoded(True) if source.flip else None)


def _encoder(source: Source, vae: AutoencoderKL, session: Session, numbers: NDArray[np.int64]) -> Encode:
    """What encodes a batch: one convolution where the encoder is no more than that."""

    def plain(pixels: Tensor) -> Tensor:
        return encode(vae, pixels)

    _, pixels = _readable(source, numbers)
    quick = blockwise(vae, plain, pixels.to(session.device)) if len(pixels) else None
    return quick or plain


def _readable(source: Source, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor]:
    """The numbers whose pictures can be decoded, and these."""
    if not isinstance(source, PhotoSource):
        return numbers, source.pixels(numbers)
    found = {int(number): source.pixels_or_none(int(number)) for number in numbers}
    readable = {number: pixels for number, pixels in found.items() if pixels is not None}
    shape = (0, 3, source.size, source.size)
    return np.array(list(readable), np.int64), torch.stack([*readable.values()]) if readable else torch.zeros(shape)
