"""How the server starts: at once, quietly, and with a sentence when it cannot."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arc2face.engine import Engine
from arc2face.errors import MissingWeightsError
from arc2face_app import server
from arc2face_app.runs.backend import Backend
from arc2face_app.runs.files import LIFETIME, SWEEP_EVERY, SessionFiles
from arc2face_app.settings import ServerSettings
from scripts.checkout import python_path
from tests.app.conftest import free_port

pytestmark = pytest.mark.server
SET_BY_THE_SERVER = ("GRADIO_", "MPLCONFIGDIR", "HF_HUB_", "ORT_", "DO_NOT_TRACK")
"""Variables that a server of this process has set; the processes that are started here begin without."""


def test_a_taken_port_is_named_with_a_way_out() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(server.PortInUseError, match=rf"Port {port} .* already in use.*--port {port + 1}"):
            server.check_port("127.0.0.1", port)


def test_building_the_page_imports_nothing_heavy(project_root: Path) -> None:
    code = (
        "import sys, json; from arc2face_app.runs.backend import Backend; from arc2face_app.ui import build_app;"
        "build_app(Backend(lambda: None, kind='starter'));"
        "print(json.dumps([m for m in ('torch', 'diffusers', 'transformers', 'onnxruntime') if m in sys.modules]))"
    )
    environment = {**os.environ, "PYTHONPATH": python_path()}
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


@pytest.mark.parametrize("path", ["/etc/passwd", "pyproject.toml", "app/arc2face_app/server.py"])
def test_files_of_the_machine_are_not_served(studio: Any, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match=r"403|404"):
        urllib.request.urlopen(f"{studio.url}/gradio_api/file={path}", timeout=20)


@pytest.fixture
def started(models: Path, project_root: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `python -m arc2face_app` with a temporary folder of its own; yields once it has said its address."""
    begun: list[subprocess.Popen[str]] = []

    def start(**environment: str) -> subprocess.Popen[str]:
        path = python_path()
        common = {"PYTHONPATH": path, "TMPDIR": str(tmp_path), "ARC2FACE_MODELS": str(models)}
        command = [sys.executable, "-m", "arc2face_app", "--port", str(free_port()), "--no-mcp"]
        quiet = {name: text for name, text in os.environ.items() if not name.startswith(SET_BY_THE_SERVER)}
        quiet = {name: text for name, text in quiet.items() if not name.lower().endswith("_proxy")}
        begun.append(
            subprocess.Popen(
                command,
                env={**quiet, **common, **environment},
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=_hears_interrupts,
            )
        )
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def _hears_interrupts() -> None:
    """In the child: tests that were started in the background inherit "ignored"."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def reach(process: subprocess.Popen[str]) -> str:
    """The address of a server that was started, once its page answers."""
    assert process.stdout is not None and process.stderr is not None
    told = next((line for line in process.stdout if line.startswith("Arc2Face Studio: ")), "it said nothing")
    address = told.split()[-1]
    for _ in range(600):
        assert process.poll() is None, process.stderr.read()
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(address, timeout=20):
                return address
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError("no page")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="POSIX signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_the_server_without_a_trace(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path, name: str
) -> None:
    """K15: uploads, results and everything else temporary go, whoever ends the server."""
    process = started()
    reach(process)
    assert list(tmp_path.glob("arc2face-app-*/uploads"))
    process.send_signal(getattr(signal, name))
    assert process.wait(60) in (0, 130)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="POSIX signals")
def test_a_signal_in_the_middle_of_a_run_ends_the_server_in_order(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path, photos: dict[str, Path]
) -> None:
    """B3, K15: with one run under way and one waiting; nobody waits for the hundred steps, and nothing is left."""
    from gradio_client import Client, handle_file

    process = started()
    visitor = Client(reach(process), verbose=False)
    photo = [handle_file(str(photos["one"]))]
    running, _ = [
        visitor.submit(photo, num_images=2, steps=100, seed=seed, api_name="/generate_identity") for seed in (1, 2)
    ]
    for _, progress in running:
        if progress and progress["stage"] == "denoising":
            break
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert [path for path in tmp_path.iterdir() if path.name.startswith("arc2face")] == []


def test_the_next_start_removes_what_a_killed_server_left(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """K15: kill -9 leaves a folder; the next start takes it away, but not that of a server that runs."""
    killed, running = started(), started()
    reach(killed)
    reach(running)
    assert len(list(tmp_path.glob("arc2face-app-*"))) == 2
    killed.kill()
    killed.wait(60)
    reach(started())
    assert running.poll() is None
    assert len(list(tmp_path.glob("arc2face-app-*"))) == 2


@pytest.mark.parametrize(
    "proxies",
    [
        {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"},
        {"ALL_PROXY": "socks5://127.0.0.1:9", "all_proxy": "socks5://127.0.0.1:9"},
        {"ALL_PROXY": "http://127.0.0.1:9", "NO_PROXY": "example.org"},
    ],
    ids=["http", "socks", "all"],
)
def test_no_proxy_variable_stops_the_page(
    started: Callable[..., subprocess.Popen[str]], proxies: dict[str, str]
) -> None:
    """B1: the server reaches itself directly, whatever lies between this machine and the rest."""
    assert reach(started(**proxies)).startswith("http://127.0.0.1")


def test_a_temporary_folder_that_cannot_be_used_is_said(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    _, err = started(GRADIO_TEMP_DIR=str(blocked)).communicate(timeout=120)
    assert "temporary folder cannot be used" in err
    assert "TMPDIR" in err
    assert "Traceback" not in err


def test_libraries_are_told_to_keep_quiet() -> None:
    """A1: every library that counts its users is told not to, and caches stay in the workspace."""
    code = (
        "import json, os; from arc2face_app.runs.workspace import Workspace;"
        "from arc2face_app.server import prepare_environment;"
        "w = Workspace(); prepare_environment('127.0.0.1', w);"
        "import gradio; assert not gradio.analytics.analytics_enabled();"
        "print(json.dumps([str(w.root), dict(os.environ)]))"
    )
    plain = {name: text for name, text in os.environ.items() if not name.startswith(SET_BY_THE_SERVER)}
    done = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True)
    root, environment = json.loads(done.stdout.splitlines()[-1])
    assert environment["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert environment["HF_HUB_DISABLE_TELEMETRY"] == environment["ORT_DISABLE_TELEMETRY"] == "1"
    for name in ("MPLCONFIGDIR", "GRADIO_TEMP_DIR", "GRADIO_EXAMPLES_CACHE"):
        assert environment[name].startswith(root)
    assert "127.0.0.1" in environment["NO_PROXY"].split(",")
    assert not Path(root).exists()


@pytest.mark.parametrize("set_to", [0.0, 4e9])
def test_a_clock_that_is_set_removes_nothing_too_early_or_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_to: float
) -> None:
    """Issue 10, point 3: neither the wall clock nor a file's time decides about results."""
    files = SessionFiles(tmp_path)
    run = files.new_run("anna")
    monkeypatch.setattr(time, "time", lambda: set_to)
    os.utime(run, (set_to, set_to))
    files.sweep(time.monotonic() + LIFETIME - 60)
    assert run.exists()
    files.sweep(time.monotonic() + LIFETIME + SWEEP_EVERY)
    assert not run.exists()


def test_results_of_a_session_are_removed_with_it(tmp_path: Path) -> None:
    files = SessionFiles(tmp_path)
    mine, other = files.new_run("anna"), files.new_run("../ben")
    assert tmp_path in other.parents
    files.forget("anna")
    assert not mine.exists()
    assert other.exists()
    files.sweep(time.monotonic() + LIFETIME + 60)
    assert not other.exists()
