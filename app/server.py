"""Start the page: reachable at once, with the models loading behind it."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arc2face.errors import Arc2FaceError

if TYPE_CHECKING:
    import gradio as gr

    from app.runs.backend import Backend
    from app.settings import ServerSettings
    from arc2face.engine import Engine

logger = logging.getLogger("arc2face.app")
MAX_WAITING = 64
"""Requests that may wait in Gradio's queue; more are told to come back later."""
MAX_THREADS = 64


class PortInUseError(Arc2FaceError):
    """Another program listens on the port that was asked for."""


def serve(settings: ServerSettings) -> None:
    """Serve the page until interrupted.

    Raises:
        PortInUseError: the address is taken.
    """
    check_port(settings.host, settings.port)
    _quiet_environment()
    backend = open_backend(settings)
    page = launch(settings, backend)
    try:
        page.block_thread()
    finally:
        page.close()
        backend.close()


def launch(settings: ServerSettings, backend: Backend, **overrides: Any) -> gr.Blocks:
    """Build the page and start its server without blocking; returns the running page."""
    _quiet_environment()
    from app.page.theme import FAVICON, SCRIPT, STYLESHEET, StudioTheme
    from app.ui import build_app
    from arc2face.pictures.loading import MAX_FILE_BYTES

    page = build_app(backend)
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=4)
    options: dict[str, Any] = {
        "server_name": settings.host,
        "server_port": settings.port,
        "share": settings.share,
        "auth": settings.auth,
        "root_path": settings.root_path,
        "mcp_server": _mcp(settings.mcp),
        "prevent_thread_lock": True,
        "show_error": False,
        "quiet": True,
        "ssr_mode": False,
        "run_history": False,
        "footer_links": ["api"],
        "favicon_path": str(FAVICON),
        "theme": StudioTheme(),
        "css_paths": [STYLESHEET],
        "js": SCRIPT.read_text(encoding="utf-8"),
        "max_file_size": MAX_FILE_BYTES,
        "max_threads": MAX_THREADS,
        "allowed_paths": [],
    }
    page.launch(**{**options, **overrides})
    backend.start()
    return page


def open_backend(settings: ServerSettings) -> Backend:
    """A backend for these settings; it starts opening its engine once the page is up."""
    from app.runs import zerogpu
    from app.runs.backend import Backend
    from arc2face.weights.folder import best_bundle

    def open_engine() -> Engine:
        from arc2face.engine import Engine

        return Engine.open(
            settings.models,
            device=settings.device,
            dtype=settings.dtype,
            vram=settings.vram,
            budget_bytes=settings.budget_bytes,
            preload=settings.preload,
            inline=zerogpu.available(),
        )

    try:
        kind = best_bundle(settings.models).kind
    except Arc2FaceError:
        kind = ""
    return Backend(open_engine, kind=kind)


def check_port(host: str, port: int) -> None:
    """Fail early, with a sentence, when `port` on `host` cannot be had.

    Raises:
        PortInUseError: it is taken, or the system refuses it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = "is already in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise PortInUseError(
                f"Port {port} on {host} {reason}. Stop the other program, or choose another with --port {port + 1}."
            ) from error


def _mcp(wanted: bool) -> bool:
    """Gradio's MCP server needs a package of its own; without it the page starts all the same."""
    there = importlib.util.find_spec("mcp") is not None
    if wanted and not there:
        logger.info('MCP clients are not served: pip install "gradio[mcp]" adds that')
    return wanted and there


def _quiet_environment(environ: Mapping[str, str] | None = None) -> None:
    """Settings Gradio reads from the environment: no analytics, and uploads in a folder of our own that goes away."""
    known = os.environ if environ is None else environ
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if "GRADIO_TEMP_DIR" not in known:
        import atexit

        folder = Path(tempfile.mkdtemp(prefix="arc2face-uploads-"))
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
