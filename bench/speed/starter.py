"""CPU-seconds of requests to the starter models, in whatever checkout stands on the path. Called by `bench/cpu.py`.

python bench/speed/starter.py MODELS REPEAT
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import numpy as np
import torch

from arc2face import Engine, GenerationRequest, IdentityEmbedding

KINDS = {"fast, 4 steps": ({"fast": True, "steps": 4}, 1.0), "guided, 25 steps": ({}, 0.25)}
"""Settings, and the part of the repetitions that a kind gets."""
WARM_UP = 2


def main() -> None:
    """Medians of every kind, in milliseconds, as one JSON line."""
    torch.set_num_threads(1)
    somebody = IdentityEmbedding(np.random.default_rng(0).standard_normal(512).astype(np.float32))
    answer: dict[str, float] = {}
    with Engine.open(sys.argv[1], device="cpu") as engine:
        for name, (settings, part) in KINDS.items():
            times: list[float] = []
            for seed in range(WARM_UP + max(1, int(part * int(sys.argv[2])))):
                began = time.process_time()
                engine.generate(
                    GenerationRequest(identity=somebody, num_images=1, seed=seed, score=False, **settings)  # type: ignore[arg-type]
                )
                times.append(1e3 * (time.process_time() - began))
            answer[name] = round(statistics.median(times[WARM_UP:]), 1)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
