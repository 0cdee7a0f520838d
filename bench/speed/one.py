"""One arm in one mode, in a process of its own: CPU-seconds, peak memory, latents. Called by `bench/cpu.py`.

python -m bench.speed.one MODELS ARM MODE STEPS REPEAT LATENTS
"""

from __future__ import annotations

import json
import platform
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arc2face import Engine, GenerationRequest
from arc2face.diffusion.fitting import native_size
from arc2face.weights.folder import ModelsFolder
from arc2face.weights.jsonfile import read_json
from bench.speed.modes import MODES, Inputs, Mode
from bench.speed.upstream import UpstreamArm, quiet

Run = Callable[[int], tuple[Any, dict[str, float]]]
"""Number of the run -> final latents and CPU-seconds by stage."""


def peak_gb() -> float:
    """Largest resident memory of this process so far."""
    unit = 1e9 if platform.system() == "Darwin" else 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def upstream(models: ModelsFolder, mode: Mode, inputs: Inputs) -> Run:
    """Arm S0."""
    arm = UpstreamArm(models, mode, inputs, "cpu", torch.float32)
    decode, pipe = arm.pipe.vae.decode, arm.pipe
    spent: list[float] = []

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.process_time()
        made = decode(*args, **kwargs)
        spent.append(time.process_time() - began)
        return made

    pipe.vae.decode = timed

    def run(number: int) -> tuple[Any, dict[str, float]]:
        spent.clear()
        began = time.process_time()
        latents, _ = arm()
        return latents, {"request": time.process_time() - began, "decoding": sum(spent)}

    return run


def ours(models: ModelsFolder, mode: Mode, inputs: Inputs, turbo: bool) -> Run:
    """Arms O and T, through the engine, as everybody uses it."""
    engine = Engine.open(models.root, device="cpu")
    asked = inputs.request(mode).with_(decoder="small" if turbo else "exact")
    engine.worker.call(lambda: _load(engine, asked))

    def run(number: int) -> tuple[Any, dict[str, float]]:
        marks: dict[str, float] = {}
        began = time.process_time()
        job = engine.submit(asked.with_(seed=number), previews=False)  # upstream shows none
        for event in job.events():
            marks.setdefault(event.stage, time.process_time())
        result = job.result()
        ended = time.process_time()
        latents = np.stack([image.latents for image in result.images if image.latents is not None])
        return latents, {"request": ended - began, "decoding": ended - marks.get("decoding", ended)}

    return run


def _load(engine: Engine, request: GenerationRequest) -> None:
    """What the request needs and nothing else, as the other arm does."""
    engine.registry.load_base()
    for name in engine.registry.wanted(request):
        engine.registry.part(name)


def measure(root: Path, arm: str, name: str, steps: int, repeat: int, keep: Path) -> dict[str, Any]:
    """Load, run once (`first`), then `repeat` times (`later`); times in CPU-seconds, memory in GB."""
    models, mode = ModelsFolder(root), MODES[name].of(steps)
    inputs = Inputs(native_size(read_json(models.need("unet-config")))[0])
    began = time.process_time()
    run = upstream(models, mode, inputs) if arm == "S0" else ours(models, mode, inputs, arm == "T")
    loaded = time.process_time() - began
    runs: list[dict[str, float]] = []
    latents: Any = None
    for number in range(repeat + 1):
        latents, seconds = run(number)
        runs.append(seconds)
    assert np.isfinite(latents).all() and latents.std() > 1e-3, "dead or invalid latents"
    answer = {"load_s": loaded, "first": runs[0], "later": runs[1:], "steps": mode.steps, "peak_gb": peak_gb()}
    return answer | compared(keep, arm, name, latents)


def main() -> None:
    """Print the measurement as one JSON line."""
    root, arm, name, steps, repeat, keep = sys.argv[1:7]
    warnings.filterwarnings("ignore")
    quiet()
    torch.set_num_threads(1)
    print(json.dumps(measure(Path(root), arm, name, int(steps), int(repeat), Path(keep))))


def compared(folder: Path, arm: str, mode: str, latents: Any) -> dict[str, float]:
    """Relative difference to S0's latents, where S0 has run before."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{mode.replace(' ', '_')}.npy"
    if arm == "S0":
        np.save(file, latents)
    elif file.is_file():
        wanted = np.load(file)
        return {"difference": float(np.linalg.norm(latents - wanted) / np.linalg.norm(wanted))}
    return {}


if __name__ == "__main__":
    main()
