"""Pose: a ControlNet (arXiv 2302.05543) on maps of FLAME normals."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn

from arc2face.diffusion.denoising import Denoiser
from arc2face.diffusion.hooks import Residuals
from arc2face.diffusion.loading import load_controlnet
from arc2face.errors import IncompatibleWeightsError, SettingsError
from arc2face.types import GenerationRequest, PoseCondition, RgbU8
from arc2face.weights.folder import ModelsFolder
from arc2face.weights.table import spellings


class PoseAdapter:
    """Adds the ControlNet's residuals to the UNet in the chosen share of the steps."""

    name: ClassVar[str] = "pose"
    title: ClassVar[str] = "Pose (ControlNet)"
    feature: ClassVar[str] = "pose"
    files: ClassVar[tuple[str, ...]] = spellings("controlnet")

    def wanted(self, request: GenerationRequest) -> bool:
        """Whether a pose is given. Raises SettingsError when its share of the steps holds no whole step."""
        pose = request.pose
        if pose is None:
            return False
        steps = request.denoising_steps
        if not any(_acts(pose, step, steps) for step in range(steps)):
            raise SettingsError(
                f"The pose would act in none of the {steps} steps: between {pose.start:g} and {pose.end:g} of "
                "them lies no whole step. Widen that share, or use more steps."
            )
        return True

    def recipe(self, request: GenerationRequest) -> Mapping[str, Any]:
        """Strength, share of the steps, the angles where they are known, and the hash of the normal map."""
        pose = request.pose
        assert pose is not None
        digest = hashlib.sha256(pose.normal_map.tobytes()).hexdigest()
        facts = {"strength": pose.strength, "start": pose.start, "end": pose.end, "normal_map_sha256": digest}
        return facts if pose.angles is None else {**facts, "angles": [round(angle, 3) for angle in pose.angles]}

    def load(self, models: ModelsFolder, unet: UNet2DConditionModel, dtype: torch.dtype) -> ControlNetModel:
        """Read the ControlNet; refuse one that was made for another UNet."""
        controlnet = load_controlnet(models, dtype)
        for key in ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim"):
            ours, theirs = controlnet.config[key], unet.config[key]
            if _plain(ours) != _plain(theirs):
                raise IncompatibleWeightsError(f"The ControlNet does not fit this UNet: {key} is {ours}, not {theirs}.")
        order = controlnet.config["controlnet_conditioning_channel_order"]
        if order not in ("rgb", "bgr"):
            raise IncompatibleWeightsError(
                f"controlnet/config.json: controlnet_conditioning_channel_order is {order!r}, not rgb or bgr."
            )
        return controlnet

    @contextmanager
    def applied(self, weights: ControlNetModel, run: Denoiser, request: GenerationRequest) -> Generator[None]:
        """Embed the normal map once and add a source of residuals to the run."""
        pose = request.pose
        assert pose is not None
        embedding = embed_condition(weights, pose.normal_map, output_size(request, pose))
        with run.residuals_from(_Residuals(weights, embedding, pose, run)):
            yield


def output_size(request: GenerationRequest, pose: PoseCondition) -> tuple[int, int]:
    """(height, width) of the result: as requested, else the normal map's sides floored to multiples of 8."""
    height, width = pose.normal_map.shape[:2]
    return request.height or height // 8 * 8, request.width or width // 8 * 8


def _acts(pose: PoseCondition, step: int, steps: int) -> bool:
    """Whether the ControlNet acts in a step: the whole step must lie in the pose's share, as in diffusers."""
    return not (step / steps < pose.start or (step + 1) / steps > pose.end)


def embed_condition(controlnet: ControlNetModel, normal_map: RgbU8, size: tuple[int, int]) -> Tensor:
    """The conditioning embedding (1, C, h/8, w/8): the same at every step, so it is computed once.

    `normal_map` is rgb_u8; the channels are turned round for a ControlNet whose config says bgr.
    """
    height, width = size
    if normal_map.shape[:2] != size:
        normal_map = np.asarray(Image.fromarray(normal_map).resize((width, height), Image.Resampling.LANCZOS))
    unit = torch.from_numpy(np.array(normal_map, dtype=np.float32) / 255.0).permute(2, 0, 1)[None]
    if controlnet.config["controlnet_conditioning_channel_order"] == "bgr":
        unit = unit.flip(1)
    with torch.no_grad():
        return controlnet.controlnet_cond_embedding(unit.to(controlnet.device, controlnet.dtype))


class _Residuals:
    def __init__(self, controlnet: ControlNetModel, embedding: Tensor, pose: PoseCondition, run: Denoiser) -> None:
        self.only_conditional = run.guided and bool(controlnet.config["global_pool_conditions"])
        self.num_images = run.num_images
        self.controlnet = controlnet
        self.embedding = embedding
        self.pose = pose

    def __call__(self, rows: Tensor, timestep: Tensor, prompt: Tensor, step: int, steps: int) -> Residuals | None:
        if not _acts(self.pose, step, steps) or self.pose.strength == 0.0:
            return None
        if self.only_conditional:  # pooled conditions are for the conditional rows alone, as in diffusers' pipeline
            rows, prompt = rows[self.num_images :], prompt[self.num_images :]
        with _precomputed(self.controlnet, self.embedding.expand(len(rows), -1, -1, -1)):
            down, mid = self.controlnet(
                rows,
                timestep,
                encoder_hidden_states=prompt,
                controlnet_cond=self.embedding,
                conditioning_scale=self.pose.strength,
                return_dict=False,
            )
        if self.only_conditional:
            down, mid = [_after_zeros(residual) for residual in down], _after_zeros(mid)
        return down, mid


def _after_zeros(residual: Tensor) -> Tensor:
    """Zeros for the unconditional rows, which come first."""
    return torch.cat([torch.zeros_like(residual), residual])


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
