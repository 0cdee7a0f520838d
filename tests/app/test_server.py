"""How the server starts: at once, quietly, and with a sentence when it cannot."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from app import server
from app.runs.backend import Backend
from app.runs.files import LIFETIME, SessionFiles
from app.settings import ServerSettings
from arc2face.engine import Engine
from arc2face.errors import MissingWeightsError
from tests.app.conftest import free_port

pytestmark = pytest.mark.server


def test_a_taken_port_is_named_with_a_way_out() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(server.PortInUseError, match=rf"Port {port} .* already in use.*--port {port + 1}"):
            server.check_port("127.0.0.1", port)


def test_building_the_page_imports_nothing_heavy(project_root: Path) -> None:
    code = (
        "import sys, json; from app.runs.backend import Backend; from app.ui import build_app;"
        "build_app(Backend(lambda: None, kind='starter'));"
        "print(json.dumps([m for m in ('torch', 'diffusers', 'transformers', 'onnxruntime') if m in sys.modules]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(project_root), str(project_root / "external")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_the_page_is_there_while_the_models_load(models: Path) -> None:
    gate = threading.Event()

    def slow() -> Engine:
        gate.wait(60)
        return Engine.open(models, device="cpu")

    backend = Backend(slow, kind="tiny")
    settings = ServerSettings(port=free_port(), mcp=False)
    page = server.launch(settings, backend)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{settings.port}/", timeout=20) as answer:
            assert b"loading models" in answer.read()
        assert not backend.ready
        gate.set()
        assert backend.wait(60)
        assert backend.kind == "tiny"
    finally:
        gate.set()
        page.close()
        backend.close()


def test_models_that_cannot_be_opened_are_explained(tmp_path: Path) -> None:
    backend = Backend(lambda: Engine.open(tmp_path / "nowhere"))
    assert backend.wait(60)
    assert not backend.ready
    assert "does not exist" in backend.problem
    with pytest.raises(MissingWeightsError):
        backend.engine()


def test_a_password_keeps_strangers_out(models: Path) -> None:
    backend = Backend.of(Engine.open(models, device="cpu"))
    settings = ServerSettings(port=free_port(), auth=("anna", "secret"), mcp=False)
    page = server.launch(settings, backend)
    url = f"http://127.0.0.1:{settings.port}"
    try:
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{url}/config", timeout=20)
    finally:
        page.close()
        backend.close()


def test_heavy_events_share_one_queue(studio: Any) -> None:
    fns = studio.page.fns.values()
    heavy = [fn for fn in fns if fn.name in ("generate", "generate_identity", "generate_pose", "generate_expression")]
    assert len(heavy) >= 8
    assert {fn.concurrency_id for fn in heavy} == {"gpu"}


@pytest.mark.parametrize("path", ["/etc/passwd", "pyproject.toml", "app/server.py"])
def test_files_of_the_machine_are_not_served(studio: Any, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match=r"403|404"):
        urllib.request.urlopen(f"{studio.url}/gradio_api/file={path}", timeout=20)


def test_results_of_a_session_are_removed_with_it(tmp_path: Path) -> None:
    files = SessionFiles(tmp_path)
    mine, other = files.new_run("anna"), files.new_run("../ben")
    assert tmp_path in other.parents
    files.forget("anna")
    assert not mine.exists()
    assert other.exists()
    files.sweep(time.time() + LIFETIME + 60)
    assert not other.exists()
