"""One request to the starter models per line of input, in whatever checkout stands on the path. For `bench/cpu.py`.

python bench/speed/starter.py MODELS        reads names of KINDS, answers each with the request's CPU-milliseconds
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import torch

from arc2face import Engine, GenerationRequest, IdentityEmbedding

KINDS: dict[str, dict[str, Any]] = {"fast, 4 steps": {"fast": True, "steps": 4}, "guided, 25 steps": {}}


def main() -> None:
    """Answer until the input ends."""
    torch.set_num_threads(1)
    somebody = IdentityEmbedding(np.random.default_rng(0).standard_normal(512).astype(np.float32))
    with Engine.open(sys.argv[1], device="cpu") as engine:
        for seed, line in enumerate(sys.stdin):
            asked = KINDS[line.strip()]
            began = time.process_time()
            engine.generate(GenerationRequest(identity=somebody, num_images=1, seed=seed, score=False, **asked))
            print(1e3 * (time.process_time() - began), flush=True)


if __name__ == "__main__":
    main()
