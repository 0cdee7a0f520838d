"""Start the page: reachable at once, with the models loading behind it."""

from __future__ import annotations

import asyncio
import errno
import functools
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from arc2face.errors import Arc2FaceError
from arc2face_app import stubs
from arc2face_app.runs.files import SessionFiles
from arc2face_app.runs.workspace import Workspace, process_workspace

if TYPE_CHECKING:
    from pathlib import Path

    import gradio as gr

    from arc2face.engine import Engine
    from arc2face_app.runs.backend import Backend
    from arc2face_app.runs.tickets import JobBook
    from arc2face_app.runs.visitors import Visitors
    from arc2face_app.settings import ServerSettings

logger = logging.getLogger("arc2face.app")
MAX_THREADS = 64
MAX_SESSIONS = 1000
"""Gradio's own bound on sessions in memory; `arc2face_app.runs.visitors` drops idle ones long before."""


class PortInUseError(Arc2FaceError):
    """Another program listens on the port that was asked for."""


def serve(
    settings: ServerSettings, backend: Backend | None = None, listening: Callable[[], None] | None = None
) -> None:
    """Serve the page until interrupted, or until the system asks to stop (SIGTERM, SIGHUP).

    `backend`: where the engine is open already; otherwise it opens behind the page. `listening`: called once the page
    answers.

    Raises:
        PortInUseError: the address is taken.
        StorageError: there is no temporary folder that can be written to.
    """
    check_port(settings.host, settings.port)
    # Before the first import of Gradio, which builds its HTTP clients then.
    prepare_environment(settings.host, process_workspace())
    # Python as process 1 of a container, or with the default action, would not get to clean up.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _stop)
    backend = backend or open_backend(settings)
    page = launch(settings, backend)
    if listening is not None:
        listening()
    try:
        page.block_thread()
    finally:
        page.app.state.jobs.cancel_all()
        page.close(verbose=False)
        backend.close()


def launch(settings: ServerSettings, backend: Backend, **overrides: Any) -> gr.Blocks:
    """Build the page and start its server without blocking; returns the running page.

    Raises:
        StorageError: there is no temporary folder that can be written to.
    """
    workspace = process_workspace()
    prepare_environment(settings.host, workspace)
    from arc2face.pictures.loading import MAX_FILE_BYTES
    from arc2face_app.api import tools
    from arc2face_app.page.parts.board import head_scripts
    from arc2face_app.page.theme import (
        ACCESS_STYLESHEET,
        DRIVING_STYLESHEET,
        FAVICON,
        PICTURES_STYLESHEET,
        STYLESHEET,
        StudioTheme,
        script,
    )
    from arc2face_app.runs.downloads import downloads_of
    from arc2face_app.runs.errors import never_silent
    from arc2face_app.runs.outputs import Outputs
    from arc2face_app.runs.photos import PhotoShelf
    from arc2face_app.runs.store import RunStore
    from arc2face_app.runs.tickets import JobBook
    from arc2face_app.runs.visitors import Visitors
    from arc2face_app.runs.visits import Visits
    from arc2face_app.ui import build_app

    files, jobs, photos = SessionFiles(workspace.results), JobBook(), PhotoShelf()
    runs, outputs, visits = RunStore(), Outputs(settings.outputs), Visits()
    downloads = downloads_of(settings, backend, functools.partial(engine_of, settings))
    kept: dict[str, Any] = {
        "files": files,
        "jobs": jobs,
        "photos": photos,
        "runs": runs,
        "outputs": outputs,
        "visits": visits,
    }
    page = build_app(backend, downloads=downloads, datasets=settings.has_studio, **kept)
    never_silent(page)
    # Waiting requests are counted per kind of work and per visitor (arc2face_app.runs.visitors), not here over all of
    # them.
    page.queue(max_size=None, default_concurrency_limit=4, api_open=False)
    forgets = (files.forget, photos.forget, runs.forget, visits.forget)
    visitors = Visitors(page, workspace.uploads, forgets, (files.hand_over, runs.hand_over))
    visits.succeed = visitors.succeed
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
        "css_paths": [STYLESHEET, PICTURES_STYLESHEET, ACCESS_STYLESHEET, DRIVING_STYLESHEET],
        "head": head_scripts(),
        "js": script(),
        "max_file_size": MAX_FILE_BYTES,
        "max_threads": MAX_THREADS,
        "allowed_paths": [] if outputs.root is None else [str(outputs.root)],
        "state_session_capacity": MAX_SESSIONS,
        "app_kwargs": {"lifespan": _guarded(settings, jobs, visitors)},
    }
    page.launch(**{**options, **overrides})
    tools.adapt(page, workspace.uploads, settings.auth)
    backend.start()
    return page


