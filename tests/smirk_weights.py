"""The synthetic SMIRK weights that the recorded comparisons were made with, rebuilt from their rule.

Each tensor follows from its name, shape and one seed; batch-norm statistics and the head's bias are recorded. Only
exact arithmetic is used, so the weights do not depend on the platform.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch

GOLDENS = Path(__file__).parent / "data" / "goldens_smirk"
PREFIX = "smirk_encoder.expression_encoder."


def original_shapes() -> dict[str, tuple[int, ...]]:
    """Keys (without prefix) and shapes of the original class's state dict."""
    shapes = json.loads(str(np.load(GOLDENS / "encoder.npz")["keys"]))
    return {key: tuple(shape) for key, shape in shapes.items()}


def smirk_state() -> dict[str, torch.Tensor]:
    """State dict of the expression encoder under the original file's full keys."""
    recorded = np.load(GOLDENS / "encoder.npz")
    seed = int(recorded["seed"])
    state: dict[str, np.ndarray] = {}
    for name, shape in original_shapes().items():
        key = PREFIX + name
        state[key] = recorded[f"sd:{key}"] if f"sd:{key}" in recorded.files else _fill(key, shape, seed)
    head = state[PREFIX + "expression_layers.0.weight"]
    head *= np.float32(4)
    head[53:55] *= np.float32(0.6)
    return {key: torch.from_numpy(np.array(value)) for key, value in state.items()}


def _fill(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    generator = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32)
    count = int(np.prod(shape)) if shape else 1
    uniform = (2.0 * generator.random_sample(count) - 1.0).reshape(shape)
    kind = key.rsplit(".", 1)[-1]
    if kind == "num_batches_tracked":
        return np.array(1000, np.int64)
    if kind == "running_var":
        return (1.0 + 0.5 * uniform).astype(np.float32)
    if kind in ("running_mean", "bias"):
        return (0.1 * uniform).astype(np.float32)
    if len(shape) == 1:
        return (0.75 + 0.25 * uniform).astype(np.float32)
    return (np.sqrt(6.0 / np.prod(shape[1:])) * uniform).astype(np.float32)
