"""How long photo readers take beside somebody else's generation, against their idle times. Prints JSON.

python bench/readers.py
python bench/readers.py --models /data/arc2face --device cuda --repeat 9 --photo portrait.jpg

Wanted: less than twice the idle time plus one denoising step; stopping a waiting run takes no time at all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arc2face import Engine, GenerationRequest
from arc2face.errors import Arc2FaceError, CancelledError

EXAMPLE = (
    Path(__file__).resolve().parents[1]
    / "app"
    / "arc2face_app"
    / "page"
    / "assets"
    / "examples"
    / "faces"
    / "100007.webp"
)


def seconds(task: Callable[[], Any], repeat: int) -> float:
    """Median wall seconds."""
    times: list[float] = []
    for _ in range(repeat):
        started = time.perf_counter()
        task()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def tasks_of(engine: Engine, photo: Path) -> dict[str, Callable[[], Any]]:
    """What a visitor does while somebody else's pictures are made; what the models cannot do is left out."""
    wanted: dict[str, Callable[[], Any]] = {
        "detect": lambda: engine.faces.detect(photo),
        "identify": lambda: engine.identify(photo),
        "normal map": lambda: engine.normal_map(20.0, 0.0, 0.0),
        "expression": lambda: engine.read_expression(photo),
    }
    able: dict[str, Callable[[], Any]] = {}
    for name, task in wanted.items():
        try:
            task()  # loads the networks, too
            able[name] = task
        except Arc2FaceError as error:
            print(f"{name} is left out: {error}")
    return able


def stop_waiting(engine: Engine, request: GenerationRequest) -> None:
    """Submit behind the run under way, and stop."""
    job = engine.submit(request)
    job.cancel()
    try:
        job.result()
    except CancelledError:
        return
    raise SystemExit("the waiting run was not stopped")


def measure(engine: Engine, photo: Path, repeat: int) -> dict[str, Any]:
    """Idle and busy medians of every reader, and one step."""
    tasks = tasks_of(engine, photo)
    person = engine.identify(photo).identity
    request = GenerationRequest(identity=person, num_images=4, steps=25, score=False)
    step = engine.generate(request).seconds["denoising"] / 25
    idle = {name: seconds(task, repeat) for name, task in tasks.items()}
    busy: dict[str, float] = {}
    jobs = [engine.submit(request.with_(steps=100)) for _ in range(4)]
    next(event for event in jobs[0].events() if event.stage == "denoising")
    for name, task in tasks.items():
        busy[name] = seconds(task, repeat)
    stopped = seconds(lambda: stop_waiting(engine, request), repeat)
    if all(job.done for job in jobs):
        raise SystemExit("the generation ended before the measurement; repeat with fewer --repeat")
    for job in jobs:
        job.cancel()
    rows = {
        name: {
            "idle_s": round(idle[name], 4),
            "busy_s": round(busy[name], 4),
            "allowed_s": round(2 * idle[name] + step, 4),
            "kept": busy[name] < 2 * idle[name] + step,
        }
        for name in tasks
    }
    return {"step_s": round(step, 4), "stop_waiting_s": round(stopped, 5), "readers": rows}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--photo", type=Path, default=EXAMPLE)
    options = parser.parse_args()
    with Engine.open(options.models, device=options.device) as engine:
        report = {"device": engine.runtime.device, "models": engine.models.kind}
        print(json.dumps(report | measure(engine, options.photo, options.repeat), indent=1))


if __name__ == "__main__":
    main()
