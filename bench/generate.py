"""Seconds per request, by mode, on the best models found (or --models). Prints JSON.

python bench/generate.py --repeat 5
python bench/generate.py --models /data/arc2face --device cuda --modes base fast --images 1 4
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import torch

from arc2face import Engine, ExpressionCondition, GenerationRequest, IdentityEmbedding, PoseCondition
from arc2face.types import Expression, ReferenceCondition

RNG = np.random.default_rng(0)
Make = Callable[[Engine], dict[str, Any]]


def picture(engine: Engine) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture of noise at the native size; content does not change the work."""
    size = engine.native_size
    return RNG.integers(0, 256, (size, size, 3), dtype=np.uint8)


def expression() -> Expression:
    """Some expression that is not neutral."""
    return Expression(0.3 * RNG.standard_normal(55).astype(np.float32))


MODES: dict[str, Make] = {
    "base": lambda engine: {},
    "no guidance": lambda engine: {"guidance_scale": 1.0},
    "fast": lambda engine: {"fast": True, "steps": 4, "guidance_scale": 1.0},
    "pose": lambda engine: {"pose": PoseCondition(picture(engine))},
    "expression": lambda engine: {"expression": ExpressionCondition(expression())},
    "reference": lambda engine: {"reference": ReferenceCondition(picture(engine))},
    "all": lambda engine: {
        "fast": True,
        "steps": 4,
        "guidance_scale": 1.0,
        "pose": PoseCondition(picture(engine)),
        "expression": ExpressionCondition(expression()),
        "reference": ReferenceCondition(picture(engine)),
    },
}


def once(engine: Engine, mode: str, images: int, seed: int) -> dict[str, float]:
    """One request; wall seconds as a whole and by stage, and the spread of its pixels (0 would be a dead network)."""
    identity = IdentityEmbedding(20.0 * RNG.standard_normal(512).astype(np.float32) / np.sqrt(512))
    request = GenerationRequest(identity=identity, num_images=images, seed=seed, score=False, **MODES[mode](engine))
    began = time.perf_counter()
    result = engine.generate(request)
    total = time.perf_counter() - began
    pixels = np.stack([image.rgb_u8 for image in result.images]).astype(np.float32)
    return {"total": total, "spread": float(pixels.std()), **{f"stage {k}": v for k, v in result.seconds.items()}}


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    """First run apart; median and quartiles of the others."""
    later = [run["total"] for run in runs[1:]]
    low, middle, high = statistics.quantiles(later, n=4) if len(later) > 1 else (later * 3 or [float("nan")] * 3)
    return {
        "first_s": round(runs[0]["total"], 4),
        "median_s": round(middle, 4),
        "quartiles_s": [round(low, 4), round(high, 4)],
        "stages_s": {key[6:]: round(value, 4) for key, value in runs[-1].items() if key.startswith("stage ")},
        "pixel_spread": round(runs[-1]["spread"], 2),
    }


def peak_memory(device: str) -> dict[str, float]:
    """Largest memory so far: of the process (MB; torch's allocator on CUDA besides)."""
    unit = 1e6 if platform.system() == "Darwin" else 1e3  # ru_maxrss is in bytes there, in kilobytes elsewhere
    peak = {"process_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    if device.startswith("cuda"):
        peak["device_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return {key: round(value, 1) for key, value in peak.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time generation.")
    parser.add_argument("--models", default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--modes", nargs="+", choices=tuple(MODES), default=list(MODES))
    parser.add_argument("--images", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()

    engine = Engine.open(options.models, device=options.device, dtype=options.dtype)
    cases = list(product(options.modes, options.images))
    runs: dict[tuple[str, int], list[dict[str, float]]] = {case: [] for case in cases}
    for turn in range(options.repeat + 1):
        for mode, images in cases:
            runs[mode, images].append(once(engine, mode, images, seed=100 * turn))
    device = engine.runtime.device
    report = {
        "models": engine.models.kind,
        "native_size": engine.native_size,
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "dtype": engine.runtime.dtype,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "peak_memory": peak_memory(device),
        "results": [{"mode": mode, "images": images, **summary(found)} for (mode, images), found in runs.items()],
    }
    engine.close()
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
