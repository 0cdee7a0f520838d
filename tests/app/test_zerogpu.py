"""The Space on ZeroGPU, with the real `spaces` package on a machine that has everything but the card
(tests/app/zeromachine). Run alone: ./run test tests/app/test_zerogpu.py
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import psutil
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from arc2face.engine import Engine
from arc2face.faces.made_up import made_up_person
from arc2face.pictures.loading import load_rgb_u8
from arc2face.pictures.saving import save_picture
from arc2face.types import GenerationRequest
from arc2face_app.runs import quota
from arc2face_app.runs.quota import NO_GPU
from scripts.checkout import python_path
from space import NOT_FETCHED
from tests.app.conftest import free_port
from tests.app.zero_api import DeviceApi, Refusal, device_api

pytestmark = pytest.mark.server
pytest.importorskip("spaces", reason="pip install spaces")
NONE_FREE = Refusal(503)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[DeviceApi]:
    with device_api(tmp_path) as running:
        yield running


@pytest.fixture
def somebody(tmp_path: Path) -> Path:
    """A photo that the starter models read."""
    return save_picture(made_up_person(1), tmp_path / "somebody.png")


def test_a_booked_process_draws_stops_and_keeps_nothing(
    api: DeviceApi, models: Path, photos: dict[str, Path], project_root: Path
) -> None:
    """A process of its own draws on what it holds for CUDA: progress is live, Stop reaches it wherever it is, a series

    is one booking, and nobody who was asked for is known to it afterwards.
    """
    script = project_root / "tests" / "app" / "zero_script.py"
    command = [sys.executable, str(script), str(models), str(photos["one"]), str(photos["other"])]
    environment = api.environment(*map(Path, python_path().split(os.pathsep)))
    done = subprocess.run(command, cwd=project_root, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-4000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])

    assert (seen["device"], seen["readers"]) == ("cuda", "cpu")
    assert seen["stages"][:3] == ["encoding", "queued", "encoding"]
    assert seen["stages"].count("denoising") >= 2 and seen["stages"][-2:] == ["scoring", "done"]
    assert seen["similarity"] is not None
    with Engine.open(models, device="cpu") as plain:
        person = plain.identify([load_rgb_u8(photos["one"])]).identity
        request = GenerationRequest(identity=person, num_images=2, keep_best=1, steps=2, seed=5)
        (same,) = plain.generate(request).images
    assert seen["seed"] == same.seed
    assert np.abs(np.array(seen["picture"]) - same.rgb_u8.astype(int)).max() <= 2

    assert seen["series"] == [1, 2, 3]
    assert seen["series_stages"].count("done") == 3
    assert seen["holds_inherited"] and not seen["holds_other"]
    kind, text, step = seen["stopped"]
    assert (kind, step < 30) == ("CancelledError", True) and "Stopped" in text
    assert seen["tickets"] == 0
    assert seen["stopped_waiting"][0] == "CancelledError"
    assert seen["again"] == seen["after_kill"] == "done"
    assert seen["killed"] == ["DeviceError", quota.ABORTED]
    assert seen["bad"][0] == "SettingsError" and "nothing" in seen["bad"][1]

    assert api.named("/startup-report") == [{}]
    booked = [int(call["durationSeconds"]) for call in api.named("/schedule")]
    assert len(booked) == 8  # three pictures together, and none for a request that cannot be drawn
    workers = api.workers
    # One for as long as it is idle; another where it is still in use, and after the kill.
    assert 2 <= len(workers) == len(set(workers)) <= 4 and seen["home"] not in workers


def token() -> str:
    """A visitor's, as the platform sends it."""
    return "e30.eyJ1c2VyIjogImFubmEifQ.c2ln"


def test_the_space_starts_from_its_folder_and_draws(
    api: DeviceApi, tmp_path: Path, project_root: Path, somebody: Path
) -> None:
    """The folder that assemble.py makes, started as the platform does; no download, so the starter models serve.

    The visitor's share is charged, refusals come in our words, and nothing of the server is left in the process that
    draws.
    """
    folder, port = tmp_path / "space", free_port()
    subprocess.run([sys.executable, "scripts/assemble.py", "space", str(folder)], cwd=project_root, check=True)
    more = {"GRADIO_SERVER_PORT": str(port), "ARC2FACE_SPACE_FEATURES": "identity fast", "SPACE_ID": "anna/arc2face"}
    with (tmp_path / "log").open("w") as log:
        space = subprocess.Popen(
            [sys.executable, "space.py"], cwd=folder, env=api.environment(**more), stdout=log, stderr=log
        )
        try:
            client = _client(port, space, tmp_path / "log")
            config = client.config
            (head,) = [one for one in config["components"] if "studio-head" in str(one["props"].get("value"))]
            assert NOT_FETCHED in head["props"]["value"] and "people who do not exist" in head["props"]["value"]
            _check_that_the_platform_is_asked_who_visits(config)
            # In the page's process, on the CPU, without a booking.
            assert client.predict(20, 0, 0, api_name="/normal_map")
            assert api.named("/schedule") == []

            drawn = {"num_images": 1, "steps": 1, "fast": True, "api_name": "/generate_identity"}
            files, answer = client.predict([handle_file(str(somebody))], **drawn)
            assert np.asarray(Image.open(files[0])).shape[2] == 3
            assert answer["stage"] == "done" and answer["pictures"][0]["similarity"] is not None
            (booked,) = api.named("/schedule")
            assert booked["token"] == token() and 8 < int(booked["durationSeconds"]) < 12

            share = {"left": 3, "wait": "PT2H30M"}
            exceeded = Refusal(429, {"X-Approve-Result": "quota-exceeded"}, json.dumps(share))
            for refusal, sentence in ((exceeded, "9 s, and 3 s are left. Try again in 2:30:00."), (NONE_FREE, NO_GPU)):
                api.refusals.append(refusal)
                with pytest.raises(AppError, match=sentence):
                    client.predict([handle_file(str(somebody))], **drawn)
            client.close()

            (worker,) = api.workers
            held = {one.laddr.port for one in psutil.Process(worker).net_connections() if one.status == "LISTEN"}
            assert port not in held
            space.send_signal(signal.SIGTERM)
            assert space.wait(60) == 0
        finally:
            space.kill()
            space.wait()


def _check_that_the_platform_is_asked_who_visits(config: Any) -> None:
    """Its token comes with queued events only; fast mode is decided in one."""
    fast = {one["id"] for one in config["components"] if one["props"].get("label") == "Fast mode"}
    deciding = [one for one in config["dependencies"] if one["outputs"] and set(one["outputs"]) <= fast]
    assert [one["queue"] for one in deciding] == [True]


def _client(port: int, space: subprocess.Popen[bytes], log: Path) -> Client:
    for _ in range(1200):
        assert space.poll() is None, log.read_text()
        try:
            with urlopen(f"http://127.0.0.1:{port}/config", timeout=20):
                return Client(f"http://127.0.0.1:{port}", headers={"x-ip-token": token()}, verbose=False)
        except URLError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())
