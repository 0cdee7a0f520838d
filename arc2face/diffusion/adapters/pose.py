"""Pose: a ControlNet (arXiv 2302.05543) on maps of FLAME normals."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn

from arc2face.diffusion.denoising import Denoiser, Residuals
from arc2face.diffusion.loading import load_controlnet
from arc2face.errors import IncompatibleWeightsError
from arc2face.types import GenerationRequest, PoseCondition, RgbU8
from arc2face.weights.folder import ModelsFolder


class PoseAdapter:
    """Adds the ControlNet's residuals to the UNet in the chosen share of the steps."""

    name: ClassVar[str] = "pose"
    title: ClassVar[str] = "Pose (ControlNet)"
    feature: ClassVar[str] = "pose"
    files: ClassVar[tuple[str, ...]] = (
        "controlnet/diffusion_pytorch_model.safetensors",
        "controlnet/diffusion_pytorch_model.fp16.safetensors",
    )

    def load(self, models: ModelsFolder, unet: UNet2DConditionModel, dtype: torch.dtype) -> ControlNetModel:
        """Read the ControlNet; refuse one that was made for another UNet."""
        controlnet = load_controlnet(models, dtype)
        for key in ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim"):
            ours, theirs = controlnet.config[key], unet.config[key]
            if _plain(ours) != _plain(theirs):
                raise IncompatibleWeightsError(f"The ControlNet does not fit this UNet: {key} is {ours}, not {theirs}.")
        return controlnet

    @contextmanager
    def applied(self, weights: ControlNetModel, run: Denoiser, request: GenerationRequest) -> Generator[None]:
        """Embed the normal map once and add a source of residuals to the run."""
        pose = request.pose
        assert pose is not None
        embedding = embed_condition(weights, pose.normal_map, output_size(request, pose))
        source = _Residuals(weights, embedding, pose)
        run.residual_sources.append(source)
        try:
            yield
        finally:
            run.residual_sources.remove(source)


def output_size(request: GenerationRequest, pose: PoseCondition) -> tuple[int, int]:
    """(height, width) of the result: as requested, else the normal map's sides floored to multiples of 8."""
    height, width = pose.normal_map.shape[:2]
    return request.height or height // 8 * 8, request.width or width // 8 * 8


def embed_condition(controlnet: ControlNetModel, normal_map: RgbU8, size: tuple[int, int]) -> Tensor:
    """The conditioning embedding (1, C, h/8, w/8): the same at every step, so it is computed once."""
    height, width = size
    if normal_map.shape[:2] != size:
        normal_map = np.asarray(Image.fromarray(normal_map).resize((width, height), Image.Resampling.LANCZOS))
    unit = torch.from_numpy(np.array(normal_map, dtype=np.float32) / 255.0).permute(2, 0, 1)[None]
    with torch.no_grad():
        return controlnet.controlnet_cond_embedding(unit.to(controlnet.device, controlnet.dtype))


class _Residuals:
    def __init__(self, controlnet: ControlNetModel, embedding: Tensor, pose: PoseCondition) -> None:
        self.controlnet = controlnet
        self.embedding = embedding
        self.pose = pose

    def __call__(self, rows: Tensor, timestep: Tensor, prompt: Tensor, step: int, steps: int) -> Residuals | None:
        outside = step / steps < self.pose.start or (step + 1) / steps > self.pose.end
        if outside or self.pose.strength == 0.0:
            return None
        with _precomputed(self.controlnet, self.embedding.expand(len(rows), -1, -1, -1)):
            down, mid = self.controlnet(
                rows,
                timestep,
                encoder_hidden_states=prompt,
                controlnet_cond=self.embedding,
                conditioning_scale=self.pose.strength,
                return_dict=False,
            )
        return down, mid


@contextmanager
def _precomputed(controlnet: ControlNetModel, embedding: Tensor) -> Generator[None]:
    """Stand in for the conditioning embedder while the network runs."""
    embedder = controlnet.controlnet_cond_embedding
    controlnet.controlnet_cond_embedding = _Constant(embedding)  # type: ignore[assignment]
    try:
        yield
    finally:
        controlnet.controlnet_cond_embedding = embedder


class _Constant(nn.Module):
    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, condition: Tensor) -> Tensor:
        return self.value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
