"""Pose: a ControlNet (arXiv 2302.05543) on maps of FLAME normals."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image
from torch import Tensor

from arc2face.diffusion.denoising import Denoiser
from arc2face.diffusion.forward import ControlSource, control_for
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
        source = ControlSource(
            control_for(weights), embedding, pose.strength, partial(_acts, pose), run.num_images if run.guided else 0
        )
        with run.residuals_from(source):
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
        return controlnet.controlnet_cond_embedding(unit.to(controlnet.conv_in.weight))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
