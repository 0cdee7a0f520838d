"""ZeroGPU without the page around it, in a process where `spaces` has changed torch (tests/app/test_zerogpu.py).

Prints one JSON object of what was seen; the test says what is right.
"""

# ruff: noqa: E402 (`spaces` comes first)
from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

spaces = importlib.import_module("spaces")

from arc2face.engine import Engine
from arc2face.errors import Arc2FaceError
from arc2face.pictures.loading import load_rgb_u8
from arc2face.types import GenerationRequest, IdentityEmbedding, Progress
from arc2face_app.runs import runner, zerogpu
from arc2face_app.runs.backend import Backend
from arc2face_app.runs.shell import Shell

MODELS, ONE, OTHER = sys.argv[1:]
API = os.environ["SPACES_ZERO_DEVICE_API_URL"]


def tell_api(path: str) -> None:
    urlopen(Request(API + path, method="POST", data=b"")).read()


def follow(shell: Shell, requests: Sequence[GenerationRequest], on_event: Callable[[Any], object] = lambda _: 0) -> Any:
    events = []
    for event in runner.follow(shell, "anna", lambda _: requests):
        events.append(event)
        on_event(event)
    return events


def stages(events: Sequence[Any]) -> list[str]:
    return [event.stage for event in events if isinstance(event, Progress)]


def known(worker: int) -> list[str]:
    """The persons that a worker process holds, once it has nothing to do."""
    path = Path(os.environ["KNOWN"]) / str(worker)
    path.unlink(missing_ok=True)
    os.kill(worker, signal.SIGUSR1)
    until = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return path.read_text(encoding="utf-8").split()


def sum_of(person: IdentityEmbedding) -> str:
    return f"{float(person.vector.sum()):.5f}"


def workers() -> list[int]:
    """The processes that have had a card. Two runs at a time have one each."""
    return [int(pid) for pid in Path(os.environ["PIDS"]).read_text(encoding="utf-8").split()]


def error_of(run: Callable[[], object]) -> tuple[str, str]:
    try:
        run()
    except Arc2FaceError as error:
        return type(error).__name__, str(error)
    return "", ""


def main() -> None:
    zerogpu.announce()
    engine = Engine.open(MODELS, dtype="fp32", inline=True, preload=True)
    seen: dict[str, Any] = {"home": os.getpid(), "device": engine.runtime.device, "readers": engine.perception.device}
    zerogpu.prepare(engine)
    importlib.import_module("spaces.zero").startup()  # what the launch of the page does first
    shell = Shell(backend=Backend.of(engine), history=None)  # pyright: ignore[reportArgumentType]
    person = engine.identify([load_rgb_u8(ONE)]).identity  # the readers were in use before the fork

    def asked(who: IdentityEmbedding = person, **more: Any) -> GenerationRequest:
        return GenerationRequest(identity=who, **{"num_images": 1, "steps": 2, "seed": 5, **more})

    done = follow(shell, [asked(num_images=2, keep_best=1)])
    (image,) = done[-1][0].images
    seen |= {"stages": stages(done), "similarity": image.similarity}
    seen["picture"] = image.rgb_u8.tolist()
    seen["seed"] = image.seed
    (worker,) = workers()

    # Somebody whom the worker did not inherit: nothing of them stays there. The second one makes sure that it served.
    other = engine.identify([load_rgb_u8(OTHER)]).identity
    series = follow(shell, [asked(other, seed=seed) for seed in (1, 2, 3)])
    seen["series"] = [result.images[0].seed for result in series[-1]]
    seen["series_stages"] = stages(series)
    seen |= {"holds_inherited": sum_of(person) in known(worker), "holds_other": sum_of(other) in known(worker)}

    steps: list[int] = []

    def stop(event: Any) -> None:
        if isinstance(event, Progress) and event.stage == "denoising" and event.step:
            steps.append(event.step)
            shell.jobs.cancel("anna")

    seen["stopped"] = [*error_of(lambda: follow(shell, [asked(steps=40)], stop)), max(steps)]

    leaving: Any = runner.follow(shell, "anna", lambda _: [asked(steps=40)])
    while next(leaving).stage != "denoising":
        pass
    leaving.close()
    seen["tickets"] = len(shell.jobs)

    tell_api("/test/hold")
    threading.Timer(0.5, lambda: shell.jobs.cancel("anna")).start()
    seen["stopped_waiting"] = error_of(lambda: follow(shell, [asked()]))
    tell_api("/test/let-go")

    seen["again"] = stages(follow(shell, [asked()]))[-1]

    def kill(event: Any) -> None:
        if isinstance(event, Progress) and event.stage == "denoising" and event.step == 1:
            for pid in workers():
                os.kill(pid, signal.SIGKILL)

    seen["killed"] = error_of(lambda: follow(shell, [asked(steps=40)], kill))
    seen["after_kill"] = stages(follow(shell, [asked()]))[-1]
    seen["bad"] = error_of(lambda: follow(shell, [asked(extras={"nothing": 1})]))
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
