"""Reference: the look and background of a photo, through a LoRA and reference attention (arXiv 2510.04706).

One pass of the plain UNet (no LoRA, no other adapter) at t = 0 over the photo's latents records the normalised input
of every self-attention. The denoiser's conditional rows then attend to it as well. The recording is an input of this
run and is dropped with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from arc2face.diffusion.denoising import Denoiser
from arc2face.diffusion.lora import LoraWeights, load_lora
from arc2face.diffusion.pixels import encode
from arc2face.errors import IncompatibleWeightsError, SettingsError
from arc2face.types import GenerationRequest, ReferenceCondition
from arc2face.weights.folder import ModelsFolder
from arc2face.weights.table import spellings

# The posterior is narrow, so one fixed sample serves every request; picture k of a batch thus equals seed + k alone.
_POSTERIOR_SEED = 0x5EED


class ReferenceAdapter:
    """Keeps the look of a photo; the recording is made with the plain UNet, whatever else the run has."""

    name: ClassVar[str] = "reference"
    title: ClassVar[str] = "Reference adapter"
    feature: ClassVar[str] = "reference"
    files: ClassVar[tuple[str, ...]] = spellings("reference")

    def wanted(self, request: GenerationRequest) -> bool:
        """Whether a photo's look is to be kept."""
        return request.reference is not None

    def recipe(self, request: GenerationRequest) -> Mapping[str, Any]:
        """Strength, and the hash of the photo."""
        condition = request.reference
        assert condition is not None
        return {"strength": condition.strength, "image_sha256": hashlib.sha256(condition.image.tobytes()).hexdigest()}

    def load(self, models: ModelsFolder, unet: UNet2DConditionModel, dtype: torch.dtype) -> LoraWeights:
        """Read the LoRA; it may touch self-attention projections only."""
        path = models.need("reference", dtype == torch.float16)
        weights = load_lora(path, unet)
        foreign = [name for name in weights if ".attn1." not in name]
        if foreign:
            raise IncompatibleWeightsError(f"{path} is not a reference adapter: it changes {foreign[0]}.")
        return weights

    @contextmanager
    def applied(self, weights: LoraWeights, run: Denoiser, request: GenerationRequest) -> Generator[None]:
        """Record the photo, merge the LoRA, and let the self-attentions read the recording."""
        condition = request.reference
        assert condition is not None
        with run.borrow("vae") as vae:
            latents = encode(vae, condition.image, _posterior_noise(vae, run, condition, request.num_images))
        bank = run.record(latents)
        run.check_cancelled()
        with run.merged(weights, condition.strength), run.reading(bank):
            yield


def _posterior_noise(vae: AutoencoderKL, run: Denoiser, condition: ReferenceCondition, num_images: int) -> Tensor:
    """The posterior sample (1 or n, C, h, w): as given for this run's pictures, else drawn."""
    factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
    height, width = (side // factor for side in condition.image.shape[:2])
    shape = (int(vae.config["latent_channels"]), height, width)
    given = condition.latent_noise
    if given is None:
        generator = torch.Generator().manual_seed(_POSTERIOR_SEED)
        return torch.randn((1, *shape), generator=generator, dtype=torch.float32)
    if given.ndim != 4 or given.shape[1:] != shape or given.shape[0] not in (1, num_images):
        raise SettingsError(f"latent_noise must have shape (1 or {num_images}, {shape}), not {given.shape}.")
    rows = given if len(given) == 1 else given[run.first : run.first + run.num_images]
    return torch.from_numpy(np.array(rows, np.float32))
