"""The device API of ZeroGPU on this machine: lends a card that does not exist, and can refuse as the real one does."""

from __future__ import annotations

import importlib.util
import json
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

MACHINE = Path(__file__).parent / "zeromachine"


@dataclass
class Refusal:
    """How the API answers the next booking: with this instead of a card."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: str = "{}"
    kind: str = "application/json"


@dataclass
class DeviceApi:
    """`calls`: every call, as (path, parameters). `idle`: whether a worker that is there may go on."""

    pids: Path
    """Takes a line per worker process."""
    url: str = ""
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list[tuple[str, dict[str, str]]])
    idle: bool = True
    refusals: list[Refusal] = field(default_factory=list[Refusal])
    held: threading.Event = field(default_factory=threading.Event)
    """While set, bookings wait in the queue."""

    def named(self, path: str) -> list[dict[str, str]]:
        """The parameters of every call of a path."""
        return [given for name, given in self.calls if name == path]

    @property
    def workers(self) -> list[int]:
        """The processes that have had a card."""
        return [int(pid) for pid in self.pids.read_text(encoding="utf-8").split()] if self.pids.exists() else []

    def environment(self, *path: Path, **more: str) -> dict[str, str]:
        """That of a Space on this machine. `path`: where it finds modules, besides Python's own places."""
        folder = self.pids.parent
        known = folder / "known"
        known.mkdir(exist_ok=True)
        spaces = importlib.util.find_spec("spaces")
        assert spaces is not None and spaces.origin is not None
        # One thread: OpenMP's pool does not survive a fork on a CPU, and on ZeroGPU nothing runs before it.
        return {
            **os.environ,
            "SPACES_ZERO_GPU": "true",
            "SPACES_ZERO_DEVICE_API_URL": self.url,
            "ZEROGPU_OFFLOAD_DIR": str(folder / "offload"),
            "OMP_NUM_THREADS": "1",
            "KNOWN": str(known),
            "PIDS": str(self.pids),
            "ARC2FACE_SPACE_FEATURES": "",
            "PYTHONPATH": os.pathsep.join(map(str, (MACHINE, *path, Path(spaces.origin).parents[1]))),
            **more,
        }


@contextmanager
def device_api(folder: Path) -> Generator[DeviceApi]:
    """A running one, with files of its own in a folder."""
    api = DeviceApi(folder / "pids")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = urlsplit(self.path)
            self.rfile.read(int(self.headers.get("content-length") or 0))
            given = {key: value[0] for key, value in parse_qs(asked.query).items()}
            api.calls.append((asked.path, given))
            if asked.path == "/allow":
                with api.pids.open("a", encoding="utf-8") as pids:
                    pids.write(given["pid"] + "\n")
            if asked.path.startswith("/test/"):  # a process that is tested pulls the strings
                (api.held.set if asked.path == "/test/hold" else api.held.clear)()
            if asked.path == "/schedule":
                self._schedule()
            else:
                self._answer(Refusal())

        def _schedule(self) -> None:
            lent = json.dumps({"idle": api.idle, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"})
            if api.held.is_set():
                self._queue(lent)
            else:
                self._answer(api.refusals.pop(0) if api.refusals else Refusal(body=lent))

        def _queue(self, lent: str) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            while api.held.is_set():
                self.wfile.write(b"event: ping\n\n")
                threading.Event().wait(0.1)
            self.wfile.write(f"event: succeeded\ndata: {lent}\n\n".encode())
            self.close_connection = True

        def _answer(self, answer: Refusal) -> None:
            body = answer.body.encode()
            self.send_response(answer.status)
            for name, value in {
                "content-type": answer.kind,
                "content-length": str(len(body)),
                **answer.headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.held.clear()
        server.shutdown()
        server.server_close()
