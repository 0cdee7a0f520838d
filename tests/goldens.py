"""Reading the recorded results of the original code (see docs/parity.md) and turning cases into requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arc2face.types import (
    Expression,
    ExpressionCondition,
    GenerationRequest,
    IdentityEmbedding,
    PoseCondition,
    ReferenceCondition,
)

FOLDER = Path(__file__).parent / "data" / "goldens_sd"
MAX_LATENT_ERROR = 1e-3  # absolute; latents have a standard deviation of 16 to 20
MAX_PIXEL_ERROR = 1  # levels
MAX_PIXEL_SHARE = 1e-3  # of the values


@cache
def recorded(name: str) -> tuple[Mapping[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Arrays and case descriptions of one golden file."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    return arrays, json.loads(str(arrays["meta"]))


def cases(name: str) -> list[str]:
    """Names of the generation cases of one golden file."""
    arrays, meta = recorded(name)
    return sorted(key for key, value in meta.items() if isinstance(value, dict) and f"{key}/latents" in arrays)


def drawn(seed: int, n: int, size: tuple[int, int], steps: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Start noise and LCM's step noise as the original drew them: everything from one generator."""
    generator = torch.Generator("cpu").manual_seed(seed)
    shape = (n, 4, size[0] // 8, size[1] // 8)
    noise = torch.randn(shape, generator=generator).numpy()
    later = [torch.randn(shape, generator=generator).numpy() for _ in range(steps - 1)]
    return noise, np.stack(later) if later else np.zeros((0, *shape), np.float32)


def request(file: str, case: str) -> GenerationRequest:
    """The request that must reproduce a recorded case."""
    arrays, meta = recorded(file)
    about = meta[case]
    fast = file == "c_lcm" or "_lcm_" in case
    pose = _pose(arrays, about, case)
    size, native = _size(case, pose)
    noise, step_noise = drawn(about["seed"], about["n"], size, about["steps"])
    return GenerationRequest(
        identity=IdentityEmbedding(arrays["emb_raw"][about.get("emb", 0)]),
        num_images=about["n"],
        seed=about["seed"],
        steps=about["steps"],
        guidance_scale=float(about["guidance"]),
        fast=fast,
        height=None if native else size[0],
        width=None if native else size[1],
        pose=pose,
        expression=_expression(arrays, about, case),
        reference=_reference(arrays, about, case),
        noise=noise,
        step_noise=step_noise if fast else None,
        keep_latents=True,
    )


def _size(case: str, pose: PoseCondition | None) -> tuple[tuple[int, int], bool]:
    if "h64w96" in case:
        return (64, 96), False
    if pose is not None and "h128" not in case:
        height, width = pose.normal_map.shape[:2]
        return (height // 8 * 8, width // 8 * 8), True
    return (128, 128), "h128" not in case


def _pose(arrays: Mapping[str, Any], about: Mapping[str, Any], case: str) -> PoseCondition | None:
    name = about.get("cond") or case.split("_")[0]
    if f"cond/{name}" not in arrays:
        return None
    scale = float(case.split("_")[1].removeprefix("scale")) if "_scale" in case else 1.0
    return PoseCondition(arrays[f"cond/{name}"], strength=scale)


def _expression(arrays: Mapping[str, Any], about: Mapping[str, Any], case: str) -> ExpressionCondition | None:
    if "exp" not in arrays:
        return None
    if "exp" in about and "exp_scale" in about:
        return ExpressionCondition(Expression(arrays["exp"][about["exp"]]), float(about["exp_scale"]))
    words = case.split("_")
    row = {"exp0": 0, "exp1": 1, "neutral": 2}[words[0]]
    return ExpressionCondition(Expression(arrays["exp"][row]), float(words[1].removeprefix("sc")))


def _reference(arrays: Mapping[str, Any], about: Mapping[str, Any], case: str) -> ReferenceCondition | None:
    if not about.get("use_ref", False):
        return None
    noise = arrays[f"{case}/vae_noise"][about["n"] :]  # only the conditional half of the original's rows is read
    return ReferenceCondition(arrays[f"ref/{about['ref']}"], float(about["lora_ref_scale"]), noise)
