"""Finished latents to pictures, whatever the device's memory says: minutes of work are not lost in the last second."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor

from arc2face.diffusion.device import unless_full
from arc2face.diffusion.graphs.decode import decode_captured
from arc2face.diffusion.pixels import LEAST_TILE, decode
from arc2face.diffusion.registry import ModelRegistry
from arc2face.diffusion.small_decoder import decode_small
from arc2face.types import RgbU8

IN_TILES = (
    "The device had no room to decode a picture at once; it was decoded in tiles, which can shift colours a little."
)
ON_HOST = "The device had no room to decode the pictures; they were decoded on the CPU, which takes longer."


def decode_picture(registry: ModelRegistry, latents: Tensor, small: bool = False) -> tuple[RgbU8, str | None]:
    """One picture rgb_u8 from final latents (C, h, w), and a sentence when it had to be decoded another way.

    In order: at once; at once with everything else off the device; in ever smaller tiles; on the CPU in float32.
    `small`: through the small decoder instead, which needs so little room that it is tried at once only.

    Raises DeviceError only when the numbers are invalid (see `arc2face.diffusion.pixels.decode`) or the host is full.
    """
    if small:
        return registry.with_room("for the small decoder", partial(_small, registry, latents)), None
    picture = unless_full(partial(_on_device, registry, latents))
    if picture is None:
        registry.release()
        picture = unless_full(partial(_on_device, registry, latents))
    if picture is not None:
        return picture, None
    tile = max(latents.shape[-2:]) // 2
    while tile >= LEAST_TILE:
        picture = unless_full(partial(_on_device, registry, latents, tile))
        if picture is not None:
            return picture, IN_TILES
        registry.placement.empty_cache()
        tile //= 2
    has_host = registry.placement.device != registry.placement.host
    picture = unless_full(partial(_on_host, registry, latents)) if has_host else None
    if picture is None:
        raise registry.out_of_memory("while decoding a finished picture")
    return picture, ON_HOST


def _on_device(registry: ModelRegistry, latents: Tensor, tile: int | None = None) -> RgbU8:
    with registry.placed("vae") as vae:
        made = decode_captured(registry.fast, vae, latents) if tile is None else None
        return decode(vae, latents, tile) if made is None else made


def _small(registry: ModelRegistry, latents: Tensor) -> RgbU8:
    with registry.placed("small_decoder") as decoder:
        return decode_small(decoder, latents)


def _on_host(registry: ModelRegistry, latents: Tensor) -> RgbU8:
    registry.release()  # the VAE is idle here, so it is in host memory afterwards
    return decode(copy.deepcopy(registry.part("vae")).to("cpu", torch.float32), latents)
