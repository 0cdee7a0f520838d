"""The Space on ZeroGPU, as far as it goes without one: a stand-in for `spaces` that forks, pickles and loses what the
real one does. Run alone: ./run test tests/app/test_zerogpu.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from scripts.checkout import python_path
from tests.app.conftest import free_port

pytestmark = pytest.mark.server

SPACES = '''
"""Each call runs in a fork; arguments and results travel pickled; errors lose everything but their class."""
import multiprocessing, os, pathlib
fork = multiprocessing.get_context("fork")

def GPU(duration):
    def wrap(task):
        def booked(*args):
            assert duration(*args) > 0
            results, stop = fork.SimpleQueue(), fork.Event()
            arguments = fork.SimpleQueue()
            arguments.put(args)

            def work():
                pathlib.Path(os.environ["PIDS"]).open("a").write(f"{os.getpid()}\\n")
                try:
                    running = task(*arguments.get())
                    for value in running:
                        if stop.is_set():
                            running.close()
                            break
                        results.put(("ok", value))
                    results.put(("end", None))
                except BaseException as error:
                    results.put(("error", type(error).__name__))

            process = fork.Process(target=work, daemon=True)
            process.start()
            try:
                while True:
                    kind, value = results.get()
                    if kind == "error":
                        raise RuntimeError(f"ZeroGPU worker error: {value}")
                    if kind == "end":
                        return
                    yield value
            finally:
                stop.set()
        return booked
    return wrap
'''

SCRIPT = """
import json, os, sys, threading
from dataclasses import replace
from arc2face_app.runs import runner, zerogpu
from arc2face_app.runs.backend import Backend
from arc2face_app.runs.shell import Shell
from arc2face.engine import Engine
from arc2face.errors import CancelledError
from arc2face.pictures.loading import load_rgb_u8
from arc2face.types import GenerationRequest, Progress

def follow(steps, on_event=lambda event: None, **more):
    request = lambda engine: [GenerationRequest(identity=person, num_images=1, steps=steps, seed=5, **more)]
    events = []
    for event in runner.follow(shell, "anna", request):
        events.append(event)
        on_event(event)
    return events

models, photo = sys.argv[1:]
engine = Engine.open(models, device="cpu", inline=True, preload=True)
zerogpu.prepare(engine)
assert engine.perception.runtime.device == "cpu"
shell = Shell(backend=Backend.of(engine), history=None)
person = engine.identify([load_rgb_u8(photo)]).identity  # the readers were in use before the fork
done = follow(4)
image = done[-1][0].images[0]
assert zerogpu.available()
answer = {"stages": [event.stage for event in done[:-1]], "similarity": image.similarity}

seen = []
def stop(event):
    if isinstance(event, Progress) and event.stage == "denoising" and event.step:
        seen.append(event.step)
        shell.jobs.cancel("anna")
try:
    follow(100, stop)
except CancelledError as error:
    answer["stopped"] = [max(seen), str(error)]

leaving = runner.follow(shell, "anna", lambda engine: [GenerationRequest(identity=person, steps=100)])
for event in leaving:
    if isinstance(event, Progress) and event.stage == "denoising":
        break
leaving.close()
assert not len(shell.jobs)

del os.environ["SPACES_ZERO_GPU"]
plain = Engine.open(models, device="cpu")
same = plain.generate(GenerationRequest(identity=person, num_images=1, steps=4, seed=5)).images[0]
answer["equal"] = bool((same.rgb_u8 == image.rgb_u8).all())
answer["mine"] = os.getpid()
print(json.dumps(answer))
"""


@pytest.fixture
def zero(tmp_path: Path, project_root: Path) -> dict[str, str]:
    """The environment of a ZeroGPU Space."""
    (tmp_path / "spaces.py").write_text(SPACES, encoding="utf-8")
    path = python_path(tmp_path)
    # One thread: OpenMP's pool does not survive a fork on a CPU, and on ZeroGPU nothing runs before it.
    more = {"SPACES_ZERO_GPU": "true", "OMP_NUM_THREADS": "1", "PIDS": str(tmp_path / "pids"), "PYTHONPATH": path}
    return {**os.environ, **more, "ARC2FACE_SPACE_FEATURES": ""}


def test_progress_stop_and_pictures_cross_the_border(
    zero: dict[str, str], models: Path, photos: dict[str, Path], project_root: Path
) -> None:
    """B6: a process of its own draws; its progress is live, Stop reaches it, and the picture is the usual one."""
    import json

    command = [sys.executable, "-c", SCRIPT, str(models), str(photos["one"])]
    done = subprocess.run(command, cwd=project_root, env=zero, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert answer["equal"]
    assert answer["similarity"] is not None
    assert {"denoising", "scoring", "done"} <= set(answer["stages"])
    step, text = answer["stopped"]
    assert step < 90 and "Stopped" in text
    pids = Path(zero["PIDS"]).read_text().split()
    assert len(set(pids)) == 3
    assert str(answer["mine"]) not in pids


def test_the_space_starts_and_draws(
    zero: dict[str, str], models: Path, photos: dict[str, Path], project_root: Path, tmp_path: Path
) -> None:
    """B6: `space.py` itself, from its start to a picture, an error in words, and a clean end."""
    port = free_port()
    environment = {**zero, "GRADIO_SERVER_PORT": str(port), "ARC2FACE_MODELS": str(models), "ARC2FACE_DEVICE": "cpu"}
    with (tmp_path / "log").open("w") as log:
        space = subprocess.Popen(
            [sys.executable, "space.py"], cwd=project_root, env=environment, stdout=log, stderr=log
        )
        try:
            client = _client(port, space, tmp_path / "log")
            photo = handle_file(str(photos["one"]))
            files, answer = client.predict([photo], num_images=1, steps=2, api_name="/generate_identity")
            assert np.asarray(Image.open(files[0])).shape[2] == 3
            assert answer["stage"] == "done"
            assert client.predict(20, 0, 0, api_name="/normal_map")
            client.close()
            space.send_signal(signal.SIGTERM)
            assert space.wait(60) == 0
        finally:
            space.kill()
            space.wait()
    assert len(Path(zero["PIDS"]).read_text().split()) == 1


def _client(port: int, space: subprocess.Popen[bytes], log: Path) -> Client:
    import time
    from urllib.error import URLError
    from urllib.request import urlopen

    for _ in range(600):
        assert space.poll() is None, log.read_text()
        try:
            with urlopen(f"http://127.0.0.1:{port}/config", timeout=20):
                return Client(f"http://127.0.0.1:{port}", verbose=False)
        except URLError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def test_a_short_run_books_less_time(zero: dict[str, str]) -> None:
    from arc2face.errors import Arc2FaceError, InputError
    from arc2face.types import EMBEDDING_SIZE, GenerationRequest, IdentityEmbedding
    from arc2face_app.runs.zerogpu import Failure, seconds_needed

    request = GenerationRequest(identity=IdentityEmbedding(np.ones(EMBEDDING_SIZE, np.float32)))
    assert 5 < seconds_needed(request.with_(steps=4, fast=True, guidance_scale=1.0), "stop") < seconds_needed(request)

    class HereError(Exception):
        """A class that the other side cannot import."""

    assert isinstance(Failure.of(InputError("No face.")).error, InputError)
    travelled = Failure.of(HereError("Words.")).error
    assert type(travelled) is Arc2FaceError and str(travelled) == "Words."