def _stop(number: int, frame: object) -> None:
    raise SystemExit(0)


def _guarded(settings: ServerSettings, jobs: JobBook, visitors: Visitors) -> Any:
    """A lifespan that puts the guard around everything. Middleware added the usual way would stand inside Gradio's own,
    which answers other sites' questions on its own account.
    """
    from arc2face_app.guard import Guard
    from arc2face_app.page.front import Front

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[None]:
        app.state.visitors, app.state.jobs = visitors, jobs
        front = Front(app.middleware_stack, urlsplit(settings.root_path).path.rstrip("/"))
        app.middleware_stack = Guard(_compressed(front), app, settings, visitors)
        tidying = asyncio.create_task(visitors.keep_tidy())
        try:
            yield
        finally:
            tidying.cancel()

    return lifespan


def _compressed(app: Any) -> Any:
    """Compress the page and its configuration, which Gradio sends as they are: 1 MB, of which a tenth remains."""
    from starlette.middleware.gzip import GZipMiddleware

    smaller = GZipMiddleware(app)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        is_page = scope["type"] == "http" and scope["path"] in ("/", "/config")
        await (smaller if is_page else app)(scope, receive, send)

    return answer


def open_backend(settings: ServerSettings) -> Backend:
    """A backend for these settings; it starts opening its engine once the page is up."""
    from arc2face.weights.folder import best_bundle
    from arc2face_app.runs.backend import Backend

    try:
        kind = best_bundle(settings.models).kind
    except Arc2FaceError:
        kind = ""
    return Backend(lambda: engine_of(settings, settings.models), kind=kind)


def engine_of(settings: ServerSettings, models: Path | None, **others: Any) -> Engine:
    """An engine on a models folder, None for the best one found. Raises Arc2FaceError.

    `others`: options of `Engine.open` that are not a setting, or go before one.
    """
    from arc2face.engine import Engine
    from arc2face.pictures.recipes import check_marks

    check_marks()
    options: dict[str, Any] = {
        "device": settings.device,
        "dtype": settings.dtype,
        "vram": settings.vram,
        "budget_bytes": settings.budget_bytes,
        "fast_path": settings.fast_path,
        "batching": settings.batching,
        "preload": settings.preload,
    }
    return Engine.open(models, **{**options, **others})


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


def prepare_environment(host: str, workspace: Workspace) -> None:
    """What libraries find at their import: nobody is told of this server, nothing is kept outside the workspace.

    Variables that the user has set stay. The server reaches itself without a proxy, whatever the proxy variables say.
    """
    quiet = {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "MPLCONFIGDIR": str(workspace.root / "matplotlib"),
        "GRADIO_EXAMPLES_CACHE": str(workspace.root / "examples"),
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    stubs.leave_out()
    os.environ["GRADIO_TEMP_DIR"] = str(workspace.uploads)
    direct = ["localhost", "127.0.0.1", "::1", host]
    for name in ("NO_PROXY", "no_proxy"):
        known = [one.strip() for one in os.environ.get(name, "").split(",") if one.strip()]
        os.environ[name] = ",".join([*known, *(one for one in direct if one not in known)])
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        if os.environ[name].lower().startswith("socks") and importlib.util.find_spec("socksio") is None:
            logger.warning('%s is left out: pip install "httpx[socks]" adds such proxies', name)
            del os.environ[name]
