"""What the nodes share: kinds of sockets, ComfyUI's pictures as the library's and back, progress and Stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from comfy_api.latest import io

if TYPE_CHECKING:
    from arc2face.types import Progress, RgbU8

CATEGORY = "Arc2Face"
Engine = io.Custom("ARC2FACE_MODELS")
Identity = io.Custom("ARC2FACE_IDENTITY")
Negative = io.Custom("ARC2FACE_NOT_LIKE")
Pose = io.Custom("ARC2FACE_POSE")
Expression = io.Custom("ARC2FACE_EXPRESSION")
Reference = io.Custom("ARC2FACE_LOOK")

FACE_TIP = "Which face counts where there are several: 0 takes the likeliest, 1 the first, 2 the second."


def face_input(name: str = "face", tooltip: str = FACE_TIP) -> Any:
    """Which of several faces in a photo."""
    return io.Int.Input(name, default=0, min=0, max=16, tooltip=tooltip)


def pick(face: int) -> int | None:
    """A face as people count them to the library's: None for the likeliest, else from 0."""
    return None if face <= 0 else face - 1


def to_pictures(images: torch.Tensor) -> list[RgbU8]:
    """(B, H, W, 3 or 4) float 0 to 1 -> arrays (H, W, 3) uint8 RGB. Raises ValueError for anything else."""
    if images.ndim != 4 or images.shape[-1] not in (3, 4):
        raise ValueError(f"A picture (IMAGE) is needed, not a tensor of shape {tuple(images.shape)}.")
    if not bool(torch.isfinite(images).all()):
        raise ValueError("This picture holds NaN or infinite values; look at the node that made it.")
    whole = (images[..., :3].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return [np.ascontiguousarray(one) for one in whole]


def one_picture(images: torch.Tensor, what: str) -> RgbU8:
    """The only picture of a batch. Raises ValueError for several: nothing is dropped silently."""
    found = to_pictures(images)
    if len(found) != 1:
        raise ValueError(f"{what} is one picture; this batch has {len(found)}. Take one of them with Image From Batch.")
    return found[0]


def to_images(pictures: Sequence[RgbU8]) -> torch.Tensor:
    """Arrays (H, W, 3) uint8 of one size -> (B, H, W, 3) float32, 0 to 1."""
    return torch.from_numpy(np.stack(pictures).astype(np.float32) / 255.0)


def score(value: float | None) -> float:
    """A similarity as a number: NaN where no face was found, never a made-up zero."""
    return math.nan if value is None else float(value)


def watcher(stages: int = 1) -> Callable[[Progress], None]:
    """Progress for ComfyUI's bar. Its Stop button raises in here, which stops the run within a step."""
    import comfy.model_management as management
    from comfy.utils import ProgressBar

    bar = ProgressBar(100 * stages)

    def report(progress: Progress) -> None:
        management.throw_exception_if_processing_interrupted()
        if progress.stage == "denoising" and progress.total:
            bar.update_absolute(round(95 * progress.step / progress.total), 100)
        elif progress.stage == "done":
            bar.update_absolute(100, 100)

    return report
