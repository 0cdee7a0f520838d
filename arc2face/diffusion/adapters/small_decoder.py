"""The small decoder as a part that a request may want: loaded, counted, evicted, named in recipes like the others."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from arc2face.diffusion.denoising import Denoiser
from arc2face.diffusion.small_decoder import KEY, check_factor, load_small_decoder
from arc2face.types import GenerationRequest
from arc2face.weights.folder import ModelsFolder
from arc2face.weights.table import spellings


class SmallDecoderAdapter:
    """Leaves the denoising alone; `arc2face.diffusion.decoding` takes it instead of the VAE."""

    name: ClassVar[str] = "small_decoder"
    title: ClassVar[str] = "Small decoder (TAESD, approximate)"
    feature: ClassVar[str] = "small-decoder"
    files: ClassVar[tuple[str, ...]] = spellings(KEY)

    def wanted(self, request: GenerationRequest) -> bool:
        """Whether the request asks for it."""
        return request.decoder == "small"

    def recipe(self, request: GenerationRequest) -> Mapping[str, Any]:
        """Nothing: the recipe's settings name the decoder."""
        return {}

    def load(self, models: ModelsFolder, unet: UNet2DConditionModel, dtype: torch.dtype) -> nn.Module:
        """Read it and match it to the latents."""
        check_factor(models)
        return load_small_decoder(models.need(KEY), int(unet.config["in_channels"]), dtype)

    @contextmanager
    def applied(self, weights: nn.Module, run: Denoiser, request: GenerationRequest) -> Generator[None]:
        """Nothing to change while denoising."""
        yield
