"""The Cog runner over HTTP, with the real server of the package index. Issue 15, point 4."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from arc2face import read_recipe
from scripts.checkout import python_path
from tests.app.conftest import free_port
from tests.conftest import PROJECT

pytestmark = pytest.mark.skipif(importlib.util.find_spec("cog") is None, reason="cog is not installed")
FACES = sorted((PROJECT / "app" / "arc2face_app" / "page" / "assets" / "examples" / "faces").glob("*.webp"))
Predict = Callable[..., dict[str, Any]]


def uri(path: Path) -> str:
    return "data:image/webp;base64," + base64.b64encode(path.read_bytes()).decode()


def file_of(answer: str) -> bytes:
    return base64.b64decode(answer.split(",", 1)[1])


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predict]:
    folder = tmp_path_factory.mktemp("cog")
    port = free_port()
    environment = {
        **os.environ,
        # The server starts its worker as `python` from PATH.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": python_path(),
        "COG_PREDICT_TYPE_STUB": f"{PROJECT / 'deploy' / 'replicate' / 'run.py'}:Runner",
        "ARC2FACE_MODELS": str(PROJECT / "models" / "starter"),
        "ARC2FACE_DEVICE": "cpu",
        "PORT": str(port),
        "TMPDIR": str(folder),
    }
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1"]
        server = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
            _wait(client, server, folder / "log")

            def ask(**values: Any) -> dict[str, Any]:
                asked = {"input": {"photo": uri(FACES[0]), **values}}
                answer = client.post("/predictions", json=asked)
                for _ in range(50):
                    if answer.status_code != 409:  # the last one is still being put away
                        break
                    time.sleep(0.1)
                    answer = client.post("/predictions", json=asked)
                assert answer.status_code == 200, answer.text
                return dict(answer.json())

            yield ask
    finally:
        server.terminate()
        server.wait(30)


def _wait(client: httpx.Client, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            status = client.get("/health-check").json().get("status")
        except httpx.HTTPError:
            status = None
        if status == "READY":
            return
        assert status != "SETUP_FAILED", log.read_text()[-3000:]
        time.sleep(0.3)
    pytest.fail(log.read_text()[-3000:])


def test_pictures_with_recipes_and_scores(predict: Predict) -> None:
    answer = predict(num_images=2, seed=7, fast=True)
    assert answer["status"] == "succeeded", answer
    pictures = [file_of(one) for one in answer["output"]["pictures"]]
    scores = json.loads(file_of(answer["output"]["scores"]))
    assert [row["seed"] for row in scores["pictures"]] == [7, 8]
    assert max(row["similarity"] for row in scores["pictures"]) > 0.2
    assert [read_recipe(one)["settings"]["seed"] for one in pictures] == [7, 8]
    again = predict(num_images=1, seed=8, fast=True)
    pixels = [
        np.asarray(Image.open(io.BytesIO(one)), int) for one in (pictures[1], file_of(again["output"]["pictures"][0]))
    ]
    assert np.abs(pixels[0] - pixels[1]).max() <= 1


def test_every_flow_in_one_request(predict: Predict) -> None:
    answer = predict(
        num_images=1,
        seed=3,
        steps=3,
        yaw=20,
        expression_preset="smile",
        keep_look=0.8,
        paste_back="face",
        not_like=uri(FACES[1]),
        more_photos=[uri(FACES[0])],
    )
    assert answer["status"] == "succeeded", answer
    recipe = json.loads(file_of(answer["output"]["scores"]))["recipe"]
    assert recipe["pose"]["angles"] == [20, 0, 0] and recipe["reference"]["strength"] == 0.8
    assert max(recipe["expression"]["values"]) > 0 and recipe["negative"]["strength"] == 0.5
    made, pasted = (Image.open(io.BytesIO(file_of(one))) for one in answer["output"]["pictures"])
    assert pasted.size == Image.open(FACES[0]).size and made.width == made.height


def test_pose_and_expression_of_photos(predict: Predict) -> None:
    answer = predict(num_images=1, fast=True, pose_photo=uri(FACES[2]), expression_photo=uri(FACES[2]), seed=1)
    assert answer["status"] == "succeeded", answer
    recipe = json.loads(file_of(answer["output"]["scores"]))["recipe"]
    assert recipe["pose"]["angles"] is not None and len(recipe["expression"]["values"]) == 55


def test_what_is_wrong_is_the_predictions_error(predict: Predict) -> None:
    """The server does not enforce bounds; the library's sentence is what a user reads."""
    blank = io.BytesIO()
    Image.new("RGB", (256, 256), (127, 127, 127)).save(blank, "PNG")
    face = "data:image/png;base64," + base64.b64encode(blank.getvalue()).decode()
    for values, sentence in (
        ({"num_images": 99}, "number of pictures"),
        ({"photo": face}, "No face was found"),
        ({"paste_back": "face"}, "look kept"),
        ({"expression_preset": "nonsense"}, "There is no preset"),
        ({"pose_photo": uri(FACES[1]), "yaw": 10}, "Give one pose"),
        ({"fast": True, "not_like": uri(FACES[1])}, "takes guidance"),
    ):
        answer = predict(**values)
        assert answer["status"] == "failed" and sentence in answer["error"], answer
