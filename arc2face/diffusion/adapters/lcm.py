"""Fast mode: LCM-LoRA (arXiv 2311.05556) merged into the UNet, with the LCM sampler."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from diffusers import UNet2DConditionModel

from arc2face.diffusion.denoising import Denoiser
from arc2face.diffusion.lora import LoraWeights, load_lora
from arc2face.types import GenerationRequest
from arc2face.weights.folder import ModelsFolder
from arc2face.weights.table import spellings


class LcmAdapter:
    """LCM-LoRA: 2 to 8 steps; best with guidance 1."""

    name: ClassVar[str] = "lcm"
    title: ClassVar[str] = "Fast mode (LCM-LoRA)"
    feature: ClassVar[str] = "fast"
    files: ClassVar[tuple[str, ...]] = spellings("lcm")

    def wanted(self, request: GenerationRequest) -> bool:
        """Whether fast mode is on."""
        return request.fast

    def recipe(self, request: GenerationRequest) -> Mapping[str, Any]:
        """Nothing: the recipe's settings name fast mode."""
        return {}

    def load(self, models: ModelsFolder, unet: UNet2DConditionModel, dtype: torch.dtype) -> LoraWeights:
        """Read the LoRA and match it to the UNet."""
        return load_lora(models.need("lcm", dtype == torch.float16), unet)

    @contextmanager
    def applied(self, weights: LoraWeights, run: Denoiser, request: GenerationRequest) -> Generator[None]:
        """Merge the LoRA and switch the sampler."""
        before = run.scheduler_name
        run.scheduler_name = "lcm"
        try:
            with run.merged(weights, 1.0):
                yield
        finally:
            run.scheduler_name = before
